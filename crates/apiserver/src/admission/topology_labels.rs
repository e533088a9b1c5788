//! PodTopologyLabels: what runs on a node learns where the node is, through labels of its own,
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#podtopologylabels>.

use machinery::{Value, meta};

use super::Plugin;
use crate::registry::{Attributes, Failure, Operation};

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

pub(super) struct TopologyLabels;

impl Plugin for TopologyLabels {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        let resource = attributes.resource;
        let of_pods = resource.group.is_empty() && resource.name == "pods";
        if !of_pods || attributes.operation != Operation::Create {
            return Ok(());
        }
        // What binds a Pod gives its labels to the Pod.
        let object = attributes.object.as_ref();
        let name = object.and_then(|object| node_of(object, attributes.subresource));
        let node = name.and_then(|name| attributes.registry.cached("", "nodes", "", name));
        if let (Some(node), Some(object)) = (node, attributes.object.as_mut()) {
            copy(&node.value(), object);
        }
        Ok(())
    }
}

/// The node that a new Pod has, or that a binding gives it.
fn node_of<'o>(object: &'o Value, subresource: &str) -> Option<&'o str> {
    let name = match subresource {
        "" => object.pointer("/spec/nodeName"),
        "binding" if object["target"]["kind"] == "Node" => object.pointer("/target/name"),
        _ => None,
    };
    name.and_then(Value::as_str).filter(|name| !name.is_empty())
}

fn copy(node: &Value, object: &mut Value) {
    for key in LABELS {
        let label = |object: &Value| meta::labels(object).and_then(|all| all.get(key)).cloned();
        if let (Some(Value::String(value)), None) = (label(node), label(object)) {
            meta::set_label(object, key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_of_pods_and_of_bindings() {
        let pod = json!({"spec": {"nodeName": "n"}});
        assert_eq!(node_of(&pod, ""), Some("n"));
        assert_eq!(node_of(&pod, "ephemeralcontainers"), None);
        assert_eq!(node_of(&json!({"spec": {}}), ""), None);
        let binding = |kind: &str| json!({"target": {"kind": kind, "name": "n"}});
        assert_eq!(node_of(&binding("Node"), "binding"), Some("n"));
        assert_eq!(node_of(&binding(""), "binding"), None);
    }

    #[test]
    fn labels_that_are_there_stay() {
        let [zone, region] = LABELS;
        let node = json!({"metadata": {"labels": {zone: "z", region: "r", "other": "o"}}});
        let mut pod = json!({"metadata": {"labels": {zone: "own"}}});
        copy(&node, &mut pod);
        assert_eq!(pod, json!({"metadata": {"labels": {zone: "own", region: "r"}}}));
        let mut binding = json!({});
        copy(&json!({"metadata": {"labels": {zone: "z"}}}), &mut binding);
        assert_eq!(binding, json!({"metadata": {"labels": {zone: "z"}}}));
    }
}
