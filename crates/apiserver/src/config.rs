//! What an operator can set; names follow upstream's flags.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use resources::Enablement;

use crate::audit;

/// Configuration of the API server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen (`--bind-address`, `--secure-port`).
    pub bind: SocketAddr,
    /// The address under which Pods reach the server (`--advertise-address`).
    pub advertise: IpAddr,
    /// The folder of the embedded store (`--data-dir`), used unless there are etcd servers.
    pub data_dir: PathBuf,
    /// The etcd cluster to store in, and how to reach it (`--etcd-servers`, `--etcd-cafile`,
    /// `--etcd-certfile`, `--etcd-keyfile`, `--etcd-prefix`).
    pub etcd: store::etcd::Options,
    /// How long old revisions are kept at least (`--etcd-compaction-interval`); zero leaves
    /// compaction to others.
    pub compaction_interval: Duration,
    /// Bytes that the embedded store may hold (`--quota-backend-bytes`): 0 is 2 GiB, less is no
    /// limit.
    pub quota_backend_bytes: i64,
    /// Where scheduled snapshots of the store are put (`--snapshot-dir`).
    pub snapshot_dir: PathBuf,
    /// How often (`--snapshot-interval`); zero is never.
    pub snapshot_interval: Duration,
    /// How many of them stay (`--snapshot-keep`).
    pub snapshot_keep: usize,
    /// Authorities of client certificates (`--client-ca-file`).
    pub client_ca: PathBuf,
    /// Serving certificate (`--tls-cert-file`).
    pub certificate: PathBuf,
    /// Its key (`--tls-private-key-file`).
    pub key: PathBuf,
    /// Keys that service-account tokens are checked with (`--service-account-key-file`).
    pub service_account_keys: Vec<PathBuf>,
    /// The key that they are signed with (`--service-account-signing-key-file`).
    pub service_account_signing_key: PathBuf,
    /// Who issues them (`--service-account-issuer`).
    pub service_account_issuer: String,
    /// Audiences of this server; the issuer when empty (`--api-audiences`).
    pub audiences: Vec<String>,
    /// Whether Secrets of type `bootstrap.kubernetes.io/token` let new nodes in
    /// (`--enable-bootstrap-token-auth`).
    pub enable_bootstrap_token_auth: bool,
    /// Which built-in resources are served (`--runtime-config`).
    pub enablement: Enablement,
    /// Range of cluster IPs (`--service-cluster-ip-range`).
    pub service_cluster_ip_range: String,
    /// First and last node port, `30000-32767` (`--service-node-port-range`).
    pub service_node_port_range: String,
    /// Certificate for requests to kubelets (`--kubelet-client-certificate`).
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Its key (`--kubelet-client-key`).
    pub kubelet_client_key: Option<PathBuf>,
    /// Authority of kubelets' serving certificates (`--kubelet-certificate-authority`).
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Authority of the aggregation layer's client certificates
    /// (`--requestheader-client-ca-file`), published for extension servers.
    pub front_proxy_ca: Option<PathBuf>,
    /// Certificate for requests that are passed on to other API servers
    /// (`--proxy-client-cert-file`).
    pub proxy_client_certificate: Option<PathBuf>,
    /// Its key (`--proxy-client-key-file`).
    pub proxy_client_key: Option<PathBuf>,
    /// How long events are kept (`--event-ttl`).
    pub event_ttl: Duration,
    /// Reads that run at once, long-running ones aside; 0 is no limit
    /// (`--max-requests-inflight`).
    pub max_requests_in_flight: usize,
    /// Writes that run at once; 0 is no limit (`--max-mutating-requests-inflight`).
    pub max_mutating_requests_in_flight: usize,
    /// What is noted of requests, and where (`--audit-*`).
    pub audit: audit::Options,
    /// What admission plugins are told (`--admission-control-config-file`).
    pub admission_control_config_file: Option<PathBuf>,
    /// HTTP/2 streams that a client may have open on one connection
    /// (`--http2-max-streams-per-connection`).
    pub max_streams: u32,
    /// How long an ordinary request may take (`--request-timeout`).
    pub request_timeout: Duration,
    /// How long requests may go on after shutdown began (`--shutdown-delay` and drain).
    pub drain: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let pki = |name: &str| PathBuf::from("/etc/kubernetes/pki").join(name);
        Self {
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 6443)),
            advertise: IpAddr::V4(Ipv4Addr::LOCALHOST),
            data_dir: PathBuf::from("/var/lib/ironclad/store"),
            etcd: store::etcd::Options::default(),
            compaction_interval: store::DEFAULT_INTERVAL,
            quota_backend_bytes: 0,
            snapshot_dir: PathBuf::from("/var/lib/ironclad/snapshots"),
            snapshot_interval: Duration::ZERO,
            snapshot_keep: 24,
            client_ca: pki("ca.crt"),
            certificate: pki("apiserver.crt"),
            key: pki("apiserver.key"),
            service_account_keys: vec![pki("sa.pub")],
            service_account_signing_key: pki("sa.key"),
            service_account_issuer: "https://kubernetes.default.svc.cluster.local".to_owned(),
            audiences: Vec::new(),
            enable_bootstrap_token_auth: false,
            enablement: Enablement::default(),
            service_cluster_ip_range: "10.96.0.0/12".to_owned(),
            service_node_port_range: "30000-32767".to_owned(),
            kubelet_client_certificate: None,
            kubelet_client_key: None,
            kubelet_certificate_authority: None,
            front_proxy_ca: None,
            proxy_client_certificate: None,
            proxy_client_key: None,
            event_ttl: Duration::from_secs(3600),
            max_requests_in_flight: 400,
            max_mutating_requests_in_flight: 200,
            audit: audit::Options::default(),
            admission_control_config_file: None,
            max_streams: component::serve::Options::default().max_streams,
            request_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}
