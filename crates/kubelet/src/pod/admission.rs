//! Whether this node takes a Pod at all. Pure; wording as upstream's kubelet.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use machinery::quantity::Quantity;

use super::spec;
use super::status::Doom;

/// Checks `pod` against the node and the Pods already on it.
pub fn admit(pod: &Pod, node: &Node, others: &[Arc<Pod>]) -> Result<(), Doom> {
    node_affinity(pod, node)?;
    ports(pod, others)?;
    resources(pod, node, others)
}

fn doom(reason: &str, message: String) -> Doom {
    let message = format!("Pod was rejected: {message}");
    Doom { reason: reason.to_owned(), message, disrupted: false }
}

/// For every Pod that comes while the node is shutting down.
pub fn going_down() -> Doom {
    doom("NodeShutdown", "Pod was rejected as the node is shutting down.".into())
}

/// For a Pod that wants to set kernel parameters which it must not.
pub fn forbidden(why: String) -> Doom {
    doom("SysctlForbidden", why)
}

fn node_affinity(pod: &Pod, node: &Node) -> Result<(), Doom> {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let spec = spec::spec(pod);
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref())
        .and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let matched =
        required.is_none_or(|r| r.node_selector_terms.iter().any(|t| term(t, &labels, name)));
    if selected && matched {
        return Ok(());
    }
    let message =
        "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
    Err(doom("NodeAffinity", message.into()))
}

fn term(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let by_label = term.match_expressions.clone().unwrap_or_default();
    let by_field = term.match_fields.clone().unwrap_or_default();
    // A term without requirements matches nothing.
    (!by_label.is_empty() || !by_field.is_empty())
        && by_label.iter().all(|r| requirement(r, labels.get(&r.key).map(String::as_str)))
        && by_field.iter().all(|r| requirement(r, (r.key == "metadata.name").then_some(name)))
}

fn requirement(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.clone().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|v| v == value));
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(have, limit)| have > limit),
        "Lt" => numbers().is_some_and(|(have, limit)| have < limit),
        _ => false,
    }
}

fn host_ports(pod: &Pod) -> Vec<(String, i32, String)> {
    let spec = spec::spec(pod);
    let host_network = spec::host_network(pod);
    let sidecars = spec.init_containers.iter().flatten().filter(|c| spec::is_sidecar(c));
    spec.containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten())
        .filter_map(|port| {
            let number = port
                .host_port
                .filter(|&n| n != 0)
                .or(host_network.then_some(port.container_port))?;
            let ip = port.host_ip.clone().filter(|ip| !ip.is_empty());
            Some((
                port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                number,
                ip.unwrap_or_else(|| "0.0.0.0".into()),
            ))
        })
        .collect()
}

fn ports(pod: &Pod, others: &[Arc<Pod>]) -> Result<(), Doom> {
    let taken: Vec<_> = others.iter().flat_map(|other| host_ports(other)).collect();
    let clash = host_ports(pod).into_iter().any(|(protocol, number, ip)| {
        taken.iter().any(|(other, n, at)| {
            *other == protocol && *n == number && (*at == ip || ip == "0.0.0.0" || at == "0.0.0.0")
        })
    });
    if !clash {
        return Ok(());
    }
    let message =
        "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    Err(doom("NodePorts", message.into()))
}

/// What a Pod takes of `resource`, in milli-units: the greater of its regular containers with
/// sidecars, and of each init container with the sidecars before it; plus overhead.
pub fn requested(pod: &Pod, resource: &str) -> i64 {
    let spec = spec::spec(pod);
    let of = |resources: &Option<ResourceRequirements>| -> i64 {
        let requests = resources.as_ref().and_then(|r| r.requests.as_ref());
        requests.and_then(|r| r.get(resource)).map_or(0, amount)
    };
    let mut sidecars = 0;
    let mut peak = 0;
    for container in spec.init_containers.iter().flatten() {
        if spec::is_sidecar(container) {
            sidecars += of(&container.resources);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars + of(&container.resources));
        }
    }
    let regular: i64 = spec.containers.iter().map(|c| of(&c.resources)).sum();
    let overhead = spec.overhead.as_ref().and_then(|o| o.get(resource)).map_or(0, amount);
    let whole = of(&spec.resources);
    let total = if whole > 0 { whole } else { peak.max(regular + sidecars) };
    total + overhead
}

/// A quantity in milli-units; 0 for what is none.
pub fn amount(quantity: &Text) -> i64 {
    quantity.0.parse::<Quantity>().map_or(0, |quantity| quantity.milli_value())
}

fn resources(pod: &Pod, node: &Node, others: &[Arc<Pod>]) -> Result<(), Doom> {
    match shortage(pod, node, others) {
        Some((resource, message)) => Err(doom(&format!("OutOf{resource}"), message)),
        None => Ok(()),
    }
}

/// What the node has too little of for `pod` besides the others, and how that is said.
pub fn shortage(pod: &Pod, node: &Node, others: &[Arc<Pod>]) -> Option<(String, String)> {
    let status = node.status.clone().unwrap_or_default();
    let allocatable = status.allocatable.unwrap_or_default();
    for (resource, capacity) in &allocatable {
        // The unit in which upstream prints it: CPU in thousandths, the rest in ones.
        let unit = if resource == "cpu" { 1 } else { 1000 };
        let capacity = amount(capacity);
        let (wanted, used) = if resource == "pods" {
            (1000, i64::try_from(others.len()).unwrap_or(i64::MAX / 1000) * 1000)
        } else {
            (requested(pod, resource), others.iter().map(|p| requested(p, resource)).sum())
        };
        if wanted > 0 && wanted + used > capacity {
            let message = format!(
                "Node didn't have enough resource: {resource}, requested: {}, used: {}, capacity: {}",
                wanted / unit,
                used / unit,
                capacity / unit
            );
            return Some((resource.clone(), message));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node() -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": "w1", "labels": {"disk": "ssd"}},
            "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3"}}
        }))
        .unwrap()
    }

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn check(spec: serde_json::Value, others: &[Arc<Pod>], expected: Option<(&str, &str)>) {
        let got = admit(&pod(spec), &node(), others).err();
        let got = got.as_ref().map(|d| (d.reason.as_str(), d.message.as_str()));
        assert_eq!(got, expected);
    }

    #[test]
    fn verdicts_are_worded_as_upstream() {
        let cpu = |amount: &str| json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]});
        check(cpu("1"), &[], None);
        check(
            cpu("1500m"),
            &[Arc::new(pod(cpu("1")))],
            Some((
                "OutOfcpu",
                "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000",
            )),
        );
        check(
            json!({"containers": [], "nodeSelector": {"disk": "hdd"}}),
            &[],
            Some((
                "NodeAffinity",
                "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
            )),
        );
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        check(
            port.clone(),
            &[Arc::new(pod(port))],
            Some((
                "NodePorts",
                "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
            )),
        );
    }
}
