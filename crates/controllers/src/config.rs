//! Settings of the controller manager; names and defaults are upstream's flags'.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Controllers that run only when they are named: they are of use where nodes join with tokens.
const OFF_BY_DEFAULT: [&str; 2] = ["bootstrap-signer-controller", "token-cleaner-controller"];

/// How the controller manager runs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Path of the kubeconfig file; without it the Pod's service account is used.
    pub kubeconfig: Option<PathBuf>,
    /// Where `/healthz`, `/readyz` and `/metrics` are served over TLS; `None` serves nothing.
    pub ops_address: Option<SocketAddr>,
    /// Whether to give nodes ranges of Pod addresses (`--allocate-node-cidrs`).
    pub allocate_node_cidrs: bool,
    /// Pod addresses, one range for each address family (`--cluster-cidr`, comma separated).
    pub cluster_cidr: String,
    /// Service addresses (`--service-cluster-ip-range`), left out of the Pods' ranges.
    pub service_cidr: String,
    /// CA bundle that is published to every namespace (`--root-ca-file`).
    pub root_ca_file: Option<PathBuf>,
    /// The authority that signs approved requests for certificates: its certificate and key
    /// (`--cluster-signing-cert-file`, `--cluster-signing-key-file`). Without it none is signed.
    pub cluster_signing: Option<(PathBuf, PathBuf)>,
    /// What a certificate lasts whose requester wants no less (`--cluster-signing-duration`).
    pub cluster_signing_duration: Duration,
    /// Whether to wait for the lease `kube-system/kube-controller-manager`.
    pub leader_elect: bool,
    /// Names of the controllers to run: `*` for all but those that are off by default
    /// (`bootstrap-signer-controller`, `token-cleaner-controller`), `name` to add and `-name` to
    /// leave one out.
    pub controllers: Vec<String>,
    /// Whether each controller acts as a service account of its own in `kube-system`.
    pub use_service_account_credentials: bool,
    /// How often nodes are looked at (`--node-monitor-period`).
    pub node_monitor_period: Duration,
    /// Silence after which a node counts as unknown (`--node-monitor-grace-period`).
    pub node_monitor_grace_period: Duration,
    /// The same for a node that never reported (`--node-startup-grace-period`).
    pub node_startup_grace_period: Duration,
    /// Nodes a second that get the NoExecute taint in a healthy zone (`--node-eviction-rate`).
    pub node_eviction_rate: f64,
    /// The same in a zone that is mostly unhealthy (`--secondary-node-eviction-rate`).
    pub secondary_node_eviction_rate: f64,
    /// Zones of more nodes than this slow down rather than stop (`--large-cluster-size-threshold`).
    pub large_cluster_size_threshold: usize,
    /// Part of a zone's nodes that makes it unhealthy (`--unhealthy-zone-threshold`).
    pub unhealthy_zone_threshold: f64,
    /// Ended Pods that may stay (`--terminated-pod-gc-threshold`).
    pub terminated_pod_gc_threshold: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            ops_address: Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 10257)),
            allocate_node_cidrs: true,
            cluster_cidr: "10.244.0.0/16".to_owned(),
            service_cidr: "10.96.0.0/12".to_owned(),
            root_ca_file: None,
            cluster_signing: None,
            cluster_signing_duration: Duration::from_secs(365 * 24 * 3600),
            leader_elect: true,
            controllers: vec!["*".to_owned()],
            use_service_account_credentials: false,
            node_monitor_period: Duration::from_secs(5),
            node_monitor_grace_period: Duration::from_secs(50),
            node_startup_grace_period: Duration::from_secs(60),
            node_eviction_rate: 0.1,
            secondary_node_eviction_rate: 0.01,
            large_cluster_size_threshold: 50,
            unhealthy_zone_threshold: 0.55,
            terminated_pod_gc_threshold: 12_500,
        }
    }
}

impl Config {
    /// Whether the controller of this name is to run.
    #[must_use]
    pub fn enables(&self, name: &str) -> bool {
        let listed = |text: &str| self.controllers.iter().any(|c| c == text);
        if listed(name) {
            return true;
        }
        !listed(&format!("-{name}")) && listed("*") && !OFF_BY_DEFAULT.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_are_chosen_as_upstream_does() {
        let config = |list: &[&str]| Config {
            controllers: list.iter().map(|c| (*c).to_owned()).collect(),
            ..Config::default()
        };
        assert!(config(&["*"]).enables("a"));
        assert!(!config(&["*", "-a"]).enables("a"));
        assert!(config(&["a"]).enables("a"));
        assert!(!config(&["a"]).enables("b"));
        assert!(!config(&["*"]).enables("token-cleaner-controller"));
        assert!(config(&["*", "token-cleaner-controller"]).enables("token-cleaner-controller"));
    }
}
