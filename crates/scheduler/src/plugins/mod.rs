//! The plugins, one file each, in upstream's order and with its weights.

mod balanced_allocation;
mod image_locality;
mod inter_pod_affinity;
mod node_affinity;
mod node_declared_features;
mod node_name;
mod node_ports;
mod node_unschedulable;
mod resources_fit;
mod taint_toleration;
#[cfg(test)]
mod tests;
mod topology_spread;

use k8s_openapi::api::core::v1::{Taint, Toleration};

use crate::framework::Plugin;

/// The plugins of the default profile.
pub fn default_profile() -> Vec<Box<dyn Plugin>> {
    vec![
        Box::new(node_unschedulable::NodeUnschedulable),
        Box::new(node_name::NodeName),
        Box::new(taint_toleration::TaintToleration),
        Box::new(node_affinity::NodeAffinity),
        Box::new(node_ports::NodePorts),
        Box::new(resources_fit::Fit),
        Box::new(topology_spread::PodTopologySpread),
        Box::new(inter_pod_affinity::InterPodAffinity),
        Box::new(balanced_allocation::BalancedAllocation),
        Box::new(image_locality::ImageLocality),
        Box::new(node_declared_features::NodeDeclaredFeatures),
    ]
}

/// Whether one of the tolerations tolerates the taint.
/// <https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/>
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|t| {
        let value = taint.value.as_deref().unwrap_or_default();
        let wanted = t.value.as_deref().unwrap_or_default();
        let number =
            |compare: fn(&i64, &i64) -> bool| match (value.parse::<i64>(), wanted.parse::<i64>()) {
                (Ok(value), Ok(limit)) => compare(&value, &limit),
                _ => false,
            };
        let effect = t.effect.as_deref().unwrap_or_default();
        let key = t.key.as_deref().unwrap_or_default();
        (effect.is_empty() || effect == taint.effect)
            && (key.is_empty() || key == taint.key)
            && match t.operator.as_deref().unwrap_or_default() {
                "" | "Equal" => wanted == value,
                "Exists" => true,
                "Gt" => number(i64::gt),
                "Lt" => number(i64::lt),
                _ => false,
            }
    })
}

/// Whether a taint keeps new Pods away.
fn keeps_away(taint: &Taint) -> bool {
    matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
}
