//! Which Pods nobody else will clean up. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::object::Meta;
use crate::{pods, scheduling};

/// How long a node must be gone before its Pods are.
pub(super) const QUARANTINE: SignedDuration = SignedDuration::from_secs(40);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Why a Pod is collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// It ended, and too many ended ones lie about.
    Terminated,
    /// Its node is gone.
    Orphaned,
    /// It was deleted before it had a node, so no kubelet confirms.
    Unscheduled,
    /// It was deleted and its node was declared out of service.
    OutOfService,
}

/// The Pods to delete. `gone_since` says when a node was first found missing; the plan needs
/// nothing else from former rounds.
pub(super) fn plan(
    pods: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    gone_since: &HashMap<String, Timestamp>,
    threshold: usize,
    now: Timestamp,
) -> Vec<(Arc<Pod>, Reason)> {
    let mut collected: Vec<(Arc<Pod>, Reason)> = Vec::new();
    let by_name: HashMap<&str, &Arc<Node>> = nodes.iter().map(|n| (n.nm(), n)).collect();
    for pod in pods {
        let reason = match pods::node_name(pod) {
            None if pod.is_deleting() => Some(Reason::Unscheduled),
            None => None,
            Some(name) => match by_name.get(name) {
                Some(node) if pod.is_deleting() && is_out_of_service(node) => {
                    Some(Reason::OutOfService)
                }
                Some(_) => None,
                None => gone_since
                    .get(name)
                    .filter(|since| **since + QUARANTINE <= now)
                    .map(|_| Reason::Orphaned),
            },
        };
        collected.extend(reason.map(|reason| (Arc::clone(pod), reason)));
    }
    let chosen: HashSet<String> = collected.iter().map(|(pod, _)| pod.id().to_owned()).collect();
    if threshold > 0 {
        let mut ended: Vec<&Arc<Pod>> = pods
            .iter()
            .filter(|pod| {
                pods::is_terminal(pod) && !pod.is_deleting() && !chosen.contains(pod.id())
            })
            .collect();
        let surplus = ended.len().saturating_sub(threshold);
        let is_evicted =
            |pod: &Pod| pod.status.as_ref().and_then(|s| s.reason.as_deref()) == Some("Evicted");
        ended.sort_by_key(|pod| (!is_evicted(pod), pod.created(), pod.nm().to_owned()));
        let ended = ended.into_iter().take(surplus);
        collected.extend(ended.map(|pod| (Arc::clone(pod), Reason::Terminated)));
    }
    collected
}

/// Nodes that Pods name and that do not exist, with the time since when.
pub(super) fn missing_nodes(
    pods: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    before: &HashMap<String, Timestamp>,
    now: Timestamp,
) -> HashMap<String, Timestamp> {
    let present: HashSet<&str> = nodes.iter().map(|n| n.nm()).collect();
    pods.iter()
        .filter_map(|pod| pods::node_name(pod))
        .filter(|name| !present.contains(name))
        .map(|name| (name.to_owned(), before.get(name).copied().unwrap_or(now)))
        .collect()
}

fn is_out_of_service(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let ready = conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    !ready && scheduling::taints(node).iter().any(|t| t.key == OUT_OF_SERVICE)
}
