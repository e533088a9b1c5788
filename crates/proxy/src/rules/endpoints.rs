//! Which endpoints a Service port may use on this node.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use super::ports::ServicePort;
use super::{NodeFacts, in_family};
use crate::model::Family;

/// One address and port behind a Service port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The Pod's address.
    pub address: IpAddr,
    /// The target port.
    pub port: u16,
    /// The node that it is on.
    pub node: Option<String>,
    /// Takes new connections.
    pub ready: bool,
    /// Answers, though it may be shutting down.
    pub serving: bool,
    /// Shutting down.
    pub terminating: bool,
    /// Zones that the hints reserve it for.
    pub zones: Vec<String>,
    /// Nodes that the hints reserve it for.
    pub nodes: Vec<String>,
}

/// Endpoints of all Services by namespace/service, port name and protocol.
#[derive(Debug, Default)]
pub struct EndpointIndex {
    ports: HashMap<(String, String, String, String), Vec<Arc<Endpoint>>>,
}

/// The endpoints chosen for one Service port.
#[derive(Debug, Default)]
pub struct Usable {
    /// For traffic that may go anywhere.
    pub cluster: Vec<Arc<Endpoint>>,
    /// For traffic that must stay on the node.
    pub local: Vec<Arc<Endpoint>>,
    /// Something usable exists somewhere.
    pub any: bool,
}

// === impl Endpoint ===

impl Endpoint {
    /// Whether the endpoint is on the node called `node`.
    pub fn is_local(&self, node: &str) -> bool {
        self.node.as_deref() == Some(node)
    }

    /// Address and port as nft writes a destination.
    pub fn socket(&self) -> String {
        match self.address {
            IpAddr::V4(v4) => format!("{v4}:{}", self.port),
            IpAddr::V6(v6) => format!("[{v6}]:{}", self.port),
        }
    }

    /// Address and port in characters that nft takes in a name.
    pub fn name_part(&self) -> String {
        format!("{}/{}", self.address.to_string().replace(':', "."), self.port)
    }
}

// === impl EndpointIndex ===

impl EndpointIndex {
    /// Indexes the slices. An address that appears in two slices of a Service (which happens while
    /// the controller moves it) counts once; the ready appearance wins.
    pub fn new(slices: &[Arc<EndpointSlice>]) -> Self {
        let mut ports: HashMap<_, Vec<Endpoint>> = HashMap::new();
        for slice in slices {
            let labels = slice.metadata.labels.as_ref();
            let Some(service) = labels.and_then(|l| l.get("kubernetes.io/service-name")) else {
                continue;
            };
            let namespace = slice.metadata.namespace.clone().unwrap_or_default();
            for port in slice.ports.iter().flatten() {
                let Some(number) = port.port.and_then(|p| u16::try_from(p).ok()) else {
                    continue;
                };
                let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
                let key = (
                    namespace.clone(),
                    service.clone(),
                    port.name.clone().unwrap_or_default(),
                    protocol,
                );
                let list = ports.entry(key).or_default();
                for endpoint in slice.endpoints.iter().flatten() {
                    // Consumers use the first address only; more than one is deprecated.
                    let Some(address) = endpoint.addresses.first().and_then(|a| a.parse().ok())
                    else {
                        continue;
                    };
                    let conditions = endpoint.conditions.as_ref();
                    let ready = conditions.and_then(|c| c.ready).unwrap_or(true);
                    let hints = endpoint.hints.as_ref();
                    list.push(Endpoint {
                        address,
                        port: number,
                        node: endpoint.node_name.clone(),
                        ready,
                        serving: conditions.and_then(|c| c.serving).unwrap_or(ready),
                        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
                        zones: hints
                            .and_then(|h| h.for_zones.as_ref())
                            .map(|zones| zones.iter().map(|z| z.name.clone()).collect())
                            .unwrap_or_default(),
                        nodes: hints
                            .and_then(|h| h.for_nodes.as_ref())
                            .map(|nodes| nodes.iter().map(|n| n.name.clone()).collect())
                            .unwrap_or_default(),
                    });
                }
            }
        }
        let ports = ports
            .into_iter()
            .map(|(key, mut list)| {
                // Sorting makes the same endpoints give the same rules, whatever the slices' order.
                list.sort_by(|a, b| {
                    (a.address, a.port, !a.ready).cmp(&(b.address, b.port, !b.ready))
                });
                list.dedup_by(|a, b| a.address == b.address && a.port == b.port);
                (key, list.into_iter().map(Arc::new).collect())
            })
            .collect();
        EndpointIndex { ports }
    }

    /// Chooses the endpoints of `port` for this node: ready ones, else those that still serve while
    /// terminating; topology hints are honoured when every ready endpoint has them.
    pub fn usable(&self, port: &ServicePort, family: Family, node: &NodeFacts) -> Usable {
        let key = (
            port.namespace.clone(),
            port.name.clone(),
            port.port_name.clone(),
            port.protocol.clone(),
        );
        let Some(all) = self.ports.get(&key) else {
            return Usable::default();
        };
        let all: Vec<Arc<Endpoint>> =
            all.iter().filter(|e| in_family(&e.address, family)).cloned().collect();
        let ready: Vec<Arc<Endpoint>> = all.iter().filter(|e| e.ready).cloned().collect();
        let cluster = if ready.is_empty() { draining(&all) } else { hinted(ready, node) };
        let here: Vec<Arc<Endpoint>> =
            all.iter().filter(|e| e.is_local(&node.name)).cloned().collect();
        let local: Vec<Arc<Endpoint>> = here.iter().filter(|e| e.ready).cloned().collect();
        let local = if local.is_empty() { draining(&here) } else { local };
        let any = !cluster.is_empty() || !local.is_empty();
        Usable { cluster, local, any }
    }
}

fn draining(endpoints: &[Arc<Endpoint>]) -> Vec<Arc<Endpoint>> {
    endpoints.iter().filter(|e| e.serving && e.terminating).cloned().collect()
}

fn hinted(ready: Vec<Arc<Endpoint>>, node: &NodeFacts) -> Vec<Arc<Endpoint>> {
    if ready.iter().all(|e| !e.nodes.is_empty()) {
        let same: Vec<_> = ready.iter().filter(|e| e.nodes.contains(&node.name)).cloned().collect();
        if !same.is_empty() {
            return same;
        }
    }
    let Some(zone) = &node.zone else { return ready };
    if ready.iter().all(|e| !e.zones.is_empty()) {
        let same: Vec<_> = ready.iter().filter(|e| e.zones.contains(zone)).cloned().collect();
        if !same.is_empty() {
            return same;
        }
    }
    ready
}
