//! Configuration of containerd for a node.
//!
//! containerd 1.x reads configuration version 2 and containerd 2.x version 3, in which the CRI
//! plugin was split in two (<https://github.com/containerd/containerd/blob/main/docs/cri/config.md>).

use std::path::PathBuf;

/// Where the distribution's CNI plugins may be.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// What the configuration depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Major version of containerd.
    pub major: u32,
    /// Whether the machine refuses to lower `oom_score_adj` (no `CAP_SYS_RESOURCE`).
    pub restrict_oom_score: bool,
    /// Whether the kernel has AppArmor switched on.
    pub apparmor: bool,
    /// Folder of the CNI plugins.
    pub cni: PathBuf,
}

/// The folder that holds the CNI plugins a node needs, when one does.
#[must_use]
pub fn cni_folder() -> Option<PathBuf> {
    let complete = |folder: &&str| {
        ["bridge", "host-local", "loopback", "portmap"]
            .iter()
            .all(|plugin| std::path::Path::new(folder).join(plugin).exists())
    };
    CNI_FOLDERS.into_iter().find(complete).map(PathBuf::from)
}

/// The major version in the output of `containerd --version`.
#[must_use]
pub fn major_version(output: &str) -> Option<u32> {
    output
        .split_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.'))
        .and_then(|word| word.split('.').next())
        .and_then(|major| major.parse().ok())
}

/// Where containerd keeps images and containers unless told otherwise.
pub const ROOT: &str = "/var/lib/containerd";

/// The text of `/etc/containerd/config.toml`; images and containers are kept in `root`, and how
/// registries are reached stands in the folders `registries`, which are separated by colons.
#[must_use]
pub fn config(facts: &Facts, root: &str, pause_image: &str, registries: &str) -> String {
    let cni = facts.cni.display();
    let restrict = facts.restrict_oom_score;
    let no_apparmor = !facts.apparmor;
    let general = r#"state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]

[grpc]
address = "/run/containerd/containerd.sock"
"#;
    if facts.major < 2 {
        format!(
            r#"version = 2
root = "{root}"
{general}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause_image}"
restrict_oom_score_adj = {restrict}
disable_apparmor = {no_apparmor}
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{registries}"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}"
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"#
        )
    } else {
        format!(
            r#"version = 3
root = "{root}"
{general}
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"

[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause_image}"

[plugins."io.containerd.cri.v1.images".registry]
config_path = "{registries}"

[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = {restrict}
disable_apparmor = {no_apparmor}

[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni}"]
conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri"]
stream_server_address = "127.0.0.1"
"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_in_every_form_that_distributions_print() {
        for (output, want) in [
            (
                "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3",
                Some(1),
            ),
            ("containerd github.com/containerd/containerd/v2 v2.1.4 75cb2b7", Some(2)),
            ("containerd containerd.io 1.7.27 05044ec0", Some(1)),
            ("nothing", None),
        ] {
            assert_eq!(major_version(output), want, "{output}");
        }
    }

    #[test]
    fn what_the_machine_lacks_is_in_the_configuration() {
        let mut facts = Facts {
            major: 1,
            restrict_oom_score: true,
            apparmor: false,
            cni: "/usr/lib/cni".into(),
        };
        let one = config(&facts, ROOT, "pause:1", "/a:/b");
        assert!(one.contains(".registry]\nconfig_path = \"/a:/b\"\n"), "{one}");
        assert!(one.contains("restrict_oom_score_adj = true"));
        assert!(one.contains("sandbox_image = \"pause:1\""));
        facts.major = 2;
        facts.restrict_oom_score = false;
        let two = config(&facts, "/own", "pause:1", "/a:/b");
        assert!(two.contains(".registry]\nconfig_path = \"/a:/b\"\n"), "{two}");
        assert!(two.contains("root = \"/own\""), "{two}");
        assert!(two.starts_with("version = 3") && two.contains("restrict_oom_score_adj = false"));
    }
}
