//! What the host remembers of its clusters: one folder each below `/var/lib/ironclad/clusters`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;

/// Where the clusters of a host are remembered.
pub const CLUSTERS: &str = "/var/lib/ironclad/clusters";

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or folder refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another `up` or `down` works on the same cluster.
    #[error("another command is working on cluster {0:?}; wait for it to end")]
    Busy(String),
    /// No such cluster.
    #[error("no cluster named {0:?}; `ironclad up --name {0}` makes one")]
    Missing(String),
}

/// A process of the host, told apart from a later one with the same number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// Its start, in clock ticks since the host booted.
    pub started: u64,
}

/// What is written down of a cluster before anything of it exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its names and addresses.
    pub plan: Plan,
    /// Whether the host forwarded packets before.
    pub host_forwarded: bool,
    /// The first process of each node that was started, by the node's name.
    pub nodes: std::collections::BTreeMap<String, Process>,
}

/// The folder of one cluster, held for this process alone.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: Flock<File>,
}

// === impl Process ===

impl Process {
    /// The process `pid`, when there is one.
    #[must_use]
    pub fn of(pid: Pid) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold blanks; the fields after it do not.
        let fields = stat.rsplit_once(')')?.1;
        let state = fields.split_whitespace().next()?;
        let started = fields.split_whitespace().nth(19)?.parse().ok()?;
        (state != "Z").then_some(Self { pid: pid.as_raw(), started })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        Self::of(Pid::from_raw(self.pid)).as_ref() == Some(self)
    }
}

// === impl Folder ===

impl Folder {
    /// Opens the folder of cluster `name`, making it when `create` is set.
    ///
    /// # Errors
    /// [`StateError::Missing`] without one, [`StateError::Busy`] when another command holds it.
    pub fn open(clusters: &Path, name: &str, create: bool) -> Result<Self, StateError> {
        let path = clusters.join(name);
        let failed = |source| StateError::Io { path: path.clone(), source };
        if create {
            fs::create_dir_all(&path).map_err(failed)?;
        } else if !path.is_dir() {
            return Err(StateError::Missing(name.to_owned()));
        }
        let file = File::open(&path).map_err(failed)?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| StateError::Busy(name.to_owned()))?;
        Ok(Self { path, _lock: lock })
    }

    /// A file or folder in it.
    #[must_use]
    pub fn join(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.path.join(relative)
    }

    /// The folder of a node.
    #[must_use]
    pub fn node(&self, name: &str) -> PathBuf {
        self.join(node_path(name))
    }

    /// What was written down; nothing when `up` did not get that far.
    #[must_use]
    pub fn read(&self) -> Option<Cluster> {
        read(&self.path)
    }

    /// Writes it down.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, cluster: &Cluster) -> Result<(), StateError> {
        let path = self.join("cluster.json");
        let partial = self.join("cluster.json.partial");
        let text = serde_json::to_vec_pretty(cluster).expect("the state has string keys only");
        fs::write(&partial, text)
            .and_then(|()| fs::rename(&partial, &path))
            .map_err(|source| StateError::Io { path, source })
    }

    /// Removes the folder with all that is in it, and its parents when they are empty.
    ///
    /// # Errors
    /// When something in it is in use.
    pub fn remove(self) -> Result<(), StateError> {
        fs::remove_dir_all(&self.path)
            .map_err(|source| StateError::Io { path: self.path.clone(), source })?;
        for parent in self.path.ancestors().skip(1).take(2) {
            // Not empty: other clusters, or files of the user.
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// The clusters of the host.
#[must_use]
pub fn all(clusters: &Path) -> Vec<Cluster> {
    let Ok(entries) = fs::read_dir(clusters) else {
        return Vec::new();
    };
    let mut found: Vec<_> = entries.filter_map(|entry| read(&entry.ok()?.path())).collect();
    found.sort_by(|a, b| a.plan.name.cmp(&b.plan.name));
    found
}

/// The folder of a node of cluster `name`.
#[must_use]
pub fn node(clusters: &Path, name: &str, node: &str) -> PathBuf {
    clusters.join(name).join(node_path(node))
}

fn node_path(node: &str) -> PathBuf {
    Path::new("nodes").join(node)
}

/// The kubeconfig of the administrator of cluster `name`.
#[must_use]
pub fn kubeconfig(clusters: &Path, name: &str) -> PathBuf {
    clusters.join(name).join("admin.conf")
}

fn read(folder: &Path) -> Option<Cluster> {
    serde_json::from_slice(&fs::read(folder.join("cluster.json")).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Request, plan};

    #[test]
    fn a_cluster_is_remembered_until_its_folder_is_removed() {
        let host = tempfile::tempdir().unwrap();
        let clusters = host.path().join("a/b");
        let missing = Folder::open(&clusters, "c", false).unwrap_err();
        assert!(matches!(missing, StateError::Missing(_)));
        let folder = Folder::open(&clusters, "c", true).unwrap();
        assert!(matches!(Folder::open(&clusters, "c", true), Err(StateError::Busy(_))));
        let plan = plan(&Request::new("c", 1), &[]).unwrap();
        let cluster = Cluster { plan, host_forwarded: false, nodes: [].into() };
        folder.write(&cluster).unwrap();
        assert_eq!(all(&clusters), [cluster]);
        folder.remove().unwrap();
        assert!(!clusters.exists() && !host.path().join("a").exists());
    }

    #[test]
    fn a_process_is_told_from_another_with_its_number() {
        let own = Process::of(nix::unistd::getpid()).unwrap();
        assert!(own.runs());
        assert!(!Process { started: own.started + 1, ..own }.runs());
    }
}
