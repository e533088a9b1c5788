//! What a Pod that runs may be changed into: its node must be able to do that, and have room for
//! it (PodResizeValidator and NodeDeclaredFeatureValidator),
//! <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>,
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/node-declared-features/>.

use machinery::quantity::Quantity;
use machinery::{Value, meta};

use super::{Plugin, forbidden};
use crate::registry::{Attributes, Failure, Operation};

/// The label that says a node's operating system.
const OS: &str = "kubernetes.io/os";
/// Nodes with it can change the resources of Pods as a whole.
const POD_LEVEL: &str = "InPlacePodLevelResourcesVerticalScaling";
/// Nodes with it can change those of init containers that run to completion.
const INIT: &str = "InPlacePodVerticalScalingInitContainers";

/// Checks changes of Pods on nodes.
pub(super) struct PodResize;

impl Plugin for PodResize {
    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let resource = attributes.resource;
        if attributes.operation != Operation::Update
            || !resource.group.is_empty()
            || resource.name != "pods"
            || !matches!(attributes.subresource, "" | "resize")
        {
            return Ok(());
        }
        let (Some(pod), Some(old)) = (&attributes.object, attributes.old) else { return Ok(()) };
        let name = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        if name.is_empty() || meta::generation(pod) == meta::generation(old) {
            return Ok(());
        }
        let needed = needed(pod, old);
        let resized = attributes.subresource == "resize";
        if needed.is_empty() && !resized {
            return Ok(());
        }
        let Some(node) = attributes.registry.cached("", "nodes", "", name) else {
            return Err(forbidden(attributes, format!("node {name:?} not found")));
        };
        let node = node.value();
        let result = check_features(&needed, &node);
        let result = if resized { result.and_then(|()| check_room(pod, &node)) } else { result };
        result.map_err(|why| forbidden(attributes, why))
    }
}

/// The features that a node must declare for an update, by name.
fn needed(new: &Value, old: &Value) -> Vec<&'static str> {
    let mut needed = Vec::new();
    if !same_amounts(&old["spec"]["resources"], &new["spec"]["resources"]) {
        needed.push(POD_LEVEL);
    }
    let inits =
        |pod: &'_ Value| pod["spec"]["initContainers"].as_array().cloned().unwrap_or_default();
    let resized = |(new, old): (Value, Value)| {
        old["restartPolicy"] != "Always" && !same_amounts(&old["resources"], &new["resources"])
    };
    if inits(new).into_iter().zip(inits(old)).any(resized) {
        needed.push(INIT);
    }
    needed
}

/// Whether resources mean the same, however their amounts are written.
fn same_amounts(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| {
                    other.get(name).is_some_and(|other| same_amounts(value, other))
                })
        }
        (one, other) if one == other => true,
        (one, other) => Quantity::from_value(one)
            .is_some_and(|one| Quantity::from_value(other).is_some_and(|other| one == other)),
    }
}

fn check_features(needed: &[&str], node: &Value) -> Result<(), String> {
    let declared = node["status"]["declaredFeatures"].as_array();
    let has = |feature: &str| declared.is_some_and(|all| all.iter().any(|one| one == feature));
    let missing: Vec<&str> = needed.iter().copied().filter(|feature| !has(feature)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "pod update requires features {} which are not available on node {:?}",
        missing.join(", "),
        meta::name(node)
    ))
}

/// Whether the Pod as a whole fits on its node, and the node is one that can resize Pods.
fn check_room(pod: &Value, node: &Value) -> Result<(), String> {
    let requests = resources::pod_total(&pod["spec"], "requests");
    let number = |name: &str, quantity: &Quantity| match name {
        "cpu" => quantity.milli_value(),
        _ => quantity.value(),
    };
    let mut lacks = Vec::new();
    for name in ["cpu", "memory"] {
        let requested = requests.get(name).map_or(0, |quantity| number(name, quantity));
        let allocatable = Quantity::from_value(&node["status"]["allocatable"][name])
            .map_or(0, |quantity| number(name, &quantity));
        if requested > allocatable {
            lacks.push(format!("{name}, requested: {requested}, allocatable: {allocatable}"));
        }
    }
    if !lacks.is_empty() {
        let lacks = lacks.join("; ");
        return Err(format!("node didn't have enough allocatable resources: {lacks}"));
    }
    let labels = meta::labels(node);
    match labels.and_then(|labels| labels.get(OS)).and_then(Value::as_str).unwrap_or_default() {
        "linux" => Ok(()),
        os => Err(format!(
            "pod resize is only supported on linux nodes, node {:?} is {os:?}",
            meta::name(node)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(class: &str, cpu: &str) -> Value {
        json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]},
            "status": {"qosClass": class}})
    }

    #[test]
    fn features_that_an_update_needs() {
        let old = pod("Guaranteed", "1");
        assert_eq!(needed(&pod("Guaranteed", "2"), &old), [""; 0]);
        let mut new = old.clone();
        new["spec"]["resources"] = json!({"requests": {"cpu": "1"}});
        assert_eq!(needed(&new, &old), [POD_LEVEL]);
        let mut same = new.clone();
        same["spec"]["resources"]["requests"]["cpu"] = "1000m".into();
        assert_eq!(needed(&same, &new), [""; 0]);
        for (policy, expected) in [(json!(null), vec![INIT]), (json!("Always"), vec![])] {
            let with_init = |cpu: &str| {
                json!({"spec": {"initContainers": [{"restartPolicy": policy,
                    "resources": {"requests": {"cpu": cpu}}}]}})
            };
            assert_eq!(needed(&with_init("2"), &with_init("1")), expected);
        }

        let mut node = json!({"metadata": {"name": "n"}});
        assert_eq!(
            check_features(&[POD_LEVEL, INIT], &node).unwrap_err(),
            "pod update requires features InPlacePodLevelResourcesVerticalScaling, \
             InPlacePodVerticalScalingInitContainers which are not available on node \"n\""
        );
        node["status"]["declaredFeatures"] = json!([POD_LEVEL]);
        check_features(&[POD_LEVEL], &node).unwrap();
    }

    #[test]
    fn a_resized_pod_fits_on_its_node() {
        let mut node = json!({"metadata": {"name": "n", "labels": {OS: "linux"}},
            "status": {"allocatable": {"cpu": "1", "memory": "1Gi"}}});
        check_room(&pod("", "1"), &node).unwrap();
        assert_eq!(
            check_room(&pod("", "1100m"), &node).unwrap_err(),
            "node didn't have enough allocatable resources: cpu, requested: 1100, allocatable: 1000"
        );
        node["status"]["allocatable"]["memory"] = "1Mi".into();
        assert_eq!(
            check_room(&pod("", "2"), &node).unwrap_err(),
            "node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: \
             1000; memory, requested: 1073741824, allocatable: 1048576"
        );
        node["metadata"]["labels"][OS] = "windows".into();
        assert_eq!(
            check_room(&json!({"spec": {}}), &node).unwrap_err(),
            "pod resize is only supported on linux nodes, node \"n\" is \"windows\""
        );
    }
}
