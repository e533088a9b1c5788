//! `ironclad kube-proxy`.

use std::path::PathBuf;

use apiserver::features::Choices;
use clap::Args;
use client::ConnectOptions;
use proxy::Config;
use proxy::cidr::Cidr;
use tokio_util::sync::CancellationToken;

use super::features::{self, Component};

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// How the API server is reached; the Pod's service account unless given
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Name of this node
    #[arg(long)]
    hostname_override: String,
    /// Ranges of all Pods
    #[arg(long, value_delimiter = ',')]
    cluster_cidr: Vec<Cidr>,
    /// Where the node's root is mounted, when this runs in a container without nft
    #[arg(long)]
    host_root: Option<PathBuf>,
    /// The nft program, on the node's root
    #[arg(long, default_value = "nft")]
    nft: String,
    /// Folder that gets the CNI configuration of this node's Pods
    #[arg(long, default_value = "/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
    #[command(flatten)]
    features: features::Flags,
}

pub(crate) async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    flags.features.set_up(Component::Proxy, Choices::new())?;
    let config = Config {
        connect: ConnectOptions {
            kubeconfig: flags.kubeconfig,
            user_agent: "kube-proxy".to_owned(),
        },
        cluster_cidrs: flags.cluster_cidr,
        host_root: flags.host_root,
        nft_path: flags.nft,
        cni_conf_dir: Some(flags.cni_conf_dir),
        ..Config::new(flags.hostname_override)
    };
    Ok(proxy::run(config, shutdown).await?)
}
