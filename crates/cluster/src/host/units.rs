//! Systemd units of a node: the kubelet's always, and containerd's where none runs already.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use crate::node::files::{self, BOOTSTRAP_KUBECONFIG, File, KUBELET_CONFIG, KUBELET_KUBECONFIG};

use super::{HostError, IMAGES};

/// Folder of the administrator's units, which take the place of the distribution's.
const FOLDER: &str = "/etc/systemd/system";
/// Arguments of one host's kubelet, as kubeadm keeps them.
const FLAGS: &str = "/var/lib/kubelet/kubeadm-flags.env";
/// Further arguments of the administrator's.
const EXTRA: &str = "/etc/default/kubelet";

/// What the kubelet has logind wait by when the machine stops.
pub(super) const LOGIND: &str = "/etc/systemd/logind.conf.d/99-kubelet.conf";

/// Path of a unit's file.
pub(super) fn path(name: &str) -> String {
    format!("{FOLDER}/{name}.service")
}

/// The unit of the kubelet, which is `program`, and the arguments of node `name` at `address`, whose
/// runtime makes sandboxes of the image `sandboxes`, if that is known.
pub(super) fn kubelet(
    program: &Path,
    name: &str,
    address: Ipv4Addr,
    sandboxes: Option<&str>,
) -> Vec<File> {
    let unit = format!(
        "[Unit]
Description=kubelet: The Kubernetes Node Agent
Documentation=https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/
Wants=network-online.target containerd.service
After=network-online.target containerd.service
# It is started again for as long as it takes.
StartLimitIntervalSec=0

[Service]
Environment=\"KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig={BOOTSTRAP_KUBECONFIG} --kubeconfig={KUBELET_KUBECONFIG}\"
Environment=\"KUBELET_CONFIG_ARGS=--config={KUBELET_CONFIG}\"
EnvironmentFile=-{FLAGS}
EnvironmentFile=-{EXTRA}
ExecStart={} kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
",
        program.display()
    );
    let sandboxes = sandboxes.map(|image| format!(" --sandbox-image={image}"));
    let flags = format!(
        "KUBELET_KUBEADM_ARGS=\"--hostname-override={name} --node-ip={address} \
         --images-dir={IMAGES} --follow-authorities{}\"\n",
        sandboxes.unwrap_or_default()
    );
    vec![files::plain(&path("kubelet"), unit), files::plain(FLAGS, flags)]
}

/// The unit of a containerd with the configuration at `config`. Containers outlive it.
pub(super) fn containerd(program: &Path, config: &str) -> File {
    let unit = format!(
        "[Unit]
Description=containerd container runtime
Documentation=https://containerd.io
After=network.target local-fs.target
# It ends when it cannot serve kubelets, and is started again for as long as it takes.
StartLimitIntervalSec=0

[Service]
ExecStart={} --config {config}
Type=notify
Delegate=yes
KillMode=process
Restart=always
RestartSec=1
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-999

[Install]
WantedBy=multi-user.target
",
        program.display()
    );
    files::plain(&path("containerd"), unit)
}

/// Whether a unit runs.
pub(super) fn is_active(name: &str) -> bool {
    let status = Command::new("systemctl").args(["is-active", "--quiet", name]).status();
    status.is_ok_and(|status| status.success())
}

/// Lets systemd know of new units.
pub(super) fn reload() -> Result<(), HostError> {
    systemctl(&["daemon-reload"])
}

/// Has logind read its configuration again.
pub(super) fn reload_logind() -> Result<(), HostError> {
    systemctl(&["kill", "--signal=HUP", "systemd-logind"])
}

/// Starts a unit, now and whenever the host boots.
pub(super) fn start(name: &str) -> Result<(), HostError> {
    systemctl(&["enable", "--quiet", name])?;
    restart(name)
}

/// Restarts a unit.
pub(super) fn restart(name: &str) -> Result<(), HostError> {
    systemctl(&["restart", name])
}

/// Ends a unit for good; one that is not there is fine.
pub(super) fn stop(name: &str) -> Result<(), HostError> {
    if !Path::new(&path(name)).exists() && !is_active(name) {
        return Ok(());
    }
    systemctl(&["disable", "--quiet", "--now", name])
}

fn systemctl(arguments: &[&str]) -> Result<(), HostError> {
    let failed = |problem: String| HostError::Systemctl { arguments: arguments.join(" "), problem };
    let output =
        Command::new("systemctl").args(arguments).output().map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::files::Content;

    #[test]
    fn units_run_the_given_programs_with_the_files_of_the_node() {
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let files = kubelet(Path::new("/opt/ironclad"), "n1", address, Some("pause:1"));
        let text = |file: &File| match &file.content {
            Content::Text(text) => text.clone(),
            Content::Link(_) => panic!("a unit is no link"),
        };
        let unit = text(&files[0]);
        assert!(
            unit.contains("ExecStart=/opt/ironclad kubelet $KUBELET_KUBECONFIG_ARGS "),
            "{unit}"
        );
        assert!(text(&files[1]).contains("--hostname-override=n1 --node-ip=192.0.2.1 "));
        assert!(text(&files[1]).ends_with(" --sandbox-image=pause:1\"\n"));
        let unit = text(&containerd(Path::new("/usr/bin/containerd"), "/c.toml"));
        assert!(unit.contains("ExecStart=/usr/bin/containerd --config /c.toml\n"), "{unit}");
        assert!(unit.contains("KillMode=process"), "{unit}");
        assert!(unit.contains("StartLimitIntervalSec=0"), "{unit}");
    }
}
