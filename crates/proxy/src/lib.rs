//! The service proxy: makes Services reachable on a node, and the node's Pods reachable from others.
//!
//! ```text
//! Services, EndpointSlices, Nodes ─▶ rules::build (pure) ─▶ model::Table ─▶ diff ─▶ one `nft -f -`
//!                              Nodes ─▶ routes::plan (pure) ─▶ diff ─▶ netlink
//!                           own Node ─▶ CNI configuration
//! ```
//!
//! Invariants: what is written is a function of the watched objects alone; only differences are
//! written, each in one transaction, so a packet never meets half a change; the cost of a packet
//! does not grow with the number of Services; routes and tables of others are never touched.

pub mod cidr;
pub mod cni;
pub mod conntrack;
pub mod health;
pub mod host;
pub mod metrics;
pub mod model;
pub mod nft;
pub mod routes;
pub mod rules;
mod sync;
pub mod sysctl;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::cidr::Cidr;
use crate::host::Host;

/// What the proxy needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the API server is reached.
    pub connect: client::ConnectOptions,
    /// The name of the node that the proxy runs on.
    pub node_name: String,
    /// The ranges of all Pods, e.g. `10.244.0.0/16`; traffic from them keeps its address within the
    /// cluster and is masqueraded when it leaves it.
    pub cluster_cidrs: Vec<Cidr>,
    /// Where the host's root is mounted when the proxy runs in a container.
    pub host_root: Option<PathBuf>,
    /// The nft program: a name to search for or an absolute path (in the host's root).
    pub nft_path: String,
    /// The CNI configuration folder as the proxy sees it; `None` to leave CNI to others.
    pub cni_conf_dir: Option<PathBuf>,
    /// Whether routes to the other nodes' Pod ranges are set.
    pub manage_routes: bool,
    /// Shortest time between two writes; changes in between go together.
    pub min_sync_period: Duration,
    /// How often the kernel's state is checked against what was written.
    pub sync_period: Duration,
    /// `/healthz` address.
    pub healthz_address: SocketAddr,
    /// `/metrics` address.
    pub metrics_address: SocketAddr,
}

/// Why the proxy cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection to the API server can be configured.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// An address is taken.
    #[error("health server: {0}")]
    Health(#[source] std::io::Error),
    /// The metrics server cannot start.
    #[error(transparent)]
    Metrics(#[from] component::ops::Error),
    /// The nft program is missing or does not work.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// Netlink does not work.
    #[error(transparent)]
    Routes(#[from] routes::Error),
}

// === impl Config ===

impl Config {
    /// Upstream's defaults, except that changes are written after 50 ms instead of a second.
    pub fn new(node_name: impl Into<String>) -> Self {
        Config {
            connect: client::ConnectOptions::default(),
            node_name: node_name.into(),
            cluster_cidrs: Vec::new(),
            host_root: None,
            nft_path: "nft".to_owned(),
            cni_conf_dir: None,
            manage_routes: true,
            min_sync_period: Duration::from_millis(50),
            sync_period: Duration::from_secs(30),
            healthz_address: SocketAddr::from(([0, 0, 0, 0], 10256)),
            metrics_address: SocketAddr::from(([127, 0, 0, 1], 10249)),
        }
    }

    fn host(&self) -> Host {
        Host { root: self.host_root.clone() }
    }
}

/// Runs the proxy until `shutdown`. The rules stay, so that traffic flows while the proxy is
/// replaced; [`cleanup`] removes them.
///
/// # Errors
/// See [`Error`]; an API server that is down is waited for.
pub fn run(config: Config, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    // Boxed here, or the whole component would be compiled again by the crate that awaits it.
    Box::pin(serve(config, shutdown))
}

async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    sync::run(config, shutdown).await
}

/// Removes everything that the proxy put on the node: tables, routes and the CNI configuration.
///
/// # Errors
/// The first failure; what comes before it is removed.
pub async fn cleanup(config: &Config) -> Result<(), Error> {
    nft::remove(&config.host(), &config.nft_path).await?;
    let kernel = routes::Kernel::open()?;
    for (cidr, gateway) in kernel.ours().await? {
        kernel.apply(routes::Change::Remove(cidr, gateway)).await?;
    }
    if let Some(folder) = &config.cni_conf_dir {
        // Not there is as good as removed.
        std::fs::remove_file(folder.join(cni::FILE)).ok();
    }
    Ok(())
}
