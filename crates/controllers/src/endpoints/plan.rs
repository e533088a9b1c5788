//! The Endpoints object of a Service. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::subject::{self, HEADLESS, LAST_CHANGE, Port};
use crate::object::Meta;
use crate::pods;

/// Upstream's limit of addresses in one object.
const CAPACITY: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

/// The object to write, or `None` when `present` is as it should be.
pub(super) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    present: Option<&Endpoints>,
) -> Option<Endpoints> {
    let (subsets, truncated) = truncate(subsets(service, pods));
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), "endpoint-controller".to_owned());
    if subject::is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    let subsets = (!subsets.is_empty()).then_some(subsets);
    if let Some(present) = present {
        let same_subsets = present.subsets.as_deref().unwrap_or_default()
            == subsets.as_deref().unwrap_or_default();
        let same_capacity = present.annotation(OVER_CAPACITY).is_some() == truncated;
        if same_subsets && same_capacity && present.metadata.labels.as_ref() == Some(&labels) {
            return None;
        }
    }
    let mut metadata = present.map_or_else(
        || ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        |present| present.metadata.clone(),
    );
    metadata.labels = Some(labels);
    let annotations = metadata.annotations.get_or_insert_default();
    let time = machinery::time::format(subject::trigger_time(service, pods));
    annotations.insert(LAST_CHANGE.to_owned(), time);
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    Some(Endpoints { metadata, subsets })
}

/// Addresses with the same ports make a subset.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let publish_all = subject::publishes_not_ready(service);
    let portless = subject::is_headless(service)
        && subject::spec(service).is_none_or(|s| s.ports.as_ref().is_none_or(Vec::is_empty));
    type Sides = (Vec<EndpointAddress>, Vec<EndpointAddress>);
    let mut by_ports: BTreeMap<Vec<Port>, Sides> = BTreeMap::new();
    let v6 = subject::spec(service)
        .and_then(|s| s.ip_families.as_ref()?.first())
        .is_some_and(|family| family == "IPv6");
    for pod in pods {
        if pods::is_terminal(pod) || (pod.is_deleting() && !publish_all) {
            continue;
        }
        let all = subject::addresses(pod);
        let Some(ip) = all.iter().find(|ip| ip.contains(':') == v6) else { continue };
        let ports = subject::ports(service, pod);
        if ports.is_empty() && !portless {
            continue;
        }
        let address = EndpointAddress {
            ip: (*ip).to_owned(),
            hostname: subject::hostname(pod, service).map(str::to_owned),
            node_name: pods::node_name(pod).map(str::to_owned),
            target_ref: Some(ObjectReference {
                kind: Some("Pod".to_owned()),
                namespace: pod.metadata.namespace.clone(),
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
        };
        let (ready, not_ready) = by_ports.entry(ports).or_default();
        if publish_all || pods::is_ready(pod) {
            ready.push(address);
        } else {
            not_ready.push(address);
        }
    }
    by_ports
        .into_iter()
        .map(|(ports, (ready, not_ready))| {
            let sorted = |mut side: Vec<EndpointAddress>| {
                side.sort_by(|a, b| a.ip.cmp(&b.ip));
                (!side.is_empty()).then_some(side)
            };
            let ports: Vec<EndpointPort> = ports
                .into_iter()
                .map(|port| EndpointPort {
                    name: (!port.name.is_empty()).then_some(port.name),
                    port: port.number,
                    protocol: Some(port.protocol),
                    app_protocol: port.app_protocol,
                })
                .collect();
            EndpointSubset {
                addresses: sorted(ready),
                not_ready_addresses: sorted(not_ready),
                ports: (!ports.is_empty()).then_some(ports),
            }
        })
        .collect()
}

/// Cuts down to the capacity, ready addresses first.
fn truncate(mut subsets: Vec<EndpointSubset>) -> (Vec<EndpointSubset>, bool) {
    let count = |side: &Option<Vec<EndpointAddress>>| side.as_ref().map_or(0, Vec::len);
    let total: usize =
        subsets.iter().map(|s| count(&s.addresses) + count(&s.not_ready_addresses)).sum();
    if total <= CAPACITY {
        return (subsets, false);
    }
    let mut left = CAPACITY;
    let mut cut = |side: &mut Option<Vec<EndpointAddress>>| {
        if let Some(addresses) = side {
            addresses.truncate(left);
            left -= addresses.len();
        }
        *side = side.take().filter(|addresses| !addresses.is_empty());
    };
    subsets.iter_mut().for_each(|s| cut(&mut s.addresses));
    subsets.iter_mut().for_each(|s| cut(&mut s.not_ready_addresses));
    subsets.retain(|s| s.addresses.is_some() || s.not_ready_addresses.is_some());
    (subsets, true)
}
