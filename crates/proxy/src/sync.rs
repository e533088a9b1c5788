//! The loop: watch, wait for a quiet moment, build, write.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use client::{Api, Informer};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::conntrack::{self, UdpFlows};
use crate::health::Health;
use crate::host::Host;
use crate::metrics::Metrics;
use crate::model::Family;
use crate::nft::{Outcome, Writer};
use crate::rules::{self, EndpointIndex, NodeFacts};
use crate::{Config, Error, cni, routes, sysctl};

const HEADLESS: &str = "service.kubernetes.io/headless";

struct Proxy {
    config: Config,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
    host: Host,
    writer: Writer,
    kernel: Option<routes::Kernel>,
    udp: BTreeMap<Family, UdpFlows>,
    metrics: Metrics,
    health: Health,
}

pub(crate) async fn run(config: Config, shutdown: CancellationToken) -> Result<(), Error> {
    let mut connect = config.connect.clone();
    if connect.user_agent.is_empty() {
        connect.user_agent = "kube-proxy".to_owned();
    }
    let kube = client::connect(&connect).await?;
    let host = config.host();
    // Said at once rather than at the first write: nothing works without it.
    host.find(&config.nft_path)?;
    sysctl::apply(Path::new("/proc/sys"));

    let services = Informer::builder(Api::<Service>::all(kube.clone()))
        .transform(|service: &mut Service| service.metadata.managed_fields = None)
        .start(&shutdown);
    let slices = Informer::builder(Api::<EndpointSlice>::all(kube.clone()))
        .labels(&format!("!{HEADLESS}"))
        .transform(|slice: &mut EndpointSlice| slice.metadata.managed_fields = None)
        .start(&shutdown);
    let nodes = Informer::builder(Api::<Node>::all(kube))
        .transform(|node: &mut Node| {
            node.metadata.managed_fields = None;
            if let Some(status) = &mut node.status {
                // Heartbeats change these every few seconds; nothing here depends on them.
                status.conditions = None;
                status.images = None;
            }
        })
        .start(&shutdown);

    let health = Health::default();
    let serving = tokio::spawn(health.clone().serve(config.healthz_address, shutdown.clone()));
    let ops = component::ops::OpsServer::http(config.metrics_address, Default::default()).await?;
    tokio::spawn(ops.run(shutdown.clone()));

    let wake = Arc::new(Notify::new());
    let notice = changes(&wake, &health);
    services.on_event(move |_| notice());
    let notice = changes(&wake, &health);
    slices.on_event(move |_| notice());
    let notice = changes(&wake, &health);
    nodes.on_event(move |event| {
        if node_matters(event) {
            notice();
        }
    });

    let proxy = Proxy {
        writer: Writer::new(host.clone(), config.nft_path.clone()),
        kernel: if config.manage_routes { Some(routes::Kernel::open()?) } else { None },
        udp: BTreeMap::new(),
        metrics: Metrics::new(),
        services,
        slices,
        nodes,
        host,
        health,
        config,
    };
    tokio::select! {
        () = proxy.run(&wake, &shutdown) => Ok(()),
        // Only a failure to bind ends the server before the shutdown.
        served = serving => match served {
            Ok(Err(error)) => Err(Error::Health(error)),
            _ => Ok(()),
        },
    }
}

fn changes(wake: &Arc<Notify>, health: &Health) -> impl Fn() + Send + Sync + 'static {
    let (wake, health) = (Arc::clone(wake), health.clone());
    move || {
        health.queued(Instant::now());
        wake.notify_one();
    }
}

/// Nodes report their status all the time; only addresses, Pod ranges, labels and deletion count.
fn node_matters(event: &client::Event<Node>) -> bool {
    let client::Event::Updated { old, new } = event else {
        return true;
    };
    let addresses = |n: &Node| n.status.as_ref().and_then(|s| s.addresses.clone());
    old.spec != new.spec
        || old.metadata.labels != new.metadata.labels
        || old.metadata.deletion_timestamp != new.metadata.deletion_timestamp
        || addresses(old) != addresses(new)
}

// === impl Proxy ===

impl Proxy {
    async fn run(mut self, wake: &Notify, shutdown: &CancellationToken) {
        tokio::select! {
            () = self.synced() => {}
            () = shutdown.cancelled() => return,
        }
        tracing::info!(node = self.config.node_name, "watching Services and EndpointSlices");
        let mut check = tokio::time::interval(self.config.sync_period);
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        check.reset();
        let mut failures = 0_u32;
        loop {
            let started = Instant::now();
            let done = self.sync().await;
            self.metrics.sync_duration.observe(started.elapsed().as_secs_f64());
            match done {
                Ok(()) => {
                    failures = 0;
                    self.health.updated(Timestamp::now());
                    self.metrics.last_sync.set(Timestamp::now().as_second());
                }
                Err(error) => {
                    failures = (failures + 1).min(6);
                    self.metrics.sync_failures.inc();
                    tracing::error!(%error, "rules are not written, trying again");
                    let pause =
                        self.config.min_sync_period.max(std::time::Duration::from_millis(250));
                    tokio::select! {
                        () = tokio::time::sleep(pause * 2_u32.pow(failures)) => continue,
                        () = shutdown.cancelled() => return,
                    }
                }
            }
            tokio::select! {
                () = wake.notified() => {}
                _ = check.tick() => match self.writer.verify().await {
                    Ok(_) => {}
                    Err(error) => tracing::error!(%error, "rules cannot be checked"),
                },
                () = shutdown.cancelled() => return,
            }
            // Changes come in bursts (a rollout, a scale): one write for those of a moment.
            tokio::select! {
                () = tokio::time::sleep(self.config.min_sync_period) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn synced(&self) {
        self.services.synced().await;
        self.slices.synced().await;
        self.nodes.synced().await;
    }

    async fn sync(&mut self) -> Result<(), Error> {
        let nodes = self.nodes.list();
        let own = nodes
            .iter()
            .find(|n| n.metadata.name.as_deref() == Some(self.config.node_name.as_str()));
        let facts = NodeFacts {
            name: self.config.node_name.clone(),
            zone: own
                .and_then(|n| n.metadata.labels.as_ref())
                .and_then(|l| l.get("topology.kubernetes.io/zone").cloned()),
            cluster_cidrs: self.config.cluster_cidrs.clone(),
        };
        self.health.set_eligible(own.is_none_or(|n| n.metadata.deletion_timestamp.is_none()));
        if let (Some(own), Some(folder)) = (own, &self.config.cni_conf_dir) {
            let ranges = routes::pod_cidrs(own);
            if !ranges.is_empty() {
                match cni::write(folder, &ranges) {
                    Ok(true) => tracing::info!(?folder, "CNI configuration written"),
                    Ok(false) => {}
                    Err(error) => tracing::error!(%error, ?folder, "CNI configuration"),
                }
            }
        }
        self.sync_routes(nodes.iter().map(Arc::as_ref)).await;

        let services = self.services.list();
        let slices = self.slices.list();
        for family in [Family::V4, Family::V6] {
            let table = rules::build(family, &services, &slices, &facts);
            let wanted = family == Family::V4
                || self.writer.has_written(family)
                || !table.collections["cluster-ips"].elements.is_empty()
                || facts.cluster_cidrs.iter().any(|c| c.family() == family);
            if !wanted {
                continue;
            }
            let ports: Vec<_> =
                services.iter().flat_map(|s| rules::service_ports(s, family)).collect();
            let index = EndpointIndex::new(&slices);
            let flows = conntrack::udp_flows(&ports, &index, &table, &facts);
            let outcome = self.writer.write(table).await?;
            if outcome != Outcome::Unchanged {
                tracing::debug!(?outcome, family = family.keyword(), "rules written");
            }
            let before = self.udp.insert(family, flows.clone()).unwrap_or_default();
            let stale = conntrack::stale(&before, &flows);
            if !stale.is_empty() {
                conntrack::forget(&self.host, &stale).await;
            }
        }
        Ok(())
    }

    /// A route that cannot be set yet (the gateway is not there) must not hold up the rules.
    async fn sync_routes<'a>(&self, nodes: impl Iterator<Item = &'a Node>) {
        let Some(kernel) = &self.kernel else { return };
        let want = routes::plan(&self.config.node_name, nodes);
        let have = match kernel.ours().await {
            Ok(have) => have,
            Err(error) => {
                tracing::error!(%error, "routes cannot be read");
                return;
            }
        };
        for change in routes::diff(&want, &have) {
            match kernel.apply(change).await {
                Ok(()) => tracing::info!(?change, "route"),
                Err(error) => tracing::warn!(?change, %error, "route"),
            }
        }
    }
}
