//! The scheduler: finds a node for every Pod that has none.
//!
//! ```text
//! watches ─▶ Cluster (nodes with their Pods) ─┐
//!         └▶ Queue ─ pop ─▶ filter ─▶ score ─▶ choose ─▶ assume ─▶ bind (task) ─┐
//!              ▲                 └─ nobody fits ─▶ preemption ─▶ unschedulable   │
//!              └───────────────── changes, back-off, results ◀───────────────────┘
//! ```
//!
//! Invariants: one loop owns all state, so a cycle sees one consistent cluster and needs no copy of
//! it; plugins are pure; a Pod counts as placed from the moment of the decision; nothing here needs
//! to survive a restart.

mod api;
pub mod cluster;
pub mod cycle;
pub mod events;
pub mod framework;
pub mod metrics;
pub mod objects;
pub mod plugins;
pub mod preemption;
pub mod queue;
mod scheduler;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use client::{Api, Event, EventRecorder, Informer, LeaderConfig, LeaderElector};
use component::health::{Checks, Scope};
use futures::future::BoxFuture;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ReplicationController, Service};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::api::Server;
use crate::cluster::OwnerKind;
use crate::objects::{Namespace, Node, Pod, Selecting};
use crate::scheduler::{Input, Scheduler};

/// What the scheduler needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the API server is reached.
    pub connect: client::ConnectOptions,
    /// The scheduler name of Pods that it is for.
    pub scheduler_name: String,
    /// Leader election; `None` to schedule at once, when there is only one.
    pub leader: Option<LeaderConfig>,
    /// Address of health and metrics (https).
    pub ops_address: SocketAddr,
}

/// Why the scheduler cannot run on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection to the API server can be configured.
    #[error(transparent)]
    Connect(#[from] client::ConnectError),
    /// The health server cannot start.
    #[error(transparent)]
    Ops(#[from] component::ops::Error),
    /// Another scheduler took over.
    #[error(transparent)]
    Leader(#[from] client::leader::LeaderError),
}

// === impl Config ===

impl Config {
    /// Upstream's defaults, with `identity` for the leader election.
    pub fn new(connect: client::ConnectOptions, identity: &str) -> Self {
        Config {
            connect,
            scheduler_name: "default-scheduler".to_owned(),
            leader: Some(LeaderConfig::new("kube-scheduler", identity)),
            ops_address: SocketAddr::from(([127, 0, 0, 1], 10259)),
        }
    }
}

/// Runs the scheduler until `shutdown`.
///
/// # Errors
/// See [`Error`]; an API server that is down is waited for.
pub fn run(config: Config, shutdown: CancellationToken) -> BoxFuture<'static, Result<(), Error>> {
    // Boxed here, or the whole component would be compiled again by the crate that awaits it.
    Box::pin(serve(config, shutdown))
}

async fn serve(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let mut connect = config.connect.clone();
    if connect.user_agent.is_empty() {
        connect.user_agent = "kube-scheduler".to_owned();
    }
    let client = client::connect(&connect).await?;
    let checks = Checks::default();
    let synced = Arc::new(AtomicBool::new(config.leader.is_some()));
    let ready = Arc::clone(&synced);
    checks.add("sched-handler-sync", Scope::Readiness, move || {
        let synced = ready.load(Ordering::Relaxed);
        if synced { Ok(()) } else { Err("handlers are not synced yet".to_owned()) }
    });
    let ops = component::ops::OpsServer::https(config.ops_address, checks).await?;
    tokio::spawn(ops.run(shutdown.clone()));

    let name = config.scheduler_name.clone();
    let lead = |client: client::Client| {
        move |token: CancellationToken| schedule(client, name, synced, token)
    };
    match config.leader {
        Some(leader) => {
            let elector = LeaderElector::new(leader);
            elector.run(client.clone(), shutdown, lead(client)).await?;
        }
        None => lead(client)(shutdown).await,
    }
    Ok(())
}

async fn schedule(
    client: client::Client,
    name: String,
    ready: Arc<AtomicBool>,
    shutdown: CancellationToken,
) {
    let (sender, inputs) = mpsc::unbounded_channel();
    let nodes = Informer::builder(Api::<Node>::all(client.clone())).start(&shutdown);
    let pods = Informer::builder(Api::<Pod>::all(client.clone()))
        .fields("status.phase!=Succeeded,status.phase!=Failed")
        .start(&shutdown);
    let namespaces = Informer::builder(Api::<Namespace>::all(client.clone())).start(&shutdown);
    let services = owners::<Service>(&client, OwnerKind::Service, &sender, &shutdown);
    let sets = owners::<ReplicaSet>(&client, OwnerKind::ReplicaSet, &sender, &shutdown);
    let stateful = owners::<StatefulSet>(&client, OwnerKind::StatefulSet, &sender, &shutdown);
    let controllers = owners::<ReplicationController>(
        &client,
        OwnerKind::ReplicationController,
        &sender,
        &shutdown,
    );

    // Decisions on half a view would be wrong: Pods are heard of only when all else is known.
    let all = async {
        nodes.synced().await;
        pods.synced().await;
        namespaces.synced().await;
        services.synced().await;
        sets.synced().await;
        stateful.synced().await;
        controllers.synced().await;
    };
    tokio::select! {
        () = all => {}
        () = shutdown.cancelled() => return,
    }
    forward(&namespaces, &sender, Input::Namespace);
    forward(&nodes, &sender, Input::Node);
    forward(&pods, &sender, Input::Pod);
    ready.store(true, Ordering::Relaxed);
    tracing::info!(nodes = nodes.len(), pods = pods.len(), "scheduling");

    let recorder = EventRecorder::new(client.clone(), &name, None);
    let plugins = plugins::default_profile();
    Scheduler::new(plugins, name, Server::new(client), recorder, inputs, sender)
        .run(shutdown)
        .await;
}

/// Sends every event of `informer` to the loop. After shutdown nobody listens, which is fine.
fn forward<K>(
    informer: &Informer<K>,
    sender: &mpsc::UnboundedSender<Input>,
    input: impl Fn(Event<K>) -> Input + Send + Sync + 'static,
) where
    K: client::Resource
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let sender = sender.clone();
    informer.on_event(move |event| {
        sender.send(input(event.clone())).ok();
    });
}

fn owners<K>(
    client: &client::Client,
    kind: OwnerKind,
    sender: &mpsc::UnboundedSender<Input>,
    shutdown: &CancellationToken,
) -> Informer<Selecting<K>>
where
    K: k8s_openapi::Resource + Send + Sync + 'static,
{
    let informer = Informer::builder(Api::<Selecting<K>>::all(client.clone())).start(shutdown);
    forward(&informer, sender, move |event| {
        let gone = matches!(event, Event::Deleted(_));
        let object = event.object();
        Input::Owner {
            kind,
            namespace: object.metadata.namespace.clone().unwrap_or_default(),
            name: object.metadata.name.clone().unwrap_or_default(),
            selector: (!gone).then(|| object.selector.clone()),
        }
    });
    informer
}
