//! `ironclad down`: removes a cluster, however far it got.

use std::io;
use std::path::Path;

use crate::network::{self, NetworkError};
use crate::node::cgroups;
use crate::power::{self, PATIENCE, PowerError};
use crate::state::{self, Folder, StateError};

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
    #[error(transparent)]
    Power(#[from] PowerError),
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
        power::end(cluster.nodes.iter().map(|(name, process)| (name.as_str(), process))).await?;
        let hierarchies = cgroups::mounted().map_err(DownError::Cgroups)?;
        let name = &cluster.plan.name;
        cgroups::remove(&hierarchies, &[name], PATIENCE).await.map_err(DownError::Cgroups)?;
        network::remove(&cluster.plan).await?;
        let last = state::all(clusters).iter().all(|other| other.plan.name == *name);
        if last && !cluster.host_forwarded {
            network::stop_forwarding()?;
        }
    }
    Ok(folder.remove()?)
}
