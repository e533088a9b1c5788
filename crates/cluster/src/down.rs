//! `ironclad down`: removes a cluster, however far it got.

use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::network::{self, NetworkError};
use crate::node::cgroups;
use crate::state::{self, Cluster, Folder, StateError};

/// How long the kernel may take to end killed processes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum DownError {
    /// The state could not be read, or another command holds it.
    #[error(transparent)]
    State(#[from] StateError),
    /// A bridge, cable or rule is left.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A process is left.
    #[error("node {node} (process {pid}) does not end")]
    Process {
        /// The node.
        node: String,
        /// Its first process.
        pid: i32,
    },
    /// A cgroup is left.
    #[error("removing cgroups: {0}")]
    Cgroups(#[source] io::Error),
}

/// Removes cluster `name` and all that it put on the host.
///
/// # Errors
/// [`DownError`] with the first thing that is left; the command can be repeated.
pub async fn down(clusters: &Path, name: &str) -> Result<(), DownError> {
    let folder = Folder::open(clusters, name, false)?;
    remove(clusters, folder).await
}

pub(crate) async fn remove(clusters: &Path, folder: Folder) -> Result<(), DownError> {
    if let Some(cluster) = folder.read() {
        end_nodes(&cluster).await?;
        let hierarchies = cgroups::mounted().map_err(DownError::Cgroups)?;
        let name = &cluster.plan.name;
        cgroups::remove(&hierarchies, name, PATIENCE).await.map_err(DownError::Cgroups)?;
        network::remove(&cluster.plan).await?;
        let last = state::all(clusters).iter().all(|other| other.plan.name == *name);
        if last && !cluster.host_forwarded {
            network::stop_forwarding()?;
        }
    }
    Ok(folder.remove()?)
}

/// Kills the first process of every node: the kernel then ends all others of its namespace.
async fn end_nodes(cluster: &Cluster) -> Result<(), DownError> {
    for process in cluster.nodes.values().filter(|process| process.runs()) {
        // Gone meanwhile is as good.
        kill(Pid::from_raw(process.pid), Signal::SIGKILL).ok();
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for (node, process) in &cluster.nodes {
        // No event tells a process that is not the parent; the kernel needs some milliseconds.
        while process.runs() {
            if tokio::time::Instant::now() > deadline {
                return Err(DownError::Process { node: node.clone(), pid: process.pid });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}
