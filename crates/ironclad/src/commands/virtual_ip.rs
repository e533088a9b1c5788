//! `ironclad virtual-ip`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;
use cluster::virtual_ip::{self, Options};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Args)]
pub(crate) struct Flags {
    /// How the API server of this node is reached
    #[arg(long)]
    kubeconfig: PathBuf,
    /// The address that one of the control planes has at a time
    #[arg(long)]
    address: Ipv4Addr,
    /// The node's own address, whose interface gets the other too
    #[arg(long)]
    node_ip: Ipv4Addr,
    /// Name of the node, which holds the lease
    #[arg(long)]
    identity: String,
}

pub(crate) async fn run(flags: Flags, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Flags { kubeconfig, address, node_ip, identity } = flags;
    Ok(virtual_ip::run(&Options { kubeconfig, address, node_ip, identity }, shutdown).await?)
}
