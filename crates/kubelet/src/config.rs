//! Configuration: flags that name this node, and the shared `KubeletConfiguration`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::jiff::SignedDuration;
use machinery::codec::yaml;
use machinery::features;
use serde::{Deserialize, Serialize};

use crate::images::collect::Policy;
use crate::images::pull_records;
use crate::node::shutdown::{self, Group};

/// Failure to read a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to load kubelet config file, path: {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not a `KubeletConfiguration`.
    #[error("failed to decode kubelet config file, path: {path}: {message}")]
    Decode {
        /// Which one.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// It asks for what is switched off.
    #[error("invalid configuration: specifying {fields} requires feature gate {gate}")]
    Feature {
        /// What it says.
        fields: &'static str,
        /// The feature.
        gate: &'static str,
    },
}

/// Everything that a kubelet is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the Node object; the host name by default.
    pub node_name: Option<String>,
    /// How to reach the API server; without it only static Pods run.
    pub kubeconfig: Option<PathBuf>,
    /// With what to get a client certificate as long as the kubeconfig has none.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Whether kubeconfig and client authorities follow those that the cluster publishes.
    pub follow_authorities: bool,
    /// Addresses of the node, comma-separated; that of the default route if absent.
    pub node_ip: Option<String>,
    /// Folder of the kubelet's files.
    pub root_dir: PathBuf,
    /// Folder of container logs.
    pub pod_log_dir: PathBuf,
    /// Folders whose image archives are imported, now and whenever there are new ones.
    pub images_dirs: Vec<PathBuf>,
    /// What the runtime makes sandboxes of, should it not tell.
    pub sandbox_image: Option<String>,
    /// The containerd client that imports them.
    pub ctr: PathBuf,
    /// Configuration of the programs that know credentials of registries, and their folder.
    pub credential_providers: Option<(PathBuf, PathBuf)>,
    /// Labels that the node registers with.
    pub node_labels: BTreeMap<String, String>,
    /// Taints that the node registers with, besides those of the file.
    pub register_with_taints: Vec<Taint>,
    /// The shared configuration.
    pub kubelet: KubeletConfiguration,
}

/// `kubelet.config.k8s.io/v1beta1`, as far as this kubelet heeds it. See
/// <https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the fields are documented at the address above")]
pub struct KubeletConfiguration {
    pub address: String,
    pub port: u16,
    pub read_only_port: u16,
    pub healthz_bind_address: String,
    pub healthz_port: u16,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_private_key_file: Option<PathBuf>,
    pub static_pod_path: Option<PathBuf>,
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Vec<String>,
    pub cluster_domain: String,
    pub resolv_conf: Option<PathBuf>,
    pub authentication: Authentication,
    pub authorization: Authorization,
    pub cgroup_root: String,
    pub cgroup_driver: String,
    pub max_pods: i64,
    pub allowed_unsafe_sysctls: Vec<String>,
    pub pod_pids_limit: i64,
    pub register_node: bool,
    pub register_with_taints: Vec<Taint>,
    pub container_runtime_endpoint: String,
    pub serialize_image_pulls: bool,
    pub max_parallel_image_pulls: Option<usize>,
    pub image_pull_credentials_verification_policy: pull_records::Policy,
    pub preloaded_images_verification_allowlist: Vec<String>,
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: u8,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: u8,
    #[serde(rename = "imageMinimumGCAge")]
    pub image_minimum_gc_age: Option<String>,
    #[serde(rename = "imageMaximumGCAge")]
    pub image_maximum_gc_age: Option<String>,
    pub container_log_max_size: String,
    pub container_log_max_files: u32,
    pub seccomp_default: bool,
    pub node_status_update_frequency: Option<String>,
    pub node_status_report_frequency: Option<String>,
    pub node_lease_duration_seconds: u64,
    pub kube_reserved: BTreeMap<String, String>,
    pub system_reserved: BTreeMap<String, String>,
    pub eviction_hard: Option<BTreeMap<String, String>>,
    pub eviction_soft: BTreeMap<String, String>,
    pub eviction_soft_grace_period: BTreeMap<String, String>,
    pub eviction_minimum_reclaim: BTreeMap<String, String>,
    pub eviction_max_pod_grace_period: u64,
    pub eviction_pressure_transition_period: Option<String>,
    pub feature_gates: BTreeMap<String, bool>,
    pub shutdown_grace_period: Option<String>,
    pub shutdown_grace_period_critical_pods: Option<String>,
    pub shutdown_grace_period_by_pod_priority: Vec<Group>,
    pub rotate_certificates: bool,
    #[serde(rename = "serverTLSBootstrap")]
    pub server_tls_bootstrap: bool,
    pub enable_server: bool,
}

/// Who may speak to the kubelet's server.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the fields are documented with KubeletConfiguration")]
pub struct Authentication {
    pub x509: X509,
    pub webhook: Webhook,
    pub anonymous: Anonymous,
}

/// Client certificates.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct X509 {
    /// Authority whose certificates are trusted.
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: Option<PathBuf>,
}

/// Bearer tokens, checked by the API server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Webhook {
    /// Whether they are accepted.
    pub enabled: bool,
}

/// Requests without credentials.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Anonymous {
    /// Whether they are let through as `system:anonymous`.
    pub enabled: bool,
}

/// What callers may do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authorization {
    /// `Webhook` asks the API server, `AlwaysAllow` does not.
    pub mode: String,
}

// === impl Config ===

impl Config {
    /// Defaults around a shared configuration.
    pub fn new(kubelet: KubeletConfiguration) -> Self {
        Self {
            node_name: None,
            kubeconfig: None,
            bootstrap_kubeconfig: None,
            follow_authorities: false,
            node_ip: None,
            root_dir: "/var/lib/kubelet".into(),
            pod_log_dir: "/var/log/pods".into(),
            images_dirs: Vec::new(),
            sandbox_image: None,
            ctr: "ctr".into(),
            credential_providers: None,
            node_labels: BTreeMap::new(),
            register_with_taints: Vec::new(),
            kubelet,
        }
    }

    /// Folder of the kubelet's certificates.
    #[must_use]
    pub fn pki_dir(&self) -> PathBuf {
        self.root_dir.join("pki")
    }
}

// === impl KubeletConfiguration ===

impl KubeletConfiguration {
    /// Reads a file of YAML or JSON.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        yaml::from_str(&text).map_err(|error| ConfigError::Decode {
            path: path.to_owned(),
            message: error.to_string(),
        })
    }

    /// Whether what is asked for is there with the features that are on.
    ///
    /// # Errors
    /// [`ConfigError::Feature`].
    pub fn check_features(&self) -> Result<(), ConfigError> {
        let is_off = |gate: &str| features::enabled(gate) == Some(false);
        let is_set = |period: &Option<String>| !duration(period.as_deref(), 0).is_zero();
        let periods = [&self.shutdown_grace_period, &self.shutdown_grace_period_critical_pods];
        for (is_used, fields, gate) in [
            (
                periods.into_iter().any(is_set),
                "shutdownGracePeriod or shutdownGracePeriodCriticalPods",
                "GracefulNodeShutdown",
            ),
            (
                !self.shutdown_grace_period_by_pod_priority.is_empty(),
                "shutdownGracePeriodByPodPriority",
                "GracefulNodeShutdownBasedOnPodPriority",
            ),
        ] {
            if is_used && is_off(gate) {
                return Err(ConfigError::Feature { fields, gate });
            }
        }
        Ok(())
    }

    /// How often the node's status is looked at.
    pub fn status_frequency(&self) -> Duration {
        duration(self.node_status_update_frequency.as_deref(), 10)
    }

    /// How often the node's status is reported even if nothing changed.
    pub fn report_frequency(&self) -> Duration {
        duration(self.node_status_report_frequency.as_deref(), 300)
    }

    /// How long a pressure must not be observed before the Node ceases to report it.
    pub fn pressure_transition(&self) -> Duration {
        duration(self.eviction_pressure_transition_period.as_deref(), 300)
    }

    /// How Pods end before the node does; not at all in order if empty.
    pub fn shutdown_groups(&self) -> Vec<Group> {
        if !self.shutdown_grace_period_by_pod_priority.is_empty() {
            return self.shutdown_grace_period_by_pod_priority.clone();
        }
        let total = duration(self.shutdown_grace_period.as_deref(), 0);
        shutdown::groups(total, duration(self.shutdown_grace_period_critical_pods.as_deref(), 0))
    }

    /// When images are removed.
    pub fn image_gc(&self) -> Policy {
        let age = |text: &Option<String>, default| {
            let age = duration(text.as_deref(), default);
            SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX)
        };
        Policy {
            high: self.image_gc_high_threshold_percent,
            low: self.image_gc_low_threshold_percent,
            min_age: age(&self.image_minimum_gc_age, 120),
            max_age: age(&self.image_maximum_gc_age, 0),
        }
    }

    /// The thresholds of `evictionHard`, or upstream's defaults.
    pub fn eviction_hard(&self) -> BTreeMap<String, String> {
        let defaults = || {
            [
                ("memory.available", "100Mi"),
                ("nodefs.available", "10%"),
                ("nodefs.inodesFree", "5%"),
                ("imagefs.available", "15%"),
                ("imagefs.inodesFree", "5%"),
            ]
            .map(|(signal, limit)| (signal.to_owned(), limit.to_owned()))
            .into()
        };
        self.eviction_hard.clone().unwrap_or_else(defaults)
    }
}

impl Default for KubeletConfiguration {
    fn default() -> Self {
        Self {
            address: "0.0.0.0".into(),
            port: 10250,
            read_only_port: 0,
            healthz_bind_address: "127.0.0.1".into(),
            healthz_port: 10248,
            tls_cert_file: None,
            tls_private_key_file: None,
            static_pod_path: None,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".into(),
            resolv_conf: Some("/etc/resolv.conf".into()),
            authentication: Authentication::default(),
            authorization: Authorization::default(),
            cgroup_root: "/".into(),
            cgroup_driver: "cgroupfs".into(),
            max_pods: 110,
            allowed_unsafe_sysctls: Vec::new(),
            pod_pids_limit: -1,
            register_node: true,
            register_with_taints: Vec::new(),
            container_runtime_endpoint: "unix:///run/containerd/containerd.sock".into(),
            serialize_image_pulls: true,
            max_parallel_image_pulls: None,
            image_pull_credentials_verification_policy: pull_records::Policy::default(),
            preloaded_images_verification_allowlist: Vec::new(),
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            image_minimum_gc_age: None,
            image_maximum_gc_age: None,
            container_log_max_size: "10Mi".into(),
            container_log_max_files: 5,
            seccomp_default: false,
            node_status_update_frequency: None,
            node_status_report_frequency: None,
            node_lease_duration_seconds: 40,
            kube_reserved: BTreeMap::new(),
            system_reserved: BTreeMap::new(),
            eviction_hard: None,
            eviction_soft: BTreeMap::new(),
            eviction_soft_grace_period: BTreeMap::new(),
            eviction_minimum_reclaim: BTreeMap::new(),
            eviction_max_pod_grace_period: 0,
            eviction_pressure_transition_period: None,
            feature_gates: BTreeMap::new(),
            shutdown_grace_period: None,
            shutdown_grace_period_critical_pods: None,
            shutdown_grace_period_by_pod_priority: Vec::new(),
            rotate_certificates: false,
            server_tls_bootstrap: false,
            enable_server: true,
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl Default for Authorization {
    fn default() -> Self {
        Self { mode: "Webhook".into() }
    }
}

/// A Go duration, or `default` seconds when absent or zero.
fn duration(text: Option<&str>, default: u64) -> Duration {
    text.and_then(|text| machinery::duration::parse(text).ok())
        .filter(|parsed| !parsed.is_zero())
        .unwrap_or(Duration::from_secs(default))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubeadm_writes() {
        let text = "
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {cacheTTL: 0s, enabled: true}
  x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}
authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 0s}}
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
rotateCertificates: true
serverTLSBootstrap: true
evictionHard: {nodefs.available: '0%'}
nodeStatusReportFrequency: 0s
nodeStatusUpdateFrequency: 2s
staticPodPath: /etc/kubernetes/manifests
";
        let config: KubeletConfiguration = yaml::from_str(text).unwrap();
        assert_eq!(config.cluster_dns, ["10.96.0.10"]);
        assert_eq!(config.static_pod_path.as_deref(), Some(Path::new("/etc/kubernetes/manifests")));
        assert_eq!(
            config.authentication.x509.client_ca_file.as_deref(),
            Some(Path::new("/etc/kubernetes/pki/ca.crt"))
        );
        assert_eq!(config.status_frequency(), Duration::from_secs(2));
        assert_eq!(config.report_frequency(), Duration::from_secs(300));
        let own = BTreeMap::from([("nodefs.available".to_owned(), "0%".to_owned())]);
        assert_eq!(config.eviction_hard(), own);
        assert_eq!((config.port, config.max_pods), (10250, 110));
        assert!(config.rotate_certificates && config.server_tls_bootstrap);
    }

    #[test]
    fn pods_end_in_order_when_there_is_time_for_it() {
        let groups = |text: &str| -> Vec<(i32, u64)> {
            let config: KubeletConfiguration = yaml::from_str(text).unwrap();
            config.shutdown_groups().iter().map(|group| (group.priority, group.seconds)).collect()
        };
        assert_eq!(groups("{}"), []);
        let usual = "{shutdownGracePeriod: 30s, shutdownGracePeriodCriticalPods: 10s}";
        assert_eq!(groups(usual), [(0, 20), (2_000_000_000, 10)]);
        let own =
            "shutdownGracePeriodByPodPriority: [{priority: 5, shutdownGracePeriodSeconds: 7}]";
        assert_eq!(groups(own), [(5, 7)]);
    }

    #[test]
    fn images_go_when_upstream_says() {
        let (minute, zero) = (SignedDuration::from_mins(1), SignedDuration::ZERO);
        let default = Policy { high: 85, low: 80, min_age: minute * 2, max_age: zero };
        assert_eq!(KubeletConfiguration::default().image_gc(), default);
        let text = "{imageGCHighThresholdPercent: 90, imageGCLowThresholdPercent: 50, \
                    imageMinimumGCAge: 0s, imageMaximumGCAge: 1h}";
        let config: KubeletConfiguration = yaml::from_str(text).unwrap();
        let wanted = Policy { high: 90, low: 50, min_age: minute * 2, max_age: minute * 60 };
        assert_eq!(config.image_gc(), wanted);
    }
}
