//! Limits what a kubelet can write to its own node and the Pods on it:
//! <https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>.

use machinery::{Value, meta};

use super::{Plugin, forbidden};
use crate::registry::{Attributes, Failure, Operation};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// Labels of the API's own domains that a kubelet may set on its node.
const OWN_LABELS: [&str; 12] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
];
const OWN_LABELS_TOO: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];
const OWN_LABEL_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

pub(super) struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        let context = attributes.context;
        let Some(node) = context.user.node_name() else { return Ok(()) };
        let resource = (&*attributes.resource.group, attributes.resource.name.as_str());
        let result = match resource {
            ("", "pods") => pods(attributes, node),
            ("", "nodes") => nodes(attributes, node),
            ("", "serviceaccounts") if attributes.subresource == "token" => token(attributes, node),
            ("coordination.k8s.io", "leases") => own(attributes, node, "lease"),
            ("storage.k8s.io", "csinodes") => own(attributes, node, "CSINode"),
            _ => Ok(()),
        };
        result.map_err(|detail| forbidden(attributes, detail))
    }
}

fn spec_node(pod: &Value) -> &str {
    pod.pointer("/spec/nodeName").and_then(Value::as_str).unwrap_or_default()
}

/// The Pod that a request to it, or a part of it, is about.
fn stored(attributes: &Attributes<'_>) -> Option<Value> {
    if let Some(old) = attributes.old {
        return Some(old.clone());
    }
    let registry = attributes.registry;
    Some(registry.cached("", "pods", attributes.namespace, attributes.name)?.value())
}

fn pods(attributes: &Attributes<'_>, node: &str) -> Result<(), String> {
    match (attributes.operation, attributes.subresource) {
        (Operation::Create, "") => {
            let null = Value::Null;
            create_pod(attributes.object.as_ref().unwrap_or(&null), node)
        }
        (Operation::Delete, "") => match stored(attributes) {
            Some(pod) if spec_node(&pod) != node => {
                Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            _ => Ok(()),
        },
        (Operation::Update, "status") => {
            let old = stored(attributes);
            if old.as_ref().is_some_and(|pod| spec_node(pod) != node) {
                return Err(format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to \
                     itself"
                ));
            }
            let labels =
                |pod: Option<&Value>| pod.and_then(meta::labels).cloned().unwrap_or_default();
            if labels(old.as_ref()) != labels(attributes.object.as_ref()) {
                return Err(format!("node {node:?} cannot update labels through pod status"));
            }
            Ok(())
        }
        (Operation::Create, "eviction") => match stored(attributes) {
            Some(pod) if spec_node(&pod) != node => {
                Err(format!("node {node:?} can only evict pods with spec.nodeName set to itself"))
            }
            _ => Ok(()),
        },
        (operation, subresource) => Err(format!(
            "unexpected operation {:?}, node {node:?} can only create and delete mirror pods{}",
            operation.as_str(),
            if subresource.is_empty() { "" } else { " and update their status" },
        )),
    }
}

fn create_pod(pod: &Value, node: &str) -> Result<(), String> {
    if meta::annotation(pod, MIRROR).is_none() {
        return Err(format!(
            "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
        ));
    }
    if spec_node(pod) != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners: Vec<_> = meta::owner_references(pod).collect();
    match owners.as_slice() {
        [] => {}
        [owner] if owner.api_version == "v1" && owner.kind == "Node" && owner.name == node => {
            if !owner.controller {
                return Err("pod must have its node as controller".to_owned());
            }
        }
        _ => {
            return Err(format!(
                "node {node:?} can only create pods with an owner reference set to itself"
            ));
        }
    }
    let null = Value::Null;
    let spec = pod.get("spec").unwrap_or(&null);
    let account = spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or_default();
    if !account.is_empty() {
        return Err(format!("node {node:?} can not create pods that reference a service account"));
    }
    let lists = ["containers", "initContainers", "ephemeralContainers"];
    let containers = lists.iter().filter_map(|list| spec.get(list)?.as_array()).flatten();
    for container in containers {
        let text = container.to_string();
        if text.contains("\"secretKeyRef\"") || text.contains("\"secretRef\"") {
            return Err(format!("node {node:?} can not create pods that reference secrets"));
        }
        if text.contains("\"configMapKeyRef\"") || text.contains("\"configMapRef\"") {
            return Err(format!("node {node:?} can not create pods that reference configmaps"));
        }
    }
    for volume in spec.get("volumes").and_then(Value::as_array).into_iter().flatten() {
        for (field, what) in [
            ("secret", "secrets"),
            ("configMap", "configmaps"),
            ("persistentVolumeClaim", "persistentvolumeclaims"),
            ("ephemeral", "persistentvolumeclaims"),
            ("projected", "projected volumes"),
        ] {
            if volume.get(field).is_some() {
                return Err(format!("node {node:?} can not create pods that reference {what}"));
            }
        }
    }
    Ok(())
}

fn nodes(attributes: &Attributes<'_>, node: &str) -> Result<(), String> {
    let name = match (attributes.name, attributes.object.as_ref()) {
        ("", Some(object)) => meta::name(object),
        (name, _) => name,
    };
    let operation = attributes.operation;
    if operation == Operation::Delete {
        return Err(format!("node {node:?} is not allowed to delete node {name:?}"));
    }
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let Some(object) = attributes.object.as_ref() else { return Ok(()) };
    let has_source = |object: &Value| {
        object.pointer("/spec/configSource").is_some_and(|source| !source.is_null())
    };
    if operation == Operation::Create {
        if has_source(object) {
            return Err(format!(
                "node {node:?} is not allowed to create pods with a non-nil configSource"
            ));
        }
        let labels = meta::labels(object).into_iter().flatten().map(|(key, _)| key.as_str());
        return refuse_labels(labels, node, "set");
    }
    let Some(old) = attributes.old else { return Ok(()) };
    if attributes.subresource.is_empty() {
        let taints = |object: &Value| {
            object
                .pointer("/spec/taints")
                .filter(|t| t.as_array().is_some_and(|t| !t.is_empty()))
                .cloned()
        };
        if taints(object) != taints(old) {
            return Err(format!("node {node:?} is not allowed to modify taints"));
        }
        let has_owners = meta::owner_references(object).ne(meta::owner_references(old));
        if has_owners {
            return Err(format!("node {node:?} is not allowed to update ownerReferences"));
        }
    }
    let (new, old) = (meta::labels(object), meta::labels(old));
    let keys = new.into_iter().chain(old).flatten().map(|(key, _)| key.as_str());
    let changed = keys.filter(|key| {
        new.and_then(|labels| labels.get(*key)) != old.and_then(|labels| labels.get(*key))
    });
    refuse_labels(changed, node, "modify")
}

/// Labels by which others place Pods are not for the node itself to choose.
fn refuse_labels<'a>(
    keys: impl Iterator<Item = &'a str>,
    node: &str,
    what: &str,
) -> Result<(), String> {
    let mut refused: Vec<&str> = keys.filter(|key| !may_set(key)).collect();
    refused.sort_unstable();
    refused.dedup();
    if refused.is_empty() {
        return Ok(());
    }
    Err(format!(
        "is not allowed to {what} the following labels: {} (node {node:?})",
        refused.join(", ")
    ))
}

fn may_set(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return true };
    let within = |parent: &str| {
        domain == parent || domain.strip_suffix(parent).is_some_and(|head| head.ends_with('.'))
    };
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&key)
        || OWN_LABELS_TOO.contains(&key)
        || OWN_LABEL_DOMAINS.iter().any(|own| within(own))
}

/// A node's tokens are for the Pods on it.
fn token(attributes: &Attributes<'_>, node: &str) -> Result<(), String> {
    let reference =
        attributes.object.as_ref().and_then(|object| object.pointer("/spec/boundObjectRef"));
    let text = |field: &str| reference.and_then(|r| r.get(field)?.as_str()).unwrap_or_default();
    if reference.is_none() || text("kind") != "Pod" || text("name").is_empty() {
        return Err("node requested token not bound to a pod".to_owned());
    }
    if text("uid").is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    let pod = attributes.registry.cached("", "pods", attributes.namespace, text("name"));
    let Some(pod) = pod else { return Err(format!("pod {:?} not found", text("name"))) };
    let pod = pod.value();
    if meta::uid(&pod) != text("uid") {
        return Err(
            "the UID in the bound object reference does not match the UID in record".to_owned()
        );
    }
    if spec_node(&pod) != node {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    Ok(())
}

fn own(attributes: &Attributes<'_>, node: &str, what: &str) -> Result<(), String> {
    let name = match (attributes.name, attributes.object.as_ref()) {
        ("", Some(object)) => meta::name(object),
        (name, _) => name,
    };
    if name == node {
        return Ok(());
    }
    Err(format!("can only access {what} with the same name as the requesting node"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn placement_labels_are_out_of_reach() {
        for (key, want) in [
            ("app", true),
            ("example.com/zone", true),
            ("kubernetes.io/hostname", true),
            ("topology.kubernetes.io/zone", true),
            ("x.node.kubernetes.io/y", true),
            ("node-role.kubernetes.io/control-plane", false),
            ("node-restriction.kubernetes.io/fips", false),
            ("foo.k8s.io/bar", false),
        ] {
            assert_eq!(may_set(key), want, "{key}");
        }
    }

    #[test]
    fn only_mirror_pods_without_references() {
        let mirror = json!({"metadata": {"annotations": {MIRROR: "x"}},
            "spec": {"nodeName": "w1", "containers": [{"name": "c"}]}});
        assert_eq!(create_pod(&mirror, "w1"), Ok(()));
        assert!(create_pod(&mirror, "w2").is_err());
        assert!(create_pod(&json!({"metadata": {}, "spec": {"nodeName": "w1"}}), "w1").is_err());
        let mut secret = mirror.clone();
        secret["spec"]["volumes"] = json!([{"secret": {"secretName": "s"}}]);
        assert!(create_pod(&secret, "w1").unwrap_err().ends_with("reference secrets"));
        let mut env = mirror;
        env["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "c"}}]);
        assert!(create_pod(&env, "w1").unwrap_err().ends_with("reference configmaps"));
    }
}
