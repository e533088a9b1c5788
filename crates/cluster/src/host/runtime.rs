//! The container runtime of a real host: the one that runs already, or one that is set up for the
//! cluster.

use std::path::Path;
use std::process::Command;

use crate::node::containerd::{Facts, Version};
use crate::preflight::{self, Problem};

use super::units;

/// Where the configuration is of a runtime that is set up for the cluster; what the distribution
/// has in `/etc/containerd` is left alone.
pub(super) const CONFIG: &str = "/etc/ironclad/containerd.toml";
/// Where it keeps images and containers, apart from those of others.
pub(super) const ROOT: &str = "/var/lib/ironclad/containerd";

/// Which runtime it is going to be.
#[derive(Clone, Debug)]
pub(super) enum Runtime {
    /// One that an administrator runs, with what its configuration says.
    Present(Present),
    /// One that is set up for the cluster; nothing when its parts are missing.
    Own(Option<Facts>),
}

/// What the configuration of a running containerd says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Present {
    /// The image of sandboxes.
    sandbox_image: Option<String>,
    /// Folders of CNI plugins.
    cni: Vec<String>,
    /// Whether kubelets are not served.
    cri_disabled: bool,
    /// Whether systemd is asked to make cgroups.
    systemd_cgroup: bool,
    /// Whether containers are kept from being protected more than it is itself.
    restrict_oom_score: bool,
}

impl Runtime {
    /// Looks at this host.
    pub(super) fn detect() -> Self {
        if !units::is_active("containerd") {
            return Self::Own(preflight::facts());
        }
        let dump = Command::new("containerd").args(["config", "dump"]).output();
        let dump = dump.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        Self::Present(Present::read(&dump.unwrap_or_default()))
    }

    /// What stands in the way.
    pub(super) fn problems(&self) -> Vec<Problem> {
        match self {
            // The parts that are missing are told of by the checks of the machine.
            Self::Own(_) => Vec::new(),
            Self::Present(present) => {
                let exists = |path: &str| Path::new(path).exists();
                present.problems(&exists, preflight::may_lower_oom_score())
            }
        }
    }

    /// What a runtime of our own is configured by; of no meaning for another.
    pub(super) fn facts(&self) -> Facts {
        let unknown = || Facts {
            version: Version::OLDEST,
            restrict_oom_score: false,
            apparmor: false,
            cni: "/opt/cni/bin".into(),
        };
        match self {
            Self::Own(Some(facts)) => facts.clone(),
            // The checks have failed, or were ignored.
            Self::Own(None) | Self::Present(_) => unknown(),
        }
    }

    /// What the image of sandboxes is called by a runtime that is not ours.
    pub(super) fn sandbox_image(&self) -> Option<&str> {
        match self {
            Self::Own(_) => None,
            Self::Present(present) => present.sandbox_image.as_deref(),
        }
    }
}

impl Present {
    /// Reads what `containerd config dump` prints.
    fn read(dump: &str) -> Self {
        let mut found = Self::default();
        let mut disabled = false;
        for line in dump.lines().map(str::trim) {
            // A list may go over several lines.
            if disabled || line.starts_with("disabled_plugins") {
                found.cri_disabled |= line.contains("\"cri\"") || line.contains("v1.cri\"");
                disabled = !line.contains(']');
                continue;
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim();
            let texts = || value.split(['"', '\'']).skip(1).step_by(2).map(str::to_owned);
            match key.trim() {
                "sandbox_image" | "sandbox" => found.sandbox_image = texts().next(),
                "bin_dir" | "bin_dirs" => {
                    found.cni.extend(texts().filter(|path| !path.is_empty()));
                }
                "SystemdCgroup" => found.systemd_cgroup |= value == "true",
                "restrict_oom_score_adj" => found.restrict_oom_score |= value == "true",
                _ => {}
            }
        }
        found
    }

    /// `may_protect` tells whether the machine lets processes be protected from the OOM killer.
    fn problems(&self, exists: &dyn Fn(&str) -> bool, may_protect: bool) -> Vec<Problem> {
        const FILE: &str = "/etc/containerd/config.toml";
        let mut problems = Vec::new();
        if self.cri_disabled {
            let what = "container runtime is not running: its CRI plugin is disabled";
            let remedy = format!("take \"cri\" out of disabled_plugins in {FILE} and restart it");
            problems.push(Problem::error("CRI", what, remedy));
        }
        if self.systemd_cgroup {
            let what =
                "the container runtime lets systemd make cgroups, which this kubelet does not";
            let remedy = format!("set SystemdCgroup = false in {FILE} and restart it");
            problems.push(Problem::error("CRI-cgroup-driver", what, remedy));
        }
        if !may_protect && !self.restrict_oom_score {
            let what =
                "the container runtime is to lower oom_score_adj, which this machine forbids";
            let remedy = format!("set restrict_oom_score_adj = true in {FILE} and restart it");
            problems.push(Problem::error("CRI-oom-score", what, remedy));
        }
        let complete = |folder: &String| {
            ["bridge", "host-local", "loopback", "portmap"]
                .iter()
                .all(|plugin| exists(&format!("{folder}/{plugin}")))
        };
        if !self.cni.is_empty() && !self.cni.iter().any(complete) {
            let folders = self.cni.join(", ");
            let what = format!("the container runtime finds no CNI plugins in {folders}");
            let remedy =
                format!("set the folder of the plugins (bin_dir) in {FILE} and restart it");
            problems.push(Problem::error("CRI-cni", what, remedy));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_of_both_versions_are_read() {
        let one = "
disabled_plugins = []
[plugins]
  [plugins.\"io.containerd.grpc.v1.cri\"]
    sandbox_image = \"registry.k8s.io/pause:3.6\"
    [plugins.\"io.containerd.grpc.v1.cri\".cni]
      bin_dir = \"/usr/lib/cni\"
            SystemdCgroup = false
";
        let read = Present::read(one);
        assert_eq!(read.sandbox_image.as_deref(), Some("registry.k8s.io/pause:3.6"));
        assert_eq!(read.cni, ["/usr/lib/cni"]);
        assert!(!read.cri_disabled && !read.systemd_cgroup);
        assert_eq!(read.problems(&|_| true, true), []);
        assert_eq!(read.problems(&|_| false, true)[0].check, "CRI-cni");
        assert_eq!(read.problems(&|_| true, false)[0].check, "CRI-oom-score");

        let two = "
disabled_plugins = [
  'io.containerd.grpc.v1.cri\",
  \"cri\",
]
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
      sandbox = 'registry.k8s.io/pause:3.10'
      bin_dirs = ['/opt/cni/bin', '/usr/lib/cni']
            SystemdCgroup = true
";
        let read = Present::read(two);
        assert_eq!(read.sandbox_image.as_deref(), Some("registry.k8s.io/pause:3.10"));
        assert_eq!(read.cni, ["/opt/cni/bin", "/usr/lib/cni"]);
        let checks: Vec<_> = read.problems(&|_| true, true).into_iter().map(|p| p.check).collect();
        assert_eq!(checks, ["CRI", "CRI-cgroup-driver"]);
    }
}
