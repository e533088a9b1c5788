//! `ironclad kube-apiserver`.

mod audit;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use apiserver::features::Choices;
use apiserver::{Config, Enablement, EtcdOptions};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::features::{self, Component};

/// Flags under upstream's names; those that upstream has and this list has not are not supported.
#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// Address to listen on
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    bind_address: IpAddr,
    /// Port to listen on
    #[arg(long, default_value_t = 6443)]
    secure_port: u16,
    /// Address of the Service `kubernetes`'s endpoint
    #[arg(long)]
    advertise_address: IpAddr,
    /// Folder of the embedded store, used unless there are etcd servers
    #[arg(long, default_value = "/var/lib/ironclad/store")]
    data_dir: PathBuf,
    /// URLs of the members of an etcd cluster to store in
    #[arg(long, value_delimiter = ',', value_name = "URL,…")]
    etcd_servers: Vec<String>,
    /// Authorities of the etcd members' certificates
    #[arg(long)]
    etcd_cafile: Option<PathBuf>,
    /// Certificate to show to etcd
    #[arg(long, requires = "etcd_keyfile")]
    etcd_certfile: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "etcd_certfile")]
    etcd_keyfile: Option<PathBuf>,
    /// Where objects are in etcd
    #[arg(long, default_value = "/registry")]
    etcd_prefix: String,
    /// Time for which old revisions are kept; 0 leaves compaction to others
    #[arg(long, default_value = "5m", value_parser = apiserver::parse_duration)]
    etcd_compaction_interval: Duration,
    /// Bytes that the embedded store may hold: 0 is 2 GiB, less is no limit
    #[arg(long, default_value_t = 0, allow_negative_numbers = true, value_name = "BYTES")]
    quota_backend_bytes: i64,
    /// Where scheduled snapshots of the store are put
    #[arg(long, default_value = "/var/lib/ironclad/snapshots", value_name = "FOLDER")]
    snapshot_dir: PathBuf,
    /// Time between scheduled snapshots; 0 takes none
    #[arg(long, default_value = "0s", value_parser = apiserver::parse_duration)]
    snapshot_interval: Duration,
    /// How many scheduled snapshots stay
    #[arg(long, default_value_t = 24)]
    snapshot_keep: usize,
    /// Authorities of client certificates
    #[arg(long)]
    client_ca_file: PathBuf,
    /// Serving certificate
    #[arg(long)]
    tls_cert_file: PathBuf,
    /// Its key
    #[arg(long)]
    tls_private_key_file: PathBuf,
    /// Keys that service-account tokens are checked with
    #[arg(long, required = true)]
    service_account_key_file: Vec<PathBuf>,
    /// Key that service-account tokens are signed with
    #[arg(long)]
    service_account_signing_key_file: PathBuf,
    /// Issuer of service-account tokens
    #[arg(long)]
    service_account_issuer: String,
    /// Audiences of this server; the issuer unless given
    #[arg(long, value_delimiter = ',')]
    api_audiences: Vec<String>,
    /// Whether bootstrap tokens let new nodes in
    #[arg(long, default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    enable_bootstrap_token_auth: bool,
    /// Which APIs are served: api/all, api/ga, api/beta, api/alpha, group/version or
    /// group/version/resource with =true or =false; stable versions unless told otherwise
    #[arg(long, value_delimiter = ',', value_name = "KEY=VALUE,…")]
    runtime_config: Vec<String>,
    /// Range of cluster IPs
    #[arg(long, default_value = "10.96.0.0/12")]
    service_cluster_ip_range: String,
    /// First and last node port
    #[arg(long, default_value = "30000-32767")]
    service_node_port_range: String,
    /// Certificate for requests to kubelets
    #[arg(long, requires = "kubelet_client_key")]
    kubelet_client_certificate: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "kubelet_client_certificate")]
    kubelet_client_key: Option<PathBuf>,
    /// Authorities of kubelets' serving certificates
    #[arg(long)]
    kubelet_certificate_authority: Option<PathBuf>,
    /// Authorities of the aggregation layer's client certificates
    #[arg(long)]
    requestheader_client_ca_file: Option<PathBuf>,
    /// Certificate for requests that are passed on to other API servers
    #[arg(long, requires = "proxy_client_key_file")]
    proxy_client_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "proxy_client_cert_file")]
    proxy_client_key_file: Option<PathBuf>,
    /// Seconds for which events are kept
    #[arg(long, default_value_t = 3600, value_name = "SECONDS")]
    event_ttl: u64,
    /// Reads that run at once; 0 is no limit
    #[arg(long, default_value_t = 400)]
    max_requests_inflight: usize,
    /// Writes that run at once; 0 is no limit
    #[arg(long, default_value_t = 200)]
    max_mutating_requests_inflight: usize,
    #[command(flatten)]
    audit: audit::Flags,
    /// AdmissionConfiguration that says what admission plugins do
    #[arg(long)]
    admission_control_config_file: Option<PathBuf>,
    /// HTTP/2 streams that a client may have open on one connection; 0 is 100
    #[arg(long, default_value_t = 0)]
    http2_max_streams_per_connection: u32,
    /// Seconds that an ordinary request may take
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    request_timeout: u64,
    #[command(flatten)]
    features: features::Flags,
}

pub(crate) async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    flags.features.set_up(Component::ApiServer, Choices::new())?;
    let config = Config {
        bind: SocketAddr::new(flags.bind_address, flags.secure_port),
        advertise: flags.advertise_address,
        data_dir: flags.data_dir,
        etcd: EtcdOptions {
            servers: flags.etcd_servers,
            ca_file: flags.etcd_cafile,
            cert_file: flags.etcd_certfile,
            key_file: flags.etcd_keyfile,
            prefix: flags.etcd_prefix,
        },
        compaction_interval: flags.etcd_compaction_interval,
        quota_backend_bytes: flags.quota_backend_bytes,
        snapshot_dir: flags.snapshot_dir,
        snapshot_interval: flags.snapshot_interval,
        snapshot_keep: flags.snapshot_keep,
        client_ca: flags.client_ca_file,
        enable_bootstrap_token_auth: flags.enable_bootstrap_token_auth,
        certificate: flags.tls_cert_file,
        key: flags.tls_private_key_file,
        service_account_keys: flags.service_account_key_file,
        service_account_signing_key: flags.service_account_signing_key_file,
        service_account_issuer: flags.service_account_issuer,
        audiences: flags.api_audiences,
        enablement: Enablement::parse(&flags.runtime_config)?,
        service_cluster_ip_range: flags.service_cluster_ip_range,
        service_node_port_range: flags.service_node_port_range,
        kubelet_client_certificate: flags.kubelet_client_certificate,
        kubelet_client_key: flags.kubelet_client_key,
        kubelet_certificate_authority: flags.kubelet_certificate_authority,
        front_proxy_ca: flags.requestheader_client_ca_file,
        proxy_client_certificate: flags.proxy_client_cert_file,
        proxy_client_key: flags.proxy_client_key_file,
        event_ttl: Duration::from_secs(flags.event_ttl),
        max_requests_in_flight: flags.max_requests_inflight,
        max_mutating_requests_in_flight: flags.max_mutating_requests_inflight,
        audit: flags.audit.options(),
        admission_control_config_file: flags.admission_control_config_file,
        max_streams: match flags.http2_max_streams_per_connection {
            0 => Config::default().max_streams,
            given => given,
        },
        request_timeout: Duration::from_secs(flags.request_timeout),
        ..Config::default()
    };
    Ok(apiserver::run(config, shutdown).await?)
}
