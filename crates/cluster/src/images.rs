//! Where the images of nodes are: the folders that their kubelets import archives from, and the
//! sockets of their container runtimes.

use std::path::{Path, PathBuf};

use crate::host;
use crate::nodes::{self, NodeError};
use crate::state::{self, Process, StateError};

/// The folder of archives that all nodes of a cluster on one machine share, and a real host's.
pub const SHARED: &str = "/var/lib/ironclad/images";
/// The folder of archives for one node in namespaces.
pub const OWN: &str = "/var/lib/ironclad/node-images";
/// The container runtime's socket.
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Why there are no such nodes.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// There is no such cluster or node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// This host is no node.
    #[error("no cluster named \"ironclad\" is on this machine, and it is no node itself")]
    Nowhere,
    /// Other hosts are not reached from here.
    #[error(
        "this host is a node of its own, and the images of others are not reached from it: run the command there, without --node"
    )]
    Elsewhere,
}

/// A node, as images are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub node: String,
    /// Its `/`, as far as `/var` is concerned, as this machine sees it.
    root: PathBuf,
    /// The socket of its container runtime as this machine sees it, when the node runs.
    pub runtime: Option<PathBuf>,
}

/// An images folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its path as this machine sees it.
    pub path: PathBuf,
    /// Its path as its nodes see it.
    pub seen_as: PathBuf,
    /// The nodes that import from it.
    pub places: Vec<Place>,
}

// === impl Place ===

impl Place {
    /// What this machine sees of a path below the node's `/var`.
    #[must_use]
    pub fn path(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// The nodes of cluster `name` (of them `chosen`, when any is): without a name those of `ironclad`,
/// or else this host itself.
///
/// # Errors
/// [`ImagesError`] when there are no such nodes.
pub fn places(
    clusters: &Path,
    name: Option<&str>,
    chosen: &[String],
) -> Result<Vec<Place>, ImagesError> {
    let wanted = name.unwrap_or("ironclad");
    let found = state::all(clusters).into_iter().find(|cluster| cluster.plan.name == wanted);
    let Some(cluster) = found else {
        return match name {
            Some(name) => Err(NodeError::from(StateError::Missing(name.to_owned())).into()),
            None if !host::is_node() => Err(ImagesError::Nowhere),
            None if !chosen.is_empty() => Err(ImagesError::Elsewhere),
            None => Ok(vec![Place {
                node: host::default_name(),
                root: "/".into(),
                runtime: Some(SOCKET.into()),
            }]),
        };
    };
    let all = cluster.plan.nodes.iter().map(|node| node.name.clone());
    let nodes = if chosen.is_empty() { all.collect() } else { chosen.to_vec() };
    let place = |node: String| {
        let root = nodes::folder(clusters, wanted, &node)?;
        let process = cluster.nodes.get(&node).filter(|process| Process::runs(process));
        let runtime = process.map(|process| format!("/proc/{}/root{SOCKET}", process.pid).into());
        Ok(Place { node, root, runtime })
    };
    nodes.into_iter().map(place).collect()
}

/// The folders from which the nodes of cluster `name` import: the one that all of them share, or,
/// when some are `chosen`, one for each of those.
///
/// # Errors
/// [`ImagesError`] when there are no such nodes.
pub fn folders(
    clusters: &Path,
    name: Option<&str>,
    chosen: &[String],
) -> Result<Vec<Folder>, ImagesError> {
    let places = places(clusters, name, chosen)?;
    let on_host = places.iter().any(|place| place.root == Path::new("/"));
    if chosen.is_empty() {
        let path = match on_host {
            true => SHARED.into(),
            false => clusters.join(name.unwrap_or("ironclad")).join("images"),
        };
        return Ok(vec![Folder { path, seen_as: SHARED.into(), places }]);
    }
    let own = |place: Place| Folder {
        path: place.path(Path::new(OWN)),
        seen_as: OWN.into(),
        places: vec![place],
    };
    Ok(places.into_iter().map(own).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Request, plan};
    use crate::state::Cluster;

    #[test]
    fn archives_for_all_nodes_are_shared_and_those_for_some_are_not() {
        let host = tempfile::tempdir().unwrap();
        let clusters = host.path();
        let folder = state::Folder::open(clusters, "c", true).unwrap();
        let plan = plan(&Request::new("c", 2), &[]).unwrap();
        let own = Process::of(nix::unistd::getpid()).unwrap();
        let nodes = [("m1".to_owned(), own)].into();
        folder.write(&Cluster { plan, host_forwarded: false, nodes }).unwrap();

        let all = folders(clusters, Some("c"), &[]).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!((&all[0].path, &all[0].seen_as), (&clusters.join("c/images"), &SHARED.into()));
        let names: Vec<_> = all[0].places.iter().map(|place| place.node.as_str()).collect();
        assert_eq!(names, ["m1", "w1"]);
        let socket = format!("/proc/{}/root{SOCKET}", own.pid);
        assert_eq!(all[0].places[0].runtime.as_deref(), Some(Path::new(&socket)));
        assert_eq!(all[0].places[1].runtime, None, "it is off");

        let some = folders(clusters, Some("c"), &["w1".to_owned()]).unwrap();
        let wanted = clusters.join("c/nodes/w1").join(&OWN[1..]);
        assert_eq!((some.len(), &some[0].path, &some[0].seen_as), (1, &wanted, &OWN.into()));

        let unknown = folders(clusters, Some("c"), &["w9".to_owned()]).unwrap_err().to_string();
        assert!(unknown.contains("has no node \"w9\"; it has m1, w1"), "{unknown}");
        let missing = places(clusters, Some("d"), &[]).unwrap_err().to_string();
        assert!(missing.contains("no cluster named \"d\""), "{missing}");
    }
}
