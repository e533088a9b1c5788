//! Configuration of containerd for a node.
//!
//! containerd 1.x reads configuration version 2 and containerd 2.x version 3, in which the CRI
//! plugin was split in two (<https://github.com/containerd/containerd/blob/main/docs/cri/config.md>).

use std::path::PathBuf;

/// Where the distribution's CNI plugins may be.
const CNI_FOLDERS: [&str; 3] = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];

/// A version of containerd, as far as its configuration depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 1 or 2.
    pub major: u32,
    /// What comes after the first dot.
    pub minor: u32,
}

/// What the configuration depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Which containerd it is.
    pub version: Version,
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

// === impl Version ===

impl Version {
    /// What is assumed of one that does not say: the configuration of version 1 is read by all.
    pub const OLDEST: Self = Self { major: 1, minor: 0 };
    /// The first that reads version 3 of the configuration.
    const SPLIT: Self = Self { major: 2, minor: 0 };
    /// The first that knows several folders of CNI plugins; one folder is deprecated since.
    const FOLDERS: Self = Self { major: 2, minor: 1 };

    /// Finds it in the output of `containerd --version`.
    #[must_use]
    pub fn find(output: &str) -> Option<Self> {
        let number = |text: Option<&str>| {
            let text = text?;
            let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            text[..end].parse().ok()
        };
        output.split_whitespace().map(|word| word.trim_start_matches('v')).find_map(|word| {
            let mut parts = word.split('.');
            let (major, minor) = (parts.next()?.parse().ok()?, number(parts.next())?);
            Some(Self { major, minor })
        })
    }
}

/// Where containerd keeps images and containers unless told otherwise.
pub const ROOT: &str = "/var/lib/containerd";

/// The text of `/etc/containerd/config.toml`; images and containers are kept in `root`, and how
/// registries are reached stands in the folders `registries`, which are separated by colons.
///
/// A containerd whose part for kubelets cannot start would run on without it, and its node would never
/// be Ready: one that is required makes it end, and so be started again. That part cannot start as long
/// as the machine is out of inotify instances, for one.
#[must_use]
pub fn config(facts: &Facts, root: &str, pause_image: &str, registries: &str) -> String {
    let cni = facts.cni.display();
    let restrict = facts.restrict_oom_score;
    let no_apparmor = !facts.apparmor;
    let general = r#"state = "/run/containerd"
required_plugins = ["io.containerd.grpc.v1.cri"]
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
    if facts.version < Version::SPLIT {
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
        let folders = if facts.version < Version::FOLDERS {
            format!("bin_dir = \"{cni}\"")
        } else {
            format!("bin_dirs = [\"{cni}\"]")
        };
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
{folders}
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

    const fn version(major: u32, minor: u32) -> Version {
        Version { major, minor }
    }

    #[test]
    fn the_version_is_found_in_every_form_that_distributions_print() {
        let own = "containerd github.com/containerd/containerd";
        for (output, want) in [
            (format!("{own} 1.6.20~ds1 1.6.20~ds1-1+deb12u3"), Some(version(1, 6))),
            (format!("{own}/v2 v2.1.4 75cb2b7"), Some(version(2, 1))),
            (format!("{own}/v2 2.1.9+unknown "), Some(version(2, 1))),
            (format!("{own}/v2 v2.0-rc.1 x"), Some(version(2, 0))),
            ("containerd containerd.io 1.7.27 05044ec0".to_owned(), Some(version(1, 7))),
            ("nothing".to_owned(), None),
        ] {
            assert_eq!(Version::find(&output), want, "{output}");
        }
    }

    /// The lines of a table, by its name.
    fn table<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        let rest = text.split_once(&format!("\n[{name}]\n"));
        let (_, rest) = rest.unwrap_or_else(|| panic!("[{name}] is not in {text}"));
        rest.lines().take_while(|line| !line.starts_with('[') && !line.is_empty()).collect()
    }

    #[test]
    fn each_version_gets_what_it_reads() {
        let mut facts = Facts {
            version: version(1, 6),
            restrict_oom_score: true,
            apparmor: false,
            cni: "/usr/lib/cni".into(),
        };
        let text = config(&facts, ROOT, "pause:1", "/a:/b");
        assert!(text.starts_with("version = 2\nroot = \"/var/lib/containerd\"\n"), "{text}");
        assert!(text.contains("\nrequired_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), "{text}");
        let cri = "plugins.\"io.containerd.grpc.v1.cri\"";
        let wanted = [
            "sandbox_image = \"pause:1\"",
            "restrict_oom_score_adj = true",
            "disable_apparmor = true",
            "stream_server_address = \"127.0.0.1\"",
        ];
        assert_eq!(table(&text, cri), wanted);
        assert_eq!(table(&text, &format!("{cri}.registry")), ["config_path = \"/a:/b\""]);
        let wanted = ["bin_dir = \"/usr/lib/cni\"", "conf_dir = \"/etc/cni/net.d\""];
        assert_eq!(table(&text, &format!("{cri}.cni")), wanted);

        facts.restrict_oom_score = false;
        for (version, folder) in [
            (version(2, 0), "bin_dir = \"/usr/lib/cni\""),
            (version(2, 1), "bin_dirs = [\"/usr/lib/cni\"]"),
            (version(3, 0), "bin_dirs = [\"/usr/lib/cni\"]"),
        ] {
            facts.version = version;
            let text = config(&facts, "/own", "pause:1", "/a:/b");
            assert!(text.starts_with("version = 3\nroot = \"/own\"\n"), "{text}");
            assert!(text.contains("\nrequired_plugins = [\"io.containerd.grpc.v1.cri\"]\n"));
            let images = "plugins.\"io.containerd.cri.v1.images\"";
            let pinned = table(&text, &format!("{images}.pinned_images"));
            assert_eq!(pinned, ["sandbox = \"pause:1\""]);
            assert_eq!(table(&text, &format!("{images}.registry")), ["config_path = \"/a:/b\""]);
            let runtime = "plugins.\"io.containerd.cri.v1.runtime\"";
            let wanted = ["restrict_oom_score_adj = false", "disable_apparmor = true"];
            assert_eq!(table(&text, runtime), wanted);
            let cni = table(&text, &format!("{runtime}.cni"));
            assert_eq!(cni, [folder, "conf_dir = \"/etc/cni/net.d\""], "{version:?}");
        }
    }
}
