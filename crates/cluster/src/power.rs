//! Switching the nodes of a cluster on this machine on and off. Off is as when the plug is pulled:
//! nothing is told to end, and the files stay as they are.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use crate::network::{self, NetworkError};
use crate::node::{cgroups, namespaces};
use crate::plan::NodePlan;
use crate::state::{Cluster, Folder, Process, StateError};

/// How long the kernel may take to end killed processes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Why a node could not be switched on or off.
#[derive(Debug, thiserror::Error)]
pub enum PowerError {
    /// Its first process cannot be started.
    #[error("starting node {node}: {source}")]
    Start {
        /// The node.
        node: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its first process ended.
    #[error("node {0} stopped while it was being prepared")]
    Stopped(String),
    /// Its first process does not end.
    #[error("node {node} (process {pid}) does not end")]
    Stuck {
        /// The node.
        node: String,
        /// Its first process.
        pid: i32,
    },
    /// Its cable or its end of it.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The state cannot be written.
    #[error(transparent)]
    State(#[from] StateError),
    /// Cgroups are left.
    #[error("removing cgroups: {0}")]
    Cgroups(#[source] io::Error),
}

/// Starts the first process of `node`, writes it down, connects it and lets it go on.
///
/// # Errors
/// [`PowerError`] with the step that failed.
pub(crate) async fn on(
    folder: &Folder,
    cluster: &mut Cluster,
    node: &NodePlan,
) -> Result<(), PowerError> {
    let failed = |source| PowerError::Start { node: node.name.clone(), source };
    let root = folder.node(&node.name);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(root.join("var/log/node-init.log"))
        .map_err(failed)?;
    let arguments =
        ["node-init".to_owned(), format!("--spec={}", root.join("node.json").display())];
    let program = std::env::current_exe().map_err(failed)?;
    let (input, go): (OwnedFd, OwnedFd) =
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| failed(e.into()))?;
    let pid = namespaces::spawn(&program, &arguments, &input, &log).map_err(failed)?;
    let stopped = || PowerError::Stopped(node.name.clone());
    cluster.nodes.insert(node.name.clone(), Process::of(pid).ok_or_else(stopped)?);
    folder.write(cluster)?;
    network::attach(&cluster.plan, node, pid).await?;
    nix::unistd::write(&go, b"g").map_err(|_| stopped())?;
    Ok(())
}

/// Switches `node` off: kills its first process, with which the kernel ends all others and undoes
/// the mounts, and removes its cable and cgroups.
///
/// # Errors
/// [`PowerError`] with what is left.
pub(crate) async fn off(
    folder: &Folder,
    cluster: &mut Cluster,
    node: &NodePlan,
) -> Result<(), PowerError> {
    let process = cluster.nodes.get(&node.name);
    end(process.map(|process| (node.name.as_str(), process)).into_iter()).await?;
    let hierarchies = cgroups::mounted().map_err(PowerError::Cgroups)?;
    cgroups::remove(&hierarchies, &[&cluster.plan.name, &node.name], PATIENCE)
        .await
        .map_err(PowerError::Cgroups)?;
    network::detach(node).await?;
    cluster.nodes.remove(&node.name);
    Ok(folder.write(cluster)?)
}

/// Waits until the first process of one of these nodes ends, which this process started: with it the
/// node is gone, and nothing more is to be waited for. Why is in its `node-init.log`.
pub(crate) async fn stopped<'a>(
    nodes: impl Iterator<Item = (&'a str, &'a Process)> + Clone,
) -> PowerError {
    // Heard of from before the first look.
    let mut children = signal(SignalKind::child());
    loop {
        if let Some((node, _)) = nodes.clone().find(|(_, process)| !process.runs()) {
            return PowerError::Stopped(node.to_owned());
        }
        match &mut children {
            Ok(children) => {
                children.recv().await;
            }
            // Whoever waits has a limit of their own.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Kills the first processes of nodes and waits for their end, and with it that of all others in
/// their namespaces.
///
/// # Errors
/// [`PowerError::Stuck`] for one that does not end.
pub(crate) async fn end<'a>(
    nodes: impl Iterator<Item = (&'a str, &'a Process)> + Clone,
) -> Result<(), PowerError> {
    for (_, process) in nodes.clone().filter(|(_, process)| process.runs()) {
        // Gone meanwhile is as good.
        kill(Pid::from_raw(process.pid), Signal::SIGKILL).ok();
    }
    let deadline = tokio::time::Instant::now() + PATIENCE;
    for (node, process) in nodes {
        // No event tells a process that is not the parent; the kernel needs some milliseconds.
        while process.runs() {
            if tokio::time::Instant::now() > deadline {
                return Err(PowerError::Stuck { node: node.to_owned(), pid: process.pid });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_that_stops_is_noticed_and_not_waited_for() {
        let start = || std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let mut children = [start(), start()];
        let processes = children
            .each_ref()
            .map(|child| Process::of(Pid::from_raw(i32::try_from(child.id()).unwrap())).unwrap());
        let waiting = stopped(["w1", "w2"].into_iter().zip(&processes));
        let (error, ()) = tokio::join!(waiting, async { children[1].kill().unwrap() });
        assert_eq!(error.to_string(), "node w2 stopped while it was being prepared");
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
