//! What a machine needs before it can hold a node, and how to get what is missing.
//!
//! Each check has the name that kubeadm gives it, by which a user can leave it out on a real host.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::inotify::{InitFlags, Inotify};

use crate::etcd;
use crate::node::containerd::{self, Facts, Version};

/// What is missing, each with its remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this host is not ready for a cluster:\n{}", render(.0))]
pub struct NotReady(Vec<Problem>);

/// One thing that is missing or wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Name of the check, as `Port-6443`.
    pub check: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub remedy: String,
    /// Whether it only deserves a mention.
    pub warning: bool,
}

/// The programs that a node runs, and the Debian package of each.
const PROGRAMS: [(&str, &str); 5] = [
    ("containerd", "containerd"),
    ("containerd-shim-runc-v2", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("nft", "nftables"),
];

fn render(problems: &[Problem]) -> String {
    let lines: Vec<_> = problems.iter().map(|p| format!("  - {}: {}", p.what, p.remedy)).collect();
    lines.join("\n")
}

impl Problem {
    /// Something without which nothing works.
    pub fn error(
        check: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { check: check.into(), what: what.into(), remedy: remedy.into(), warning: false }
    }

    /// Something that is better otherwise.
    pub fn warning(
        check: impl Into<String>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { warning: true, ..Self::error(check, what, remedy) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = if self.warning { "WARNING" } else { "ERROR" };
        write!(f, "[{level} {}]: {}; {}", self.check, self.what, self.remedy)
    }
}

/// inotify instances of a node: of its container runtime, its kubelet and its kube-proxy, and of what
/// else of the cluster runs there.
const INSTANCES: usize = 4;
/// inotify instances of a control plane besides.
const CONTROL_PLANE_INSTANCES: usize = 4;

/// Looks whether this host can hold so many further nodes of a cluster in namespaces.
///
/// # Errors
/// [`NotReady`] with everything that is missing at once.
pub fn check(nodes: usize, control_planes: usize) -> Result<Facts, NotReady> {
    let mut problems = machine();
    problems.extend(instances(nodes, control_planes));
    match facts() {
        Some(facts) if problems.is_empty() => Ok(facts),
        _ => Err(NotReady(problems)),
    }
}

/// Whether this user cannot get the inotify instances that so many further nodes need, of which so many
/// are control planes. A container runtime that gets none cannot speak with kubelets.
#[must_use]
pub fn instances(nodes: usize, control_planes: usize) -> Option<Problem> {
    let needed = nodes * INSTANCES + control_planes * CONTROL_PLANE_INSTANCES;
    few_instances(free_instances(needed), needed)
}

/// How many inotify instances this user can still get, `needed` at most.
fn free_instances(needed: usize) -> usize {
    let more = || Inotify::init(InitFlags::IN_CLOEXEC).ok();
    std::iter::repeat_with(more).take(needed).map_while(|one| one).collect::<Vec<_>>().len()
}

fn few_instances(free: usize, needed: usize) -> Option<Problem> {
    (free < needed).then(|| {
        let what = format!(
            "the nodes need {needed} inotify instances, and {free} of fs.inotify.max_user_instances \
             are left"
        );
        let remedy = "sysctl -w fs.inotify.max_user_instances=1024";
        Problem::error("InotifyInstances", what, remedy)
    })
}

/// Looks for the etcd that members of a cluster run.
///
/// # Errors
/// [`NotReady`] when it is missing.
pub fn etcd() -> Result<etcd::Program, NotReady> {
    etcd::Program::find().map_err(|problem| NotReady(vec![problem]))
}

/// What every machine needs that holds a node, in whatever way.
#[must_use]
pub fn machine() -> Vec<Problem> {
    let mut problems = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        let remedy = "run the command with sudo; namespaces, mounts and nftables need root";
        problems.push(Problem::error("IsPrivilegedUser", "user is not running as root", remedy));
    }
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            let what = format!("program {program} is not on the PATH");
            let remedy = format!("apt-get install {package}");
            problems.push(Problem::error(format!("FileExisting-{program}"), what, remedy));
        }
    }
    if containerd::cni_folder().is_none() {
        let what = "CNI plugins bridge, host-local, loopback and portmap are missing";
        let remedy = "apt-get install containernetworking-plugins";
        problems.push(Problem::error("FileExisting-cni", what, remedy));
    }
    let load = |module: &str| {
        Command::new("modprobe").arg(module).status().is_ok_and(|status| status.success())
    };
    if !fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("overlay"))
        && !load("overlay")
    {
        let remedy = "load the kernel module with `modprobe overlay`";
        problems.push(Problem::error("SystemVerification", "the kernel has no overlayfs", remedy));
    }
    if !Path::new("/proc/sys/net/bridge").exists() && !load("br_netfilter") {
        let what = "bridged traffic does not pass netfilter";
        let remedy = "load the kernel module with `modprobe br_netfilter`";
        let check = "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables";
        problems.push(Problem::error(check, what, remedy));
    }
    problems
}

/// What the container runtime of this machine is and can do; nothing when a part of it is missing.
#[must_use]
pub fn facts() -> Option<Facts> {
    let output = Command::new("containerd").arg("--version").output().ok()?;
    let version = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(Facts {
        version: Version::find(&version).unwrap_or(Version::OLDEST),
        restrict_oom_score: !may_lower_oom_score(),
        apparmor: fs::read_to_string("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.trim() == "Y"),
        cni: containerd::cni_folder()?,
    })
}

/// The path of `program`, as a shell would find it.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Whether this process has `CAP_SYS_RESOURCE`, without which containers cannot have a lower
/// `oom_score_adj` than containerd.
pub(crate) fn may_lower_oom_score() -> bool {
    const CAP_SYS_RESOURCE: u32 = 24;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
        .is_some_and(|set| set & (1 << CAP_SYS_RESOURCE) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_could_notice_nothing_are_not_made() {
        assert_eq!(few_instances(20, 20), None);
        let problem = few_instances(7, 20).unwrap();
        assert!(problem.what.contains("need 20") && problem.what.contains("and 7 of"), "{problem}");
        assert_eq!(free_instances(2), 2);
    }

    #[test]
    fn an_error_names_every_problem_and_its_remedy() {
        let error = NotReady(vec![Problem::error("A", "a", "b"), Problem::error("C", "c", "d")]);
        assert_eq!(error.to_string(), "this host is not ready for a cluster:\n  - a: b\n  - c: d");
        assert_eq!(Problem::warning("Swap", "x", "y").to_string(), "[WARNING Swap]: x; y");
    }
}
