//! The slices of a Service: what to create, update and delete. Pure.
//!
//! Slices are changed as little as possible: endpoints stay in the slice they are in, new ones
//! fill slices that change anyway, then those with room, then new slices.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::managed::{MANAGED_BY, Plan, SERVICE_NAME};
use crate::endpoints::subject::{self, HEADLESS, LAST_CHANGE, Port};
use crate::object::{Meta, controller_reference};
use crate::pods;

pub(super) const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Upstream's `--max-endpoints-per-slice`.
const CAPACITY: usize = 100;

/// Plans for all address families of the Service. `slices` are those that this controller
/// manages for it.
pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    node: impl Fn(&str) -> Option<Arc<Node>>,
    slices: &[Arc<EndpointSlice>],
) -> Plan {
    let mut plan = Plan::default();
    let families = families(service);
    for slice in slices.iter().filter(|s| !s.is_deleting()) {
        if !families.contains(&slice.address_type.as_str()) {
            plan.delete.push(slice.nm().to_owned());
        }
    }
    let annotation = machinery::time::format(subject::trigger_time(service, pods));
    for family in families {
        let wanted = endpoints_by_ports(service, pods, &node, family == "IPv6");
        let present: Vec<&Arc<EndpointSlice>> =
            slices.iter().filter(|s| s.address_type == family && !s.is_deleting()).collect();
        plan_family(service, family, wanted, &present, &annotation, &mut plan);
    }
    plan
}

fn families(service: &Service) -> Vec<&'static str> {
    let families = subject::spec(service).and_then(|s| s.ip_families.as_ref());
    let known = families.into_iter().flatten().filter_map(|f| match f.as_str() {
        "IPv4" => Some("IPv4"),
        "IPv6" => Some("IPv6"),
        _ => None,
    });
    let known: Vec<_> = known.collect();
    if known.is_empty() { vec!["IPv4"] } else { known }
}

type ByPorts = BTreeMap<Vec<Port>, Vec<Endpoint>>;

fn endpoints_by_ports(
    service: &Service,
    pods: &[Arc<Pod>],
    node: &impl Fn(&str) -> Option<Arc<Node>>,
    v6: bool,
) -> ByPorts {
    let mut wanted = ByPorts::new();
    for pod in pods.iter().filter(|pod| !pods::is_terminal(pod)) {
        for ip in subject::addresses(pod).into_iter().filter(|ip| ip.contains(':') == v6) {
            let ports = subject::ports(service, pod);
            wanted.entry(ports).or_default().push(endpoint(service, pod, ip, node));
        }
    }
    for endpoints in wanted.values_mut() {
        endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        add_hints(service, endpoints);
    }
    wanted
}

fn endpoint(
    service: &Service,
    pod: &Pod,
    ip: &str,
    node: &impl Fn(&str) -> Option<Arc<Node>>,
) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pod.is_deleting();
    let ready = subject::publishes_not_ready(service) || (serving && !terminating);
    let node_name = pods::node_name(pod);
    let zone = node_name.and_then(node).and_then(|node| node.label(ZONE).map(str::to_owned));
    Endpoint {
        addresses: vec![ip.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: subject::hostname(pod, service).map(str::to_owned),
        node_name: node_name.map(str::to_owned),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone,
        ..Endpoint::default()
    }
}

/// `trafficDistribution` becomes hints: each endpoint is for its own zone (and node).
fn add_hints(service: &Service, endpoints: &mut [Endpoint]) {
    let distribution = subject::spec(service).and_then(|s| s.traffic_distribution.as_deref());
    let for_node = distribution == Some("PreferSameNode");
    if !for_node && !matches!(distribution, Some("PreferClose" | "PreferSameZone")) {
        return;
    }
    for endpoint in endpoints {
        let zones = endpoint.zone.clone().map(|name| vec![ForZone { name }]);
        let nodes =
            endpoint.node_name.clone().filter(|_| for_node).map(|name| vec![ForNode { name }]);
        if zones.is_some() || nodes.is_some() {
            endpoint.hints = Some(EndpointHints { for_nodes: nodes, for_zones: zones });
        }
    }
}

/// Identifies an endpoint across rounds.
fn identity(endpoint: &Endpoint) -> (Option<&str>, &str) {
    let uid = endpoint.target_ref.as_ref().and_then(|r| r.uid.as_deref());
    (uid, endpoint.addresses.first().map_or("", String::as_str))
}

fn port_list(ports: &[Port]) -> Vec<EndpointPort> {
    ports
        .iter()
        .map(|port| EndpointPort {
            name: Some(port.name.clone()),
            port: Some(port.number),
            protocol: Some(port.protocol.clone()),
            app_protocol: port.app_protocol.clone(),
        })
        .collect()
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|key, _| key != SERVICE_NAME && key != MANAGED_BY && key != HEADLESS);
    labels.insert(SERVICE_NAME.to_owned(), service.nm().to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    if subject::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// A slice as it will be, and whether that is another than it was.
struct Draft<'a> {
    slice: &'a EndpointSlice,
    endpoints: Vec<Endpoint>,
    changed: bool,
}

fn plan_family(
    service: &Service,
    family: &str,
    mut wanted: ByPorts,
    present: &[&Arc<EndpointSlice>],
    annotation: &str,
    plan: &mut Plan,
) {
    let labels = labels(service);
    let fresh = |ports: &[Port], endpoints: Vec<Endpoint>| EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", service.nm())),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            annotations: Some([(LAST_CHANGE.to_owned(), annotation.to_owned())].into()),
            owner_references: Some(vec![controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Some(endpoints),
        ports: Some(port_list(ports)),
    };
    // A Service without endpoints has one empty slice, so that watchers know it was seen.
    if wanted.is_empty() {
        wanted.insert(Vec::new(), Vec::new());
    }
    let mut unclaimed: Vec<&Arc<EndpointSlice>> = present.to_vec();
    let mut kept = 0;
    for (ports, endpoints) in wanted {
        let list = port_list(&ports);
        let (matching, others): (Vec<_>, Vec<_>) = unclaimed
            .into_iter()
            .partition(|s| s.ports.as_deref().unwrap_or_default() == list.as_slice());
        unclaimed = others;
        let placeholder = endpoints.is_empty();
        let (drafts, mut left) = fill(matching, endpoints);
        for draft in drafts {
            let last = placeholder && kept == 0;
            if draft.endpoints.is_empty() && !last {
                plan.delete.push(draft.slice.nm().to_owned());
                continue;
            }
            kept += 1;
            if draft.changed || draft.slice.metadata.labels.as_ref() != Some(&labels) {
                let mut slice = draft.slice.clone();
                slice.endpoints = Some(draft.endpoints);
                slice.metadata.labels = Some(labels.clone());
                let annotations = slice.metadata.annotations.get_or_insert_default();
                annotations.insert(LAST_CHANGE.to_owned(), annotation.to_owned());
                plan.update.push(slice);
            }
        }
        while !left.is_empty() {
            let rest = left.split_off(left.len().min(CAPACITY));
            plan.create.push(fresh(&ports, left));
            kept += 1;
            left = rest;
        }
        if kept == 0 && placeholder {
            plan.create.push(fresh(&ports, Vec::new()));
            kept += 1;
        }
    }
    plan.delete.extend(unclaimed.into_iter().map(|slice| slice.nm().to_owned()));
}

/// Puts endpoints into slices that have the right ports; gives back what has no room.
fn fill<'a>(
    matching: Vec<&'a Arc<EndpointSlice>>,
    wanted: Vec<Endpoint>,
) -> (Vec<Draft<'a>>, Vec<Endpoint>) {
    let order: Vec<(Option<String>, String)> = wanted
        .iter()
        .map(|e| {
            let (uid, ip) = identity(e);
            (uid.map(str::to_owned), ip.to_owned())
        })
        .collect();
    let mut left: HashMap<(Option<String>, String), Endpoint> =
        order.iter().cloned().zip(wanted).collect();
    let mut drafts: Vec<Draft<'a>> = matching
        .into_iter()
        .map(|slice| {
            let mut changed = false;
            let endpoints = slice
                .endpoints
                .iter()
                .flatten()
                .filter_map(|old| {
                    let (uid, ip) = identity(old);
                    let new = left.remove(&(uid.map(str::to_owned), ip.to_owned()));
                    changed |= new.as_ref() != Some(old);
                    new
                })
                .collect();
            Draft { slice, endpoints, changed }
        })
        .collect();
    let mut rest: Vec<Endpoint> = order.iter().filter_map(|id| left.remove(id)).collect();
    // Slices that are written anyway take new endpoints first, then the fullest with room.
    drafts.sort_by(|a, b| {
        b.changed.cmp(&a.changed).then_with(|| b.endpoints.len().cmp(&a.endpoints.len()))
    });
    for draft in &mut drafts {
        let room = CAPACITY.saturating_sub(draft.endpoints.len()).min(rest.len());
        if room > 0 {
            draft.endpoints.extend(rest.drain(..room));
            draft.changed = true;
        }
    }
    (drafts, rest)
}
