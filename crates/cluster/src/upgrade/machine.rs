//! A node as an upgrade sees it: where its program is, and how its kubelet is restarted.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::host::{self, HostError};
use crate::node::control::Request;
use crate::node::init::UPGRADED;
use crate::node::services::Action;
use crate::service::{self, ServiceError};
use crate::site::{self, NodeFiles, SiteError};
use crate::state;

/// Why a machine is not upgraded.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// There is no such cluster.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// Its program cannot be replaced.
    #[error("{}: {source}", path.display())]
    File {
        /// The program.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its kubelet cannot be restarted.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Its kubelet cannot be restarted.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It is no node.
    #[error("this host is no node that `ironclad init` or `ironclad join` made")]
    NoNode,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Name of its Node.
    pub node: String,
    /// The root of its files as this host sees them.
    pub root: PathBuf,
    /// Whether it runs the control plane.
    pub control_plane: bool,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// In namespaces.
    Namespaced { clusters: PathBuf, cluster: String },
    /// This very host, whose kubelet is this program.
    Host { program: PathBuf },
}

/// The machines that can be upgraded from here: all of a cluster on this machine, or else this host.
///
/// # Errors
/// [`MachineError`] when there are none.
pub fn find(clusters: &Path, name: Option<&str>) -> Result<(Vec<Machine>, PathBuf), MachineError> {
    let (nodes, kubeconfig) = site::locate(clusters, name)?;
    let named = name.unwrap_or("ironclad");
    let is_cluster = state::all(clusters).iter().any(|cluster| cluster.plan.name == named);
    let kind = if is_cluster {
        Kind::Namespaced { clusters: clusters.to_owned(), cluster: named.to_owned() }
    } else {
        Kind::Host { program: host::program().ok_or(MachineError::NoNode)? }
    };
    let machine = |node: NodeFiles| Machine {
        node: node.name,
        root: node.root,
        control_plane: node.control_plane,
        kind: kind.clone(),
    };
    Ok((nodes.into_iter().map(machine).collect(), kubeconfig))
}

/// The folders of archives that these machines import, each once.
#[must_use]
pub fn images(machines: &[Machine]) -> Vec<PathBuf> {
    let folder = |machine: &Machine| match &machine.kind {
        Kind::Namespaced { clusters, cluster } => clusters.join(cluster).join("images"),
        Kind::Host { .. } => host::IMAGES.into(),
    };
    let mut folders: Vec<_> = machines.iter().map(folder).collect();
    folders.dedup();
    folders
}

// === impl Machine ===

impl Machine {
    /// Puts this very program in the place of the one that the kubelet is.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn install(&self) -> Result<(), MachineError> {
        let path = match &self.kind {
            Kind::Namespaced { .. } => self.root.join(UPGRADED.trim_start_matches('/')),
            Kind::Host { program } => program.clone(),
        };
        let failed = |source| MachineError::File { path: path.clone(), source };
        let own = std::env::current_exe().map_err(failed)?;
        replace(&own, &path).map_err(failed)
    }

    /// Restarts the kubelet; its containers go on.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart_kubelet(&self) -> Result<(), MachineError> {
        match &self.kind {
            Kind::Namespaced { clusters, cluster } => {
                let service = Some("kubelet".to_owned());
                let request = Request { action: Action::Restart, service };
                service::act(clusters, cluster, &self.node, &request)?;
            }
            Kind::Host { .. } => host::restart_kubelet()?,
        }
        Ok(())
    }
}

/// Copies a program over another one, which may be running, unless it is the same file.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    if let (Ok(from), Ok(to)) = (from.canonicalize(), to.canonicalize())
        && from == to
    {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    let partial = to.with_added_extension("partial");
    fs::copy(from, &partial)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o755))?;
    fs::File::open(&partial)?.sync_all()?;
    fs::rename(&partial, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_replaced_as_a_whole_and_never_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("new"), "2").unwrap();
        replace(&path("new"), &path("bin/ironclad")).unwrap();
        replace(&path("new"), &path("new")).unwrap();
        assert_eq!(fs::read_to_string(path("bin/ironclad")).unwrap(), "2");
        let mode = fs::metadata(path("bin/ironclad")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        assert_eq!(fs::read_dir(path("bin")).unwrap().count(), 1);
    }
}
