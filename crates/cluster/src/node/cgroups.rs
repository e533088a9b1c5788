//! Control groups of a node: one group per node in every hierarchy of the host, seen by the node
//! as its root through a cgroup namespace (`cgroup_namespaces(7)`), with cgroup v1 and v2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The group below which all clusters of the host have theirs.
const PARENT: &str = "ironclad";

/// One mounted hierarchy of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// `cgroup` or `cgroup2`.
    pub kind: &'static str,
    /// Mount options that select it: its v1 controllers, or its name; empty for v2.
    pub options: String,
}

/// The hierarchies in the text of `/proc/self/mountinfo`.
#[must_use]
pub fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    mountinfo.lines().filter_map(hierarchy).collect()
}

fn hierarchy(line: &str) -> Option<Hierarchy> {
    let (left, right) = line.split_once(" - ")?;
    let mount_point = PathBuf::from(left.split(' ').nth(4)?);
    let mut right = right.split(' ');
    match right.next()? {
        "cgroup2" => Some(Hierarchy { mount_point, kind: "cgroup2", options: String::new() }),
        "cgroup" => {
            let super_options = right.nth(1)?;
            let generic = ["rw", "ro", "xattr", "clone_children", "noprefix"];
            let selecting =
                |option: &&str| !generic.contains(option) && !option.starts_with("release_agent=");
            let options: Vec<_> = super_options.split(',').filter(selecting).collect();
            Some(Hierarchy { mount_point, kind: "cgroup", options: options.join(",") })
        }
        _ => None,
    }
}

/// The hierarchies of this process's mount namespace.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn mounted() -> io::Result<Vec<Hierarchy>> {
    Ok(hierarchies(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// Moves this process into the group of `node` of `cluster` in every hierarchy.
///
/// # Errors
/// The first group that could not be made or entered.
pub fn enter(hierarchies: &[Hierarchy], cluster: &str, node: &str) -> io::Result<()> {
    for hierarchy in hierarchies {
        let mut group = hierarchy.mount_point.clone();
        for part in [PARENT, cluster, node] {
            group.push(part);
            make(&group)?;
        }
        fs::write(group.join("cgroup.procs"), "0")?;
    }
    Ok(())
}

fn make(group: &Path) -> io::Result<()> {
    fs::create_dir_all(group)?;
    let parent = group.parent().expect("a group is below its hierarchy");
    // A new v1 cpuset group admits no process until it has CPUs and memory nodes.
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let own = group.join(file);
        if fs::read_to_string(&own).is_ok_and(|text| text.trim().is_empty())
            && let Ok(inherited) = fs::read_to_string(parent.join(file))
            && !inherited.trim().is_empty()
        {
            fs::write(&own, inherited.trim())?;
        }
    }
    // v2: a child has the controllers that its parent passes on.
    enable_controllers(parent)
}

/// Passes every controller of a v2 group on to its children; nothing to do with v1.
///
/// # Errors
/// When the kernel refuses.
pub fn enable_controllers(group: &Path) -> io::Result<()> {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else {
        return Ok(());
    };
    let wanted: Vec<_> = controllers.split_whitespace().map(|name| format!("+{name}")).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    fs::write(group.join("cgroup.subtree_control"), wanted.join(" "))
}

/// Ends every process in the groups of a cluster (its name), or of one of its nodes (the cluster's
/// name and the node's), and removes the groups.
///
/// # Errors
/// The group that is still in use after `patience`.
pub async fn remove(
    hierarchies: &[Hierarchy],
    path: &[&str],
    patience: Duration,
) -> io::Result<()> {
    for hierarchy in hierarchies {
        let mut top = hierarchy.mount_point.join(PARENT);
        top.extend(path);
        clear(&top, patience).await?;
        for parent in top.ancestors().skip(1).take(path.len()) {
            // Kept when another node or cluster still has groups in it.
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Ends every process in `group` and those below, and removes them.
///
/// # Errors
/// The group that is still in use after `patience`.
pub async fn clear(group: &Path, patience: Duration) -> io::Result<()> {
    let deadline = tokio::time::Instant::now() + patience;
    // The kernel needs a moment after the last process has been killed.
    while group.exists() {
        kill_all(group);
        match remove_tree(group) {
            Ok(()) => break,
            Err(error) if tokio::time::Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    Ok(())
}

fn kill_all(group: &Path) {
    for folder in subgroups(group) {
        kill_all(&folder);
    }
    for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Ok(pid) = pid.parse::<i32>().map(nix::unistd::Pid::from_raw)
            && pid.as_raw() > 1
        {
            // It may have ended by itself meanwhile.
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).ok();
        }
    }
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for folder in subgroups(group) {
        remove_tree(&folder)?;
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", group.display()))),
        Ok(()) => Ok(()),
    }
}

fn subgroups(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let text = "\
25 20 0:22 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw,mode=755
26 25 0:23 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
27 25 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
28 25 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
29 20 0:26 / /proc rw - proc proc rw";
        let rows: Vec<_> = hierarchies(text)
            .iter()
            .map(|h| format!("{} {} {}", h.mount_point.display(), h.kind, h.options))
            .collect();
        assert_eq!(
            rows,
            [
                "/sys/fs/cgroup/cpu,cpuacct cgroup cpu,cpuacct",
                "/sys/fs/cgroup/systemd cgroup name=systemd",
                "/sys/fs/cgroup/unified cgroup2 ",
            ]
        );
    }
}
