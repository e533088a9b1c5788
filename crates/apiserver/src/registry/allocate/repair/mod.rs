//! Keeps the records of addresses and ports true to the Services: once at start, which also takes
//! over Services from before there were such records, then whenever a Service or an IPAddress
//! changes, and all of it every few minutes.

mod plan;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use machinery::{Value, meta, time};
use serde_json::json;
use store::Txn;
use tokio_util::sync::CancellationToken;

use self::plan::{Finding, Leaks, Step, View};
use super::ports::{KEY, PortRecord};
use super::{Network, address, networks_of};
use crate::cache::{EventType, Object, Watcher};
use crate::registry::write::store_failure;
use crate::registry::{
    Context, DeleteOptions, Failure, ListOptions, Registry, Resource, Target, WriteOptions,
};

const INTERVAL: Duration = Duration::from_secs(180);
/// So many reports are not made again; then memory begins anew.
const REMEMBERED: usize = 1024;
/// Between the end of a watch and the next.
const PAUSE: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct Repair {
    registry: Registry,
    services: Arc<Resource>,
    addresses: Arc<Resource>,
    leaks: Leaks,
    /// What has been said already.
    reported: HashSet<String>,
}

impl Repair {
    /// `None` where Services or IPAddresses are not served.
    pub(crate) fn new(registry: &Registry) -> Option<Self> {
        Some(Self {
            services: registry.preferred("", "services")?,
            addresses: registry.preferred("networking.k8s.io", "ipaddresses")?,
            registry: registry.clone(),
            leaks: Leaks::new(),
            reported: HashSet::new(),
        })
    }

    /// Puts right what is wrong, until shutdown.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let work = async {
            loop {
                self.follow().await;
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = shutdown.cancelled() => {}
        }
    }

    /// Looks at everything once.
    ///
    /// # Errors
    /// When the record of ports cannot be written.
    pub(crate) async fn once(&mut self) -> Result<(), Failure> {
        let values = |resource: &Resource| -> Vec<Value> {
            resource.cache().snapshot().0.iter().map(|object| object.value()).collect()
        };
        let services = values(&self.services);
        for service in &services {
            self.look_at_service(service).await;
        }
        for address in values(&self.addresses) {
            self.look_at_address(&address).await;
        }
        self.ports(&services).await
    }

    /// The changes of a resource from now on.
    async fn changes(&self, resource: &Arc<Resource>) -> Result<Watcher, Failure> {
        let resource_version = resource.cache().snapshot().1.to_string();
        let options = ListOptions { resource_version, ..ListOptions::default() };
        self.registry.watch(&Target::object(resource, "", ""), &options).await
    }

    /// Looks at what changes, and now and then at everything.
    async fn follow(&mut self) {
        let Ok(mut services) = self.changes(&self.services).await else { return };
        let Ok(mut addresses) = self.changes(&self.addresses).await else { return };
        let mut interval = tokio::time::interval(INTERVAL);
        loop {
            tokio::select! {
                _ = interval.tick() => {
                    if let Err(status) = self.once().await {
                        tracing::warn!(%status, "cannot repair the record of node ports");
                    }
                }
                service = next(&mut services) => match service {
                    None => return,
                    Some(None) => {}
                    Some(Some(service)) => {
                        let service = service.value();
                        self.look_at_service(&service).await;
                    }
                },
                address = next(&mut addresses) => match address {
                    None => return,
                    Some(None) => {}
                    Some(Some(address)) => {
                        let address = address.value();
                        self.look_at_address(&address).await;
                        // An address that was taken away from its Service comes back.
                        let owner = super::parent_service(&address).and_then(|(ns, name)| {
                            self.registry.cached("", "services", ns, name)
                        });
                        if let Some(owner) = owner {
                            self.look_at_service(&owner.value()).await;
                        }
                    }
                },
            }
        }
    }

    fn findings<T>(&self, plan: impl FnOnce(&View<'_>) -> T) -> T {
        let networks: Vec<Network> = self
            .registry
            .cached_list("networking.k8s.io", "servicecidrs", "")
            .iter()
            .flat_map(|object| networks_of(&object.value()).collect::<Vec<_>>())
            .chain(self.registry.networks().iter().copied())
            .collect();
        let value = |object: Arc<Object>| object.value();
        plan(&View {
            networks: &networks,
            address: &|name| {
                self.registry.cached("networking.k8s.io", "ipaddresses", "", name).map(value)
            },
            service: &|namespace, name| {
                self.registry.cached("", "services", namespace, name).map(value)
            },
        })
    }

    async fn look_at_service(&mut self, service: &Value) {
        // The watch may lag behind: what counts is the Service as it is.
        let (namespace, name) = (meta::namespace(service), meta::name(service));
        let Some(current) = self.registry.cached("", "services", namespace, name) else { return };
        // Its addresses are written with it, but are in a cache of their own.
        self.registry.shown(current.resource_version()).await;
        let current = current.value();
        for finding in self.findings(|view| plan::service(&current, view)) {
            self.act(&current, finding).await;
        }
    }

    async fn look_at_address(&mut self, address: &Value) {
        let name = meta::name(address);
        let current = self.registry.cached("networking.k8s.io", "ipaddresses", "", name);
        let Some(current) = current.map(|object| object.value()) else { return };
        let now = self.registry.now();
        if let Some(finding) = self.findings(|view| plan::address(&current, view, now)) {
            self.act(&current, finding).await;
        }
    }

    async fn act(&mut self, about: &Value, finding: Finding) {
        let done = match &finding.step {
            None => Ok(()),
            Some(Step::Create(ip)) => self.create(address(*ip, about)).await,
            Some(Step::Recreate(ip)) => match self.delete(&ip.to_string()).await {
                Ok(()) => self.create(address(*ip, about)).await,
                failed => failed,
            },
            Some(Step::Delete) => self.delete(meta::name(about)).await,
        };
        if let Err(status) = done {
            tracing::warn!(%status, "cannot repair the record of cluster IPs");
        }
        if let Some((reason, note)) = finding.event {
            tracing::warn!(reason, "{note}");
            let (controller, action) = if meta::namespace(about).is_empty() {
                ("ipallocator-repair-controller", "IPAddressAllocation")
            } else {
                ("ipallocator-repair-controller", "ClusterIPAllocation")
            };
            self.report(about, (controller, action), reason, note).await;
        }
    }

    async fn create(&self, object: Value) -> Result<(), Failure> {
        let target = Target::object(&self.addresses, "", "");
        let options = WriteOptions::default();
        self.registry.create(&Context::internal(), &target, object, &options).await.map(|_| ())
    }

    async fn delete(&self, name: &str) -> Result<(), Failure> {
        let target = Target::object(&self.addresses, "", name);
        let options = DeleteOptions::default();
        match self.registry.delete(&Context::internal(), &target, &options).await {
            Err(status) if status.code != 404 => Err(status),
            _ => Ok(()),
        }
    }

    async fn ports(&mut self, services: &[Value]) -> Result<(), Failure> {
        let allocators = &self.registry.0.allocators;
        // Nobody of this server changes the record meanwhile.
        let mut record = allocators.record.lock().await;
        let (revision, stored) = self.registry.stored_ports().await?;
        let known = (revision != 0).then_some(&stored.used);
        let range = allocators.ranges.ports();
        let (used, events) = plan::ports(known, services, range, &mut self.leaks);
        let next = PortRecord { used };
        if revision == 0 || next != stored {
            let value = next.encode(range);
            let txn = if revision == 0 {
                Txn::create(KEY, value, None)
            } else {
                Txn::update(KEY, value, None, revision)
            };
            let result = self.registry.0.store.txn(txn).await;
            let result = result.map_err(|error| store_failure(&error))?;
            // Another server was quicker; the next look is at its record.
            *record = result.succeeded.then_some((result.revision, next));
        } else {
            *record = Some((revision, stored));
        }
        drop(record);
        for (i, reason, note) in events {
            tracing::warn!(reason, "{note}");
            let by = ("portallocator-repair-controller", "PortAllocation");
            self.report(&services[i], by, reason, note).await;
        }
        Ok(())
    }

    async fn report(
        &mut self,
        about: &Value,
        (controller, action): (&str, &str),
        reason: &str,
        note: String,
    ) {
        if self.reported.len() >= REMEMBERED {
            self.reported.clear();
        }
        if !self.reported.insert(format!("{} {note}", meta::uid(about))) {
            return;
        }
        let Some(events) = self.registry.preferred("events.k8s.io", "events") else {
            return;
        };
        let namespace = match meta::namespace(about) {
            "" => "default",
            namespace => namespace,
        };
        let name = format!("{}.{:x}", meta::name(about), uuid::Uuid::new_v4().as_u64_pair().0);
        let event = json!({
            "kind": "Event",
            "apiVersion": "events.k8s.io/v1",
            "metadata": {"name": name, "namespace": namespace},
            "eventTime": time::format_micro(self.registry.now()),
            "reportingController": controller,
            "reportingInstance": controller,
            "type": "Warning",
            "reason": reason,
            "action": action,
            "note": note,
            "regarding": {
                "kind": meta::kind(about),
                "apiVersion": meta::api_version(about),
                "namespace": meta::namespace(about),
                "name": meta::name(about),
                "uid": meta::uid(about),
                "resourceVersion": meta::resource_version(about),
            },
        });
        let target = Target::object(&events, namespace, "");
        let options = WriteOptions::default();
        let made = self.registry.create(&Context::internal(), &target, event, &options).await;
        if let Err(status) = made {
            tracing::warn!(%status, "cannot write an event");
        }
    }
}

/// The next object that changed; nothing inside for other items, nothing at all at the end.
async fn next(watcher: &mut Watcher) -> Option<Option<Arc<Object>>> {
    let item = watcher.next().await?;
    match item.kind() {
        EventType::Error => None,
        EventType::Bookmark => Some(None),
        _ => Some(item.object()),
    }
}
