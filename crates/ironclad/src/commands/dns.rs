//! `ironclad dns`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use client::ConnectOptions;
use dns::Config;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// How the API server is reached; the Pod's service account unless given
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Domain of the names of Services and Pods
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    /// The file that names the servers for all other names
    #[arg(long, default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// Addresses under which this server is known, which are never forwarded to
    #[arg(long, value_delimiter = ',')]
    own_addresses: Vec<IpAddr>,
}

pub(crate) async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let connect = ConnectOptions { kubeconfig: flags.kubeconfig, user_agent: String::new() };
    let mut config = Config::new(connect, flags.cluster_domain);
    config.resolv_conf = flags.resolv_conf;
    config.own_addresses.extend(flags.own_addresses);
    Ok(dns::run(config, shutdown).await?)
}
