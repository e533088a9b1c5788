//! What the Endpoints and EndpointSlice controllers have in common: which Pods stand behind a
//! Service, on which ports, and which Services an event concerns.

use std::sync::Arc;

use client::{Event, Informer, WorkQueue};
use k8s_openapi::api::core::v1::{Container, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;

use crate::informers::enqueue;
use crate::object::{Key, Meta};
use crate::{pods, selector};

pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
pub(crate) const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// A port of a Service as one Pod serves it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) number: i32,
    pub(crate) app_protocol: Option<String>,
}

pub(crate) fn spec(service: &Service) -> Option<&ServiceSpec> {
    service.spec.as_ref()
}

/// Whether a controller makes endpoints for it: it has a selector and is not a mere name.
pub(crate) fn is_selecting(service: &Service) -> bool {
    spec(service).is_some_and(|s| {
        s.selector.as_ref().is_some_and(|m| !m.is_empty())
            && s.type_.as_deref() != Some("ExternalName")
    })
}

pub(crate) fn is_headless(service: &Service) -> bool {
    spec(service).and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

pub(crate) fn publishes_not_ready(service: &Service) -> bool {
    spec(service).and_then(|s| s.publish_not_ready_addresses).unwrap_or(false)
}

fn selects(service: &Service, pod: &Pod) -> bool {
    let map = spec(service).and_then(|s| s.selector.as_ref());
    selector::matches(&selector::of_map(map), pod.metadata.labels.as_ref())
}

/// The Pods that a Service selects.
pub(crate) fn pods_of(service: &Service, pods: &Informer<Pod>) -> Vec<Arc<Pod>> {
    let map = spec(service).and_then(|s| s.selector.as_ref());
    let wanted = selector::of_map(map);
    let mut found = pods.list_namespace(service.ns());
    found.retain(|pod| selector::matches(&wanted, pod.metadata.labels.as_ref()));
    found
}

/// The addresses of a Pod.
pub(crate) fn addresses(pod: &Pod) -> Vec<&str> {
    let Some(status) = &pod.status else { return Vec::new() };
    let many: Vec<&str> = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect();
    if many.is_empty() { status.pod_ip.as_deref().into_iter().collect() } else { many }
}

/// The host name that DNS publishes for the Pod within this Service.
pub(crate) fn hostname<'a>(pod: &'a Pod, service: &Service) -> Option<&'a str> {
    let pod_spec = pod.spec.as_ref()?;
    let hostname = pod_spec.hostname.as_deref().filter(|h| !h.is_empty())?;
    (pod_spec.subdomain.as_deref() == Some(service.nm())).then_some(hostname)
}

/// The ports under which the Pod serves; a named port that the Pod does not have is left out.
pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let all = spec(service).and_then(|s| s.ports.as_deref()).unwrap_or_default();
    let mut found: Vec<Port> = all
        .iter()
        .filter_map(|port| {
            Some(Port {
                name: port.name.clone().unwrap_or_default(),
                protocol: protocol(port).to_owned(),
                number: target(port, pod)?,
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => Some(port.port),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|c| c.restart_policy.as_deref() == Some("Always"));
            spec.containers
                .iter()
                .chain(sidecars)
                .flat_map(|c: &Container| c.ports.iter().flatten())
                .find(|p| {
                    p.name.as_deref() == Some(name)
                        && p.protocol.as_deref().unwrap_or("TCP") == protocol(port)
                })
                .map(|p| p.container_port)
        }
    }
}

/// When the newest thing happened that endpoints tell of.
pub(crate) fn trigger_time(service: &Service, pods: &[Arc<Pod>]) -> Timestamp {
    let ready = pods.iter().filter_map(|pod| {
        pods::condition(pod, "Ready")?.last_transition_time.as_ref().map(|t| t.0)
    });
    let deleted = pods.iter().filter_map(|p| p.metadata.deletion_timestamp.as_ref().map(|t| t.0));
    ready.chain(deleted).max().unwrap_or_default().max(service.created())
}

/// What of a Pod endpoints depend on.
fn facts(pod: &Pod) -> impl PartialEq + '_ {
    (
        pod.metadata.uid.as_deref(),
        pod.metadata.labels.as_ref(),
        pod.is_deleting(),
        pods::is_ready(pod),
        pods::is_terminal(pod),
        pods::node_name(pod),
        addresses(pod),
        pod.spec.as_ref().map(|s| (s.hostname.as_deref(), s.subdomain.as_deref())),
    )
}

/// Queues Services when they or their Pods change.
pub(crate) fn enqueue_on_events(
    services: &Informer<Service>,
    pods: &Informer<Pod>,
    queue: &WorkQueue<Key>,
) {
    enqueue(services, queue);
    let (adder, services) = (queue.clone(), services.clone());
    pods.on_event(move |event| {
        let former = match event {
            Event::Updated { old, new } if facts(old) == facts(new) => return,
            Event::Updated { old, .. } => Some(old),
            _ => None,
        };
        let pod = event.object();
        for service in services.list_namespace(pod.ns()) {
            let concerned =
                selects(&service, pod) || former.is_some_and(|old| selects(&service, old));
            if concerned {
                adder.add(Key::of(&*service));
            }
        }
    });
}
