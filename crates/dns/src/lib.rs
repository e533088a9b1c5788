//! Cluster DNS: names of Services and Pods, and a way on to other names.
//!
//! ```text
//! query ─▶ message::handle (pure) ─▶ zone::answer (pure, from the index) ─▶ response
//!                     └─ not the cluster's ─▶ forward ─▶ servers of resolv.conf
//! watches of Services, EndpointSlices, Namespaces ─▶ index
//! ```
//!
//! Invariants: answers are a function of the index and the question; the index is what the API server
//! said last, so answers go on while it is away; nothing is claimed before the first full view.
//! Follows <https://github.com/kubernetes/dns/blob/master/docs/specification.md>.

pub mod forward;
pub mod index;
pub mod message;
pub mod names;
mod probes;
pub mod server;
pub mod zone;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use client::{Api, Event, Informer};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use crate::forward::Upstreams;
use crate::index::Index;
use crate::server::Server;
use crate::zone::Zone;

/// What the server needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the API server is reached.
    pub connect: client::ConnectOptions,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// Where queries are taken, UDP and TCP.
    pub address: SocketAddr,
    /// Addresses under which this server is known, which are never forwarded to.
    pub own_addresses: Vec<IpAddr>,
    /// Where the servers for other names are named.
    pub resolv_conf: PathBuf,
    /// `/health`.
    pub health_address: SocketAddr,
    /// `/ready`.
    pub ready_address: SocketAddr,
    /// `/metrics`.
    pub metrics_address: SocketAddr,
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection to the API server can be configured.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// The cluster's domain is no domain name.
    #[error("cluster domain {domain:?}: {source}")]
    Domain {
        /// What was given.
        domain: String,
        /// Why it is none.
        source: hickory_proto::ProtoError,
    },
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The metrics server cannot start.
    #[error(transparent)]
    Metrics(#[from] component::ops::Error),
}

// === impl Config ===

impl Config {
    /// The usual ports and files.
    pub fn new(connect: client::ConnectOptions, cluster_domain: impl Into<String>) -> Self {
        let everywhere = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
        Config {
            connect,
            cluster_domain: cluster_domain.into(),
            address: everywhere(53),
            own_addresses: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            health_address: everywhere(8080),
            ready_address: everywhere(8181),
            metrics_address: everywhere(9153),
        }
    }
}

/// Runs the server until `shutdown`.
///
/// # Errors
/// See [`Error`]; an API server that is down is waited for.
pub fn run(config: Config, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    // Boxed here, or the whole component would be compiled again by the crate that awaits it.
    Box::pin(serve(config, shutdown))
}

async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let zone = Zone::new(&config.cluster_domain)
        .map_err(|source| Error::Domain { domain: config.cluster_domain.clone(), source })?;
    let mut connect = config.connect.clone();
    if connect.user_agent.is_empty() {
        connect.user_agent = "ironclad-dns".to_owned();
    }
    let kube = client::connect(&connect).await?;

    let ready = Arc::new(AtomicBool::new(false));
    let healthy = Arc::new(AtomicBool::new(true));
    for (address, path, good) in [
        (config.health_address, "/health", healthy),
        (config.ready_address, "/ready", Arc::clone(&ready)),
    ] {
        let probes = probes::serve(address, path, good, shutdown.clone()).await;
        tokio::spawn(probes.map_err(|source| Error::Listen { address, source })?);
    }
    let ops = component::ops::OpsServer::http(config.metrics_address, Default::default()).await?;
    tokio::spawn(ops.run(shutdown.clone()));

    let address = config.address;
    let listen = |source| Error::Listen { address, source };
    let udp = UdpSocket::bind(address).await.map_err(listen)?;
    let tcp = TcpListener::bind(address).await.map_err(listen)?;

    let index = Arc::new(RwLock::new(Index::default()));
    let (services, slices, namespaces) = watch(&kube, &index, &shutdown);
    let synced = async {
        services.synced().await;
        slices.synced().await;
        namespaces.synced().await;
    };
    // Until then a missing name might only be one not heard of: clients ask again elsewhere.
    tokio::select! {
        () = synced => {}
        () = shutdown.cancelled() => return Ok(()),
    }
    let servers = upstreams(&config);
    tracing::info!(domain = config.cluster_domain, %address, ?servers, "serving DNS");
    let server = Server::new(zone, index, Upstreams::new(servers));
    let datagrams = tokio::spawn(server.clone().serve_udp(udp, shutdown.clone()));
    let connections = tokio::spawn(server.serve_tcp(tcp, shutdown.clone()));
    ready.store(true, Ordering::Relaxed);
    shutdown.cancelled().await;
    ready.store(false, Ordering::Relaxed);
    for task in [datagrams, connections] {
        if let Err(error) = task.await {
            tracing::error!(%error, "server task");
        }
    }
    Ok(())
}

fn upstreams(config: &Config) -> Vec<SocketAddr> {
    match std::fs::read_to_string(&config.resolv_conf) {
        Ok(text) => forward::servers(&text, &config.own_addresses),
        Err(error) => {
            tracing::warn!(path = ?config.resolv_conf, %error, "no upstream name servers");
            Vec::new()
        }
    }
}

type Watches = (Informer<Service>, Informer<EndpointSlice>, Informer<Namespace>);

fn watch(
    kube: &client::Client,
    index: &Arc<RwLock<Index>>,
    shutdown: &CancellationToken,
) -> Watches {
    let services = Informer::builder(Api::<Service>::all(kube.clone()))
        .transform(|service: &mut Service| {
            service.metadata.annotations = None;
            service.status = None;
        })
        .start(shutdown);
    let slices = Informer::builder(Api::<EndpointSlice>::all(kube.clone()))
        .transform(|slice: &mut EndpointSlice| slice.metadata.annotations = None)
        .start(shutdown);
    let namespaces = Informer::builder(Api::<Namespace>::all(kube.clone()))
        .transform(|namespace: &mut Namespace| {
            namespace.spec = None;
            namespace.status = None;
        })
        .start(shutdown);
    let write = |index: &Arc<RwLock<Index>>| {
        let index = Arc::clone(index);
        move |change: &dyn Fn(&mut Index)| {
            change(&mut index.write().unwrap_or_else(PoisonError::into_inner));
        }
    };
    let apply = write(index);
    services.on_event(move |event| {
        apply(&|index| match event {
            Event::Deleted(service) => index.remove_service(
                service.metadata.namespace.as_deref().unwrap_or_default(),
                service.metadata.name.as_deref().unwrap_or_default(),
            ),
            _ => index.set_service(event.object()),
        });
    });
    let apply = write(index);
    slices.on_event(move |event| {
        apply(&|index| match event {
            Event::Deleted(slice) => index.remove_slice(slice),
            Event::Added(slice) => index.set_slice(slice),
            Event::Updated { old, new } => {
                // The Service that a slice belongs to is a label, which may change.
                index.remove_slice(old);
                index.set_slice(new);
            }
        });
    });
    let apply = write(index);
    namespaces.on_event(move |event| {
        let exists = !matches!(event, Event::Deleted(_));
        let name = event.object().metadata.name.clone().unwrap_or_default();
        apply(&|index| index.set_namespace(&name, exists));
    });
    (services, slices, namespaces)
}
