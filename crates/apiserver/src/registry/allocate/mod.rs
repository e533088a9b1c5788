//! Cluster IPs and node ports: given out with the write of a Service, taken back with its end.
//!
//! A cluster IP in use is an IPAddress object, whose name is the address: the store cannot have
//! two. Node ports in use are one record that is changed by compare-and-swap. Both are written in
//! the transaction that writes the Service ([`commit`]), so several API servers on one store
//! agree. What requests under way have chosen is kept in memory, so that those of one server do not
//! get in each other's way. [`repair`] puts right what others have changed.

mod commit;
mod network;
mod pool;
mod ports;
pub(crate) mod repair;
mod service;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use machinery::status::Status;
use machinery::{Value, meta, time};
use resources::service::{Family, allocation_needs};
use serde_json::json;

pub use self::network::{Network, ParseRangeError, Ranges};
use self::pool::Pools;
use self::ports::PortRecord;
use self::service::Problem;
use super::create::new_uid;
use super::managed::Tracking;
use super::{Context, Failure, Registry, Resource, Target, WriteOptions};

pub(super) const SERVICES: &str = "services/specs";
/// The label that tells an address's family.
const FAMILY: &str = "ipaddress.kubernetes.io/ip-family";
/// The label that tells who made an IPAddress.
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// The ServiceCIDR that follows from the flags.
pub(crate) const DEFAULT_SERVICE_CIDR: &str = "kubernetes";

/// Something that only one Service can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Unit {
    Ip(IpAddr),
    Port(u16),
}

/// See the module.
pub(super) struct Allocators {
    ranges: Ranges,
    /// The networks of all ServiceCIDRs, as of a revision of theirs.
    networks: Mutex<(u64, Arc<[Network]>)>,
    pending: Arc<Mutex<HashSet<Unit>>>,
    /// The record of ports with its revision, as last seen.
    record: tokio::sync::Mutex<Option<(u64, PortRecord)>>,
}

/// What a write gives and takes back.
#[derive(Default)]
pub(super) struct Allocation {
    reserved: Reservation,
    /// The spec of the Service before it was filled in.
    asked: Option<Value>,
    /// Keys and values of new IPAddress objects.
    addresses: Vec<(Bytes, Bytes)>,
    /// Keys of IPAddress objects that go.
    addresses_back: Vec<Bytes>,
    ports: Vec<u16>,
    ports_back: Vec<u16>,
}

impl Allocation {
    /// Takes out of a Service what it was given.
    pub(super) fn undo(&mut self, service: &mut Value) {
        if let Some(asked) = self.asked.take() {
            service["spec"] = asked;
        }
    }
}

/// What no other request of this server can be given. It ends with the write, made or not.
#[derive(Default)]
struct Reservation {
    pending: Arc<Mutex<HashSet<Unit>>>,
    taken: Vec<Unit>,
}

impl Allocators {
    pub(super) fn new(ranges: Ranges) -> Self {
        Self {
            ranges,
            networks: Mutex::new((0, Arc::new([]))),
            pending: Arc::default(),
            record: tokio::sync::Mutex::default(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut pending = lock(&self.pending);
        for unit in &self.taken {
            pending.remove(unit);
        }
    }
}

impl Registry {
    /// Gives a new or changed Service what it needs, and notes what it needs no more. Nothing is
    /// written before the allocation is committed.
    pub(super) async fn allocate(
        &self,
        context: &Context,
        resource: &Resource,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<Allocation, Failure> {
        if resource.storage.prefix != SERVICES {
            return Ok(Allocation::default());
        }
        let asked = new.get("spec").cloned().unwrap_or_default();
        let mut tried = self.fill_in(new, old, false).await;
        if matches!(tried, Ok(Err(_))) {
            new["spec"] = asked.clone();
            if !needs_no_port(new, old) {
                // Another server may have given ports back.
                tried = self.fill_in(new, old, true).await;
            }
        }
        let reserved = match tried? {
            Ok(reserved) => reserved,
            Err(Problem::Exhausted(text)) => return Err(Status::internal(text).into()),
            Err(Problem::Invalid(errors)) => {
                let name = meta::name(new);
                return Err(Status::invalid(&resource.group_kind(), name, &errors).into());
            }
        };
        let mut allocation = Allocation { asked: Some(asked), ..Allocation::default() };
        for unit in &reserved.taken {
            match unit {
                Unit::Port(port) => allocation.ports.push(*port),
                Unit::Ip(ip) => {
                    allocation.addresses.extend(self.new_address(context, *ip, new).await?);
                }
            }
        }
        allocation.reserved = reserved;
        if let Some(old) = old {
            let kept: HashSet<Unit> = service::units(new).collect();
            self.give_back(old, &kept, &mut allocation);
        }
        Ok(allocation)
    }

    /// What goes with a deleted object.
    pub(super) fn release(&self, resource: &Resource, object: &Value) -> Allocation {
        let mut allocation = Allocation::default();
        if resource.storage.prefix == SERVICES {
            self.give_back(object, &HashSet::new(), &mut allocation);
        }
        allocation
    }

    async fn fill_in(
        &self,
        new: &mut Value,
        old: Option<&Value>,
        refresh: bool,
    ) -> Result<Result<Reservation, Problem>, Failure> {
        let allocators = &self.0.allocators;
        let ports_used = if needs_no_port(new, old) {
            Default::default()
        } else {
            let mut record = allocators.record.lock().await;
            if refresh || record.is_none() {
                *record = Some(self.stored_ports().await?);
            }
            record.as_ref().map(|(_, record)| record.used.clone()).unwrap_or_default()
        };
        let addresses = self.preferred("networking.k8s.io", "ipaddresses");
        let ip_used = |ip: IpAddr| {
            addresses.as_ref().is_some_and(|r| r.cache().get(&ip.to_string()).is_some())
        };
        let networks = self.networks();
        let mut pending = lock(&allocators.pending);
        let mut pools = Pools {
            families: &allocators.ranges.families(),
            networks: &networks,
            ip_used: &ip_used,
            ports: allocators.ranges.ports(),
            ports_used: &ports_used,
            pending: &mut pending,
            taken: Vec::new(),
        };
        let result = service::fill_in(new, old, &mut pools);
        let taken = std::mem::take(&mut pools.taken);
        drop(pending);
        let reserved = Reservation { pending: allocators.pending.clone(), taken };
        Ok(result.map(|()| reserved))
    }

    /// The networks that addresses may be taken from: those of the ServiceCIDRs that are ready
    /// and stay. While the default one is missing, which is made again soon, it counts all the
    /// same.
    pub(super) fn networks(&self) -> Arc<[Network]> {
        let allocators = &self.0.allocators;
        let Some(resource) = self.preferred("networking.k8s.io", "servicecidrs") else {
            return allocators.ranges.networks().into();
        };
        let revision = *resource.cache().changes().borrow();
        let mut known = lock(&allocators.networks);
        if known.0 != revision || known.1.is_empty() {
            let ranges: Vec<Value> =
                resource.cache().snapshot().0.iter().map(|object| object.value()).collect();
            known.1 = usable(&ranges, &allocators.ranges);
            known.0 = revision;
        }
        known.1.clone()
    }

    async fn new_address(
        &self,
        context: &Context,
        ip: IpAddr,
        service: &Value,
    ) -> Result<Option<(Bytes, Bytes)>, Failure> {
        let Some(resource) = self.preferred("networking.k8s.io", "ipaddresses") else {
            return Ok(None);
        };
        let now = self.now();
        let mut object = address(ip, service);
        meta::set_uid(&mut object, new_uid());
        meta::set_creation_timestamp(&mut object, time::format(now));
        resource.default(&mut object);
        let target = Target::object(&resource, "", meta::name(&object));
        Tracking::of(self, &target, &WriteOptions::default()).create(&mut object);
        resource.prepare_create(&context.strategy(now), &mut object);
        let key = format!("{}{ip}", resource.cache().prefix());
        Ok(Some((key.into(), resource.encode(&mut object).await?)))
    }

    /// Notes what a Service had besides `kept`.
    fn give_back(&self, service: &Value, kept: &HashSet<Unit>, allocation: &mut Allocation) {
        for unit in service::units(service).filter(|unit| !kept.contains(unit)) {
            match unit {
                Unit::Port(port) => allocation.ports_back.push(port),
                Unit::Ip(ip) => {
                    let addresses = self.preferred("networking.k8s.io", "ipaddresses");
                    let name = ip.to_string();
                    let object = addresses.and_then(|r| {
                        let object = r.cache().get(&name)?.value();
                        Some((r, object))
                    });
                    // Finalizers are for others to clear: the repair deletes those later.
                    if let Some((resource, object)) = object
                        && refers_to(&object, service)
                        && meta::finalizers(&object).next().is_none()
                    {
                        let key = format!("{}{name}", resource.cache().prefix());
                        allocation.addresses_back.push(key.into());
                    }
                }
            }
        }
    }
}

fn needs_no_port(new: &Value, old: Option<&Value>) -> bool {
    let needs = allocation_needs(new, old);
    needs.node_ports.is_empty() && needs.health_check_port.is_none()
}

/// The networks of those ServiceCIDRs that addresses may be taken from.
fn usable(service_cidrs: &[Value], ranges: &Ranges) -> Arc<[Network]> {
    let mut networks = Vec::new();
    if service_cidrs.iter().all(|object| meta::name(object) != DEFAULT_SERVICE_CIDR) {
        networks.extend(ranges.networks());
    }
    let ready = |object: &&Value| {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let ready = conditions.into_iter().flatten().find(|c| c["type"] == "Ready");
        meta::deletion_timestamp(object).is_none() && ready.is_none_or(|c| c["status"] == "True")
    };
    for object in service_cidrs.iter().filter(ready) {
        networks.extend(networks_of(object));
    }
    networks.into()
}

fn networks_of(service_cidr: &Value) -> impl Iterator<Item = Network> {
    let cidrs = service_cidr.pointer("/spec/cidrs").and_then(Value::as_array);
    cidrs.into_iter().flatten().filter_map(|cidr| Network::parse(cidr.as_str()?))
}

/// The IPAddress of a Service.
fn address(ip: IpAddr, service: &Value) -> Value {
    json!({
        "kind": "IPAddress",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {
            "name": ip.to_string(),
            "labels": {FAMILY: family_name(ip), MANAGED_BY: MANAGER},
        },
        "spec": {"parentRef": {
            "resource": "services",
            "namespace": meta::namespace(service),
            "name": meta::name(service),
        }},
    })
}

fn family_name(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { Family::V4.name() } else { Family::V6.name() }
}

/// Whether an IPAddress belongs to a Service.
fn refers_to(address: &Value, service: &Value) -> bool {
    parent_service(address) == Some((meta::namespace(service), meta::name(service)))
}

/// Namespace and name of the Service that an IPAddress says it belongs to.
fn parent_service(address: &Value) -> Option<(&str, &str)> {
    let parent = address.pointer("/spec/parentRef")?;
    let text = |field: &str| parent.get(field).and_then(Value::as_str).unwrap_or_default();
    (text("group").is_empty() && text("resource") == "services")
        .then(|| (text("namespace"), text("name")))
}

#[cfg(test)]
mod tests;
