//! `ironclad kube-controller-manager`.

use std::path::PathBuf;
use std::time::Duration;

use apiserver::features::Choices;
use clap::{ArgAction, Args};
use controllers::Config;
use tokio_util::sync::CancellationToken;

use super::features::{self, Component};

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// How the API server is reached; the Pod's service account unless given
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Range of all Pods, of which each node gets a part
    #[arg(long, default_value = "10.244.0.0/16")]
    cluster_cidr: String,
    /// Whether nodes get parts of it
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    allocate_node_cidrs: bool,
    /// Range of cluster IPs
    #[arg(long, default_value = "10.96.0.0/12")]
    service_cluster_ip_range: String,
    /// Authority that is published to every namespace
    #[arg(long)]
    root_ca_file: Option<PathBuf>,
    /// Authority that signs approved requests for certificates
    #[arg(long, requires = "cluster_signing_key_file")]
    cluster_signing_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "cluster_signing_cert_file")]
    cluster_signing_key_file: Option<PathBuf>,
    /// What a certificate lasts whose requester asks for no less
    #[arg(long, default_value = "8760h", value_parser = apiserver::parse_duration)]
    cluster_signing_duration: Duration,
    /// Whether only the holder of the lease acts
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    leader_elect: bool,
    /// Controllers to run: '*' for all, 'name' for one, '-name' to leave one out
    #[arg(long, default_value = "*", value_delimiter = ',')]
    controllers: Vec<String>,
    /// Whether each controller acts as a service account of its own
    #[arg(long, default_value_t = false, action = ArgAction::Set)]
    use_service_account_credentials: bool,
    /// Seconds after which a node that says nothing is Unknown
    #[arg(long, default_value_t = 50, value_name = "SECONDS")]
    node_monitor_grace_period: u64,
    #[command(flatten)]
    features: features::Flags,
}

pub(crate) async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    flags.features.set_up(Component::ControllerManager, Choices::new())?;
    let config = Config {
        kubeconfig: flags.kubeconfig,
        allocate_node_cidrs: flags.allocate_node_cidrs,
        cluster_cidr: flags.cluster_cidr,
        service_cidr: flags.service_cluster_ip_range,
        root_ca_file: flags.root_ca_file,
        cluster_signing: flags.cluster_signing_cert_file.zip(flags.cluster_signing_key_file),
        cluster_signing_duration: flags.cluster_signing_duration,
        leader_elect: flags.leader_elect,
        controllers: flags.controllers,
        use_service_account_credentials: flags.use_service_account_credentials,
        node_monitor_grace_period: Duration::from_secs(flags.node_monitor_grace_period),
        ..Config::default()
    };
    Ok(controllers::run(config, shutdown).await?)
}
