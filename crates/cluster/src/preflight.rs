//! What a host needs before it can hold a cluster, and how to get what is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::node::containerd::{self, Facts};

/// What is missing, each with its remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this host is not ready for a cluster:\n{}", render(.0))]
pub struct NotReady(Vec<Problem>);

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    what: String,
    remedy: String,
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

/// Looks at this host.
///
/// # Errors
/// [`NotReady`] with everything that is missing at once.
pub fn check() -> Result<Facts, NotReady> {
    let mut problems = Vec::new();
    let mut missing = |what: String, remedy: String| problems.push(Problem { what, remedy });
    if !nix::unistd::geteuid().is_root() {
        let remedy = "run the command with sudo; namespaces, mounts and nftables need root";
        missing("not root".to_owned(), remedy.to_owned());
    }
    for (program, package) in PROGRAMS {
        if find(program).is_none() {
            let what = format!("program {program} is not on the PATH");
            missing(what, format!("apt-get install {package}"));
        }
    }
    let cni = containerd::cni_folder();
    if cni.is_none() {
        let what = "CNI plugins bridge, host-local, loopback and portmap are missing".to_owned();
        missing(what, "apt-get install containernetworking-plugins".to_owned());
    }
    if !fs::read_to_string("/proc/filesystems").is_ok_and(|text| text.contains("overlay"))
        && !Command::new("modprobe").arg("overlay").status().is_ok_and(|s| s.success())
    {
        let remedy = "load the kernel module with `modprobe overlay`";
        missing("the kernel has no overlayfs".to_owned(), remedy.to_owned());
    }
    if !Path::new("/proc/sys/net/bridge").exists()
        && !Command::new("modprobe").arg("br_netfilter").status().is_ok_and(|s| s.success())
    {
        let remedy = "load the kernel module with `modprobe br_netfilter`";
        missing("bridged traffic does not pass netfilter".to_owned(), remedy.to_owned());
    }
    let output = Command::new("containerd").arg("--version").output();
    let version = output.ok().map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
    let major = version.as_deref().and_then(containerd::major_version);
    match (cni, problems.is_empty()) {
        (Some(cni), true) => Ok(Facts {
            major: major.unwrap_or(1),
            restrict_oom_score: !may_lower_oom_score(),
            apparmor: fs::read_to_string("/sys/module/apparmor/parameters/enabled")
                .is_ok_and(|text| text.trim() == "Y"),
            cni,
        }),
        _ => Err(NotReady(problems)),
    }
}

/// The path of `program`, as a shell would find it.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Whether this process has `CAP_SYS_RESOURCE`, without which containers cannot have a lower
/// `oom_score_adj` than containerd.
fn may_lower_oom_score() -> bool {
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
    fn an_error_names_every_problem_and_its_remedy() {
        let problem =
            |what: &str, remedy: &str| Problem { what: what.into(), remedy: remedy.into() };
        let error = NotReady(vec![problem("a", "b"), problem("c", "d")]);
        assert_eq!(error.to_string(), "this host is not ready for a cluster:\n  - a: b\n  - c: d");
    }
}
