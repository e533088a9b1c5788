//! New nodes are tainted until the node lifecycle controller has seen that they are ready.

use machinery::Value;
use serde_json::json;

use super::{Plugin, is};
use crate::registry::{Attributes, Failure, Operation};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub(super) struct TaintNodes;

impl Plugin for TaintNodes {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        if is(attributes, Operation::Create, "", "nodes")
            && let Some(node) = &mut attributes.object
        {
            add(node);
        }
        Ok(())
    }
}

fn add(node: &mut Value) {
    let Some(fields) = node.as_object_mut() else { return };
    let spec = fields.entry("spec").or_insert_with(|| json!({}));
    let taints = spec.get("taints").and_then(Value::as_array).cloned();
    let mut taints = taints.unwrap_or_default();
    if taints.iter().any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule") {
        return;
    }
    taints.push(json!({"key": NOT_READY, "effect": "NoSchedule"}));
    spec["taints"] = taints.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once() {
        let mut node = json!({"metadata": {}});
        add(&mut node);
        let once = node.clone();
        add(&mut node);
        assert_eq!(node, once);
        assert_eq!(node["spec"]["taints"][0]["key"], NOT_READY);
    }
}
