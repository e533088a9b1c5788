//! Whether a resize can be granted. Pure; wording as upstream's kubelet.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::pod::admission::{amount, requested, shortage};
use crate::static_pods::mirror;

/// Why a resize is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether it may be granted later.
    pub reason: Reason,
    /// More about it.
    pub message: String,
    /// What the metric of resizes that can never be granted calls it.
    pub detail: &'static str,
}

/// Whether a resize may be granted later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Once there is room.
    Deferred,
    /// Never on this node.
    Infeasible,
}

// === impl Reason ===

impl Reason {
    /// As in the condition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deferred => "Deferred",
            Self::Infeasible => "Infeasible",
        }
    }
}

/// Decides about `pod` with its desired resources; `others` are the Pods that are on the node
/// besides, with what they were allocated.
pub fn decide(pod: &Pod, node: &Node, others: &[Arc<Pod>]) -> Result<(), Refusal> {
    let infeasible =
        |message: String, detail| Refusal { reason: Reason::Infeasible, message, detail };
    if mirror::is_static(pod) {
        let message = "In-place resize of static-pods is not supported";
        return Err(infeasible(message.into(), "static_pod"));
    }
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    for resource in ["memory", "cpu"] {
        let capacity = allocatable.and_then(|all| all.get(resource)).map_or(0, amount);
        let wanted = requested(pod, resource);
        if wanted > capacity {
            let unit = if resource == "cpu" { 1 } else { 1000 };
            let message = format!(
                "Node didn't have enough capacity: {resource}, requested: {}, capacity: {}",
                wanted / unit,
                capacity / unit
            );
            return Err(infeasible(message, "insufficient_node_allocatable"));
        }
    }
    match shortage(pod, node, others) {
        Some((_, message)) => Err(Refusal { reason: Reason::Deferred, message, detail: "" }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(requests: Value) -> Pod {
        serde_json::from_value(
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}}),
        )
        .unwrap()
    }

    #[test]
    fn refusals_are_worded_as_upstreams() {
        let node: Node = serde_json::from_value(
            json!({"status": {"allocatable": {"cpu": "1930m", "memory": "1Gi", "pods": "110"}}}),
        )
        .unwrap();
        let others = [Arc::new(pod(json!({"cpu": "1450m", "memory": "512Mi"})))];
        let check = |requests: Value, expected: &str| {
            let got = match decide(&pod(requests), &node, &others) {
                Ok(()) => String::new(),
                Err(refusal) => format!("{}: {}", refusal.reason.as_str(), refusal.message),
            };
            assert_eq!(got, expected);
        };
        check(json!({"cpu": "480m", "memory": "512Mi"}), "");
        check(
            json!({"cpu": "1500m"}),
            "Deferred: Node didn't have enough resource: cpu, requested: 1500, used: 1450, capacity: 1930",
        );
        check(
            json!({"memory": "1Gi"}),
            "Deferred: Node didn't have enough resource: memory, requested: 1073741824, used: 536870912, capacity: 1073741824",
        );
        check(
            json!({"cpu": "2500m"}),
            "Infeasible: Node didn't have enough capacity: cpu, requested: 2500, capacity: 1930",
        );
        check(
            json!({"cpu": "3", "memory": "2Gi"}),
            "Infeasible: Node didn't have enough capacity: memory, requested: 2147483648, capacity: 1073741824",
        );
        let mut own = pod(json!({}));
        own.metadata.annotations =
            Some([("kubernetes.io/config.source".to_owned(), "file".to_owned())].into());
        let refusal = decide(&own, &node, &[]).unwrap_err();
        assert_eq!(refusal.message, "In-place resize of static-pods is not supported");
    }
}
