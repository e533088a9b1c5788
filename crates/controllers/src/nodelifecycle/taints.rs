//! The taints that follow from a node's conditions. Pure.

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::health::{Readiness, condition, readiness};
use crate::scheduling;

pub(super) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(super) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
const NO_SCHEDULE: &str = "NoSchedule";
pub(super) const NO_EXECUTE: &str = "NoExecute";
/// Conditions of trouble, with their taints.
const TROUBLES: [(&str, &str); 4] = [
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

/// The taint of a node that is not ready, whatever its effect.
fn condition_key(node: &Node) -> Option<&'static str> {
    match readiness(node) {
        Readiness::True | Readiness::Absent => None,
        Readiness::False => Some(NOT_READY),
        Readiness::Unknown => Some(UNREACHABLE),
    }
}

/// Whether the node should have a NoExecute taint that it lacks.
pub(super) fn wants_eviction(node: &Node) -> bool {
    condition_key(node).is_some_and(|key| {
        !scheduling::taints(node).iter().any(|t| t.key == key && t.effect == NO_EXECUTE)
    })
}

/// The taints that the node should have, if it has others. The NoExecute taint is taken away
/// and exchanged at once but only added when `evict` allows it, since it drives Pods away.
pub(super) fn plan(node: &Node, evict: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let before = scheduling::taints(node);
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    if let Some(key) = condition_key(node) {
        wanted.push((key, NO_SCHEDULE));
        let has = before
            .iter()
            .any(|t| t.effect == NO_EXECUTE && (t.key == NOT_READY || t.key == UNREACHABLE));
        if evict || has {
            wanted.push((key, NO_EXECUTE));
        }
    }
    for (type_, key) in TROUBLES {
        if condition(node, type_).is_some_and(|c| c.status == "True") {
            wanted.push((key, NO_SCHEDULE));
        }
    }
    if node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    // A node that never reported keeps the taint it was admitted with.
    let fresh = readiness(node) == Readiness::Absent;
    let mut after: Vec<Taint> = before
        .iter()
        .filter(|t| {
            !is_ours(t)
                || wanted.contains(&(t.key.as_str(), t.effect.as_str()))
                || (fresh && t.key == NOT_READY)
        })
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !after.iter().any(|t| t.key == key && t.effect == effect) {
            after.push(Taint {
                key: key.to_owned(),
                value: None,
                effect: effect.to_owned(),
                time_added: Some(Time(now)),
            });
        }
    }
    (after.len() != before.len() || after.iter().zip(before).any(|(a, b)| a != b)).then_some(after)
}

fn is_ours(taint: &Taint) -> bool {
    let key = taint.key.as_str();
    let ready = key == NOT_READY || key == UNREACHABLE;
    match taint.effect.as_str() {
        NO_EXECUTE => ready,
        NO_SCHEDULE => {
            ready || key == UNSCHEDULABLE || TROUBLES.iter().any(|(_, trouble)| key == *trouble)
        }
        _ => false,
    }
}
