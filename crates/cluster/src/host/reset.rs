//! `ironclad reset`: undoes what `init` or `join` did to this host.
//!
//! The Pods go through the container runtime and the rules of the service proxy through the proxy,
//! which is for the caller to do between [`stop_kubelet`] and [`clean`]: only the binary knows all of
//! these.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};

use super::record::{self, Record};
use super::{FOLDER, HostError, file, members, units};
use crate::config::SNAPSHOTS;
use crate::network::{self, NetworkError};
use crate::node::cgroups;
use crate::node::files::MANIFESTS;

/// How long the kernel may take to end killed processes.
const PATIENCE: Duration = Duration::from_secs(20);
/// The cgroup of all Pods.
const PODS: &str = "kubepods";
/// The cgroup of a container runtime that was set up for the cluster.
const RUNTIME: &str = "system.slice/containerd.service";
/// What mounts of Pods are below.
const MOUNTS: [&str; 4] =
    ["/var/lib/kubelet", "/run/containerd", "/run/netns/cni-", "/var/run/netns/cni-"];
/// What the CNI plugins leave on a host that has no Pods any more.
const BRIDGE: &str = "cni0";

/// What could not be undone.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// A file, or systemd.
    #[error(transparent)]
    Host(#[from] HostError),
    /// An interface.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A cgroup.
    #[error("removing cgroups: {0}")]
    Cgroups(#[source] std::io::Error),
}

/// Whether there is anything to undo.
#[must_use]
pub fn is_node() -> bool {
    Record::read().is_some()
}

/// The folder of the snapshots that were taken by a schedule, which stays if there are any.
#[must_use]
pub fn snapshots() -> Option<&'static Path> {
    let folder = Path::new(SNAPSHOTS);
    fs::read_dir(folder).ok()?.next().map(|_| folder)
}

/// Takes this host's member out of the cluster's etcd, if it has one and others go on without it;
/// tells whether it did. The control plane of this host, or of another, has to work for that.
///
/// # Errors
/// When the cluster does not answer or refuses.
pub async fn leave_etcd(patience: Duration) -> Result<bool, ResetError> {
    let Ok(manifest) = fs::read_to_string(format!("{MANIFESTS}/etcd.yaml")) else {
        return Ok(false);
    };
    let own = manifest.split_whitespace().find_map(|word| word.strip_prefix("--name="));
    let work = async {
        let admin = super::init::connect("/etc/kubernetes/admin.conf").await?;
        members::leave(&admin, own.unwrap_or_default()).await
    };
    let late = |_| HostError::TimedOut { what: "an answer of the cluster", reasons: String::new() };
    Ok(tokio::time::timeout(patience, work).await.map_err(late)??)
}

/// Ends the kubelet for good.
///
/// # Errors
/// When systemd refuses.
pub fn stop_kubelet() -> Result<(), ResetError> {
    Ok(units::stop("kubelet")?)
}

/// Removes everything else, once the Pods and the proxy's rules are gone.
///
/// # Errors
/// The first thing that is left; the command can be repeated.
pub async fn clean() -> Result<(), ResetError> {
    let record = Record::read().unwrap_or_default();
    if record.own_runtime {
        units::stop("containerd")?;
    }
    let hierarchies = cgroups::mounted().map_err(ResetError::Cgroups)?;
    // What watched over a Pod that was being made when the kubelet ended is still in the group of the
    // container runtime's service.
    let groups = [PODS].into_iter().chain(record.own_runtime.then_some(RUNTIME));
    for group in groups {
        for hierarchy in &hierarchies {
            cgroups::clear(&hierarchy.mount_point.join(group), PATIENCE)
                .await
                .map_err(ResetError::Cgroups)?;
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = if record.own_runtime { &MOUNTS[..] } else { &MOUNTS[..1] };
    for path in below(&mounts, own) {
        // What is in use is left for the removal of the files to tell of.
        umount2(&path, MntFlags::MNT_DETACH).ok();
        if path.starts_with("/run/netns") || path.starts_with("/var/run/netns") {
            fs::remove_file(&path).ok();
        }
    }
    network::remove_link(BRIDGE).await?;
    let delayed = Path::new(units::LOGIND).exists();
    // Who goes back to an earlier state may need just these.
    record.undo(Path::new(SNAPSHOTS))?;
    if delayed {
        // It may not run, and then has nothing to read again.
        units::reload_logind().ok();
    }
    units::reload()?;
    let path = record::path();
    if path.exists() {
        fs::remove_file(&path).map_err(file(&path))?;
    }
    // Kept when it holds something else, such as clusters in namespaces.
    fs::remove_dir(FOLDER).ok();
    Ok(())
}

/// The mount points below the given paths, the innermost first.
fn below(mountinfo: &str, paths: &[&str]) -> Vec<PathBuf> {
    let mut found: Vec<_> = mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .filter(|point| paths.iter().any(|path| point.starts_with(path)))
        // The kernel writes blanks as octal escapes.
        .map(|point| point.replace("\\040", " "))
        .collect();
    found.reverse();
    found.into_iter().map(|point| Path::new(&point).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_pods_go_innermost_first_and_others_stay() {
        let text = "\
1 0 0:1 / / rw - ext4 x rw
2 1 0:2 / /var/lib/kubelet/pods/a/volumes/b rw - tmpfs tmpfs rw
3 2 0:3 / /var/lib/kubelet/pods/a/volumes/b/c\\040d rw - tmpfs tmpfs rw
4 1 0:4 net:[1] /run/netns/cni-1 rw - nsfs nsfs rw
5 1 0:5 net:[2] /run/netns/mine rw - nsfs nsfs rw";
        let found = below(text, &MOUNTS);
        let found: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            found,
            [
                "/run/netns/cni-1",
                "/var/lib/kubelet/pods/a/volumes/b/c d",
                "/var/lib/kubelet/pods/a/volumes/b",
            ]
        );
    }
}
