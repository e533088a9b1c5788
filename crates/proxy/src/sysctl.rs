//! Kernel settings without which Service traffic does not flow.

use std::path::Path;

/// A setting, the value it needs, and whether Pods can talk without it.
const SETTINGS: [(&str, &str); 4] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    // Without these, traffic between two Pods of one node bypasses the rules: a Service address is
    // rewritten on the way there, and the answer is not rewritten on the way back.
    ("net/bridge/bridge-nf-call-iptables", "1"),
    ("net/bridge/bridge-nf-call-ip6tables", "1"),
];

/// Sets what is not set. What cannot be set is logged: the node may not have that part of the
/// kernel, and everything else still works.
pub fn apply(proc_sys: &Path) {
    for (name, wanted) in SETTINGS {
        let path = proc_sys.join(name);
        let Ok(present) = std::fs::read_to_string(&path) else {
            tracing::info!(setting = name, "kernel setting is not there");
            continue;
        };
        if present.trim() == wanted {
            continue;
        }
        if let Err(error) = std::fs::write(&path, wanted) {
            tracing::warn!(setting = name, %error, "kernel setting cannot be changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_what_is_there_and_makes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("net/ipv4/ip_forward");
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, "0\n").unwrap();
        apply(folder.path());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "1");
        assert!(!folder.path().join("net/bridge").exists());
    }
}
