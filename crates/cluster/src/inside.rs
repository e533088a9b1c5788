//! What an administrator of this machine reaches inside a node that runs: its files, the manifests
//! of its static Pods, and its processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::files::CLOCK;
use crate::nodes::{self, NodeError};
use crate::state::{self, StateError};

/// Folder of the kubelet's static Pods.
const MANIFESTS: &str = "etc/kubernetes/manifests";
/// Where manifests are while they are set aside.
const ASIDE: &str = "etc/kubernetes";

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum InsideError {
    /// There is no such cluster or node, or it is off.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A file refused.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no such process.
    #[error("no process {command:?} runs on node {node}")]
    NoProcess {
        /// The node.
        node: String,
        /// How its command line begins.
        command: String,
    },
}

/// The root of the files of a running node, as this machine sees them.
///
/// # Errors
/// [`InsideError::Node`] when there is no such node or it is off.
pub fn root(clusters: &Path, name: &str, node: &str) -> Result<PathBuf, InsideError> {
    let all = state::all(clusters);
    let cluster = all
        .into_iter()
        .find(|cluster| cluster.plan.name == name)
        .ok_or_else(|| NodeError::State(StateError::Missing(name.to_owned())))?;
    match cluster.nodes.get(node).filter(|process| process.runs()) {
        Some(process) => Ok(PathBuf::from(format!("/proc/{}/root", process.pid))),
        None => Err(NodeError::Off(node.to_owned()).into()),
    }
}

/// Sets the clock of `node` so many seconds ahead of this machine's; it stays so until it is set again.
/// What runs there of this program follows at once, and nothing else does.
///
/// # Errors
/// [`InsideError`] when there is no such node, or the disk refuses.
pub fn set_clock(clusters: &Path, name: &str, node: &str, ahead: i64) -> Result<(), InsideError> {
    let root = match root(clusters, name, node) {
        Err(InsideError::Node(NodeError::Off(_))) => nodes::folder(clusters, name, node)?,
        // As the node sees it: what changes below that tells nobody.
        root => root?,
    };
    let path = root.join(CLOCK.trim_start_matches('/'));
    let written = fs::write(&path, format!("{ahead}\n"));
    written.map_err(|source| InsideError::File { path, source })
}

/// Takes the manifest of a static Pod out of the kubelet's folder, or puts it back. It is as good
/// when it is there already.
///
/// # Errors
/// [`InsideError`] when the node is off or there is no such manifest.
pub fn set_aside(
    clusters: &Path,
    name: &str,
    node: &str,
    component: &str,
    aside: bool,
) -> Result<(), InsideError> {
    move_manifest(&root(clusters, name, node)?, component, aside)
}

fn move_manifest(root: &Path, component: &str, aside: bool) -> Result<(), InsideError> {
    let manifest = root.join(MANIFESTS).join(format!("{component}.yaml"));
    let hidden = root.join(ASIDE).join(format!("{component}.yaml"));
    let (from, to) = if aside { (manifest, hidden) } else { (hidden, manifest) };
    match fs::rename(&from, &to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && to.exists() => Ok(()),
        moved => moved.map_err(|source| InsideError::File { path: from, source }),
    }
}

/// Kills the processes of a node whose command line begins with `command`, with signal 9; says
/// how many there were.
///
/// # Errors
/// [`InsideError::NoProcess`] when there is none.
pub fn kill_all(name: &str, node: &str, command: &str) -> Result<usize, InsideError> {
    let group = format!("/ironclad/{name}/{node}");
    let victims: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| belongs(*pid, &group) && command_line(*pid).starts_with(command))
        .collect();
    for pid in &victims {
        // Gone meanwhile is as good.
        kill(Pid::from_raw(*pid), Signal::SIGKILL).ok();
    }
    if victims.is_empty() {
        return Err(InsideError::NoProcess { node: node.to_owned(), command: command.to_owned() });
    }
    Ok(victims.len())
}

fn belongs(pid: i32, group: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().any(|line| {
        line.split_once(group).is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Blanks between the words; empty for what has ended and is not reaped yet.
fn command_line(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).replace('\0', " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_set_aside_and_put_back_however_often() {
        let node = tempfile::tempdir().unwrap();
        let folder = node.path().join(MANIFESTS);
        fs::create_dir_all(&folder).unwrap();
        let manifest = folder.join("kube-scheduler.yaml");
        fs::write(&manifest, "kind: Pod").unwrap();
        for (aside, there) in [(true, false), (true, false), (false, true), (false, true)] {
            move_manifest(node.path(), "kube-scheduler", aside).unwrap();
            assert_eq!(manifest.exists(), there);
        }
        let missing = move_manifest(node.path(), "etcd", true).unwrap_err();
        assert!(matches!(missing, InsideError::File { .. }), "{missing}");
    }

    #[test]
    fn nothing_is_killed_on_a_node_that_is_not_there() {
        let error = kill_all("no-such-cluster", "w1", "").unwrap_err();
        assert_eq!(error.to_string(), "no process \"\" runs on node w1");
        assert!(!belongs(1, "/ironclad/no-such-cluster/w1"));
    }
}
