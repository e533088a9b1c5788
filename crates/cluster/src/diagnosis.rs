//! Why a cluster is not ready yet: what nodes and the Pods of `kube-system` say of themselves.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client};

use crate::status::is_ready;

/// How long the API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most lines of a report.
const LINES: usize = 20;
/// The namespace of the cluster's own Pods.
const NAMESPACE: &str = "kube-system";

/// Looks at the cluster and says in one line each what is not as it should be. `nodes` are those
/// that there should be.
pub(crate) async fn look(client: &Client, nodes: &[&str]) -> Vec<String> {
    let params = ListParams::default();
    let work = async {
        let all: Api<Node> = Api::all(client.clone());
        let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
        let events: Api<Event> = Api::namespaced(client.clone(), NAMESPACE);
        Ok::<_, kube::Error>((
            all.list(&params).await?.items,
            pods.list(&params).await?.items,
            events.list(&params).await?.items,
        ))
    };
    match tokio::time::timeout(PATIENCE, work).await {
        Err(_) => vec!["the API server does not answer".to_owned()],
        Ok(Err(error)) => vec![format!("the API server does not answer: {error}")],
        Ok(Ok((known, pods, events))) => report(nodes, &known, &pods, &events),
    }
}

fn report(wanted: &[&str], nodes: &[Node], pods: &[Pod], events: &[Event]) -> Vec<String> {
    let mut lines = Vec::new();
    for name in wanted {
        match nodes.iter().find(|node| node.metadata.name.as_deref() == Some(name)) {
            None => lines.push(format!("node {name} has not registered")),
            Some(node) => lines.extend(about_node(name, node)),
        }
    }
    for pod in pods {
        lines.extend(about_pod(pod, events));
    }
    if pods.is_empty() {
        lines.push(format!("there are no Pods in {NAMESPACE}"));
    }
    if lines.len() > LINES {
        let more = lines.len() - LINES;
        lines.truncate(LINES);
        lines.push(format!("and {more} more"));
    }
    lines
}

/// Conditions that are not as they should be; those of pressure explain why Pods stay away.
fn about_node(name: &str, node: &Node) -> Vec<String> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let bad = conditions.filter(|c| (c.status == "True") != (c.type_ == "Ready"));
    let mut lines: Vec<_> = bad
        .map(|c| {
            let what =
                if c.type_ == "Ready" { "is not Ready" } else { &format!("has {}", c.type_) };
            format!("node {name} {what}: {}", words(c.reason.as_deref(), c.message.as_deref()))
        })
        .collect();
    if lines.is_empty() && !is_ready(node) {
        lines.push(format!("node {name} has not said how it is"));
    }
    lines
}

fn about_pod(pod: &Pod, events: &[Event]) -> Option<String> {
    let status = pod.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let ready = conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True");
    let phase = status.phase.as_deref().unwrap_or("Pending");
    if ready || phase == "Succeeded" {
        return None;
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let place = node.map(|node| format!(" on node {node}")).unwrap_or_default();
    let unscheduled = conditions.iter().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses);
    let waiting = containers.flatten().find_map(waiting);
    let why = match (unscheduled, &status.reason, waiting) {
        (Some(c), ..) => words(c.reason.as_deref(), c.message.as_deref()),
        (None, Some(reason), _) => words(Some(reason), status.message.as_deref()),
        (None, None, Some(waiting)) => waiting,
        (None, None, None) => "not ready yet".to_owned(),
    };
    let mut line = format!("Pod {name}{place} is {phase}: {why}");
    if let Some(event) = last_warning(pod, events) {
        let told = words(event.reason.as_deref(), event.message.as_deref());
        if !line.contains(&told) {
            line.push_str(&format!(" ({told})"));
        }
    }
    Some(line)
}

fn waiting(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        return Some(words(waiting.reason.as_deref(), waiting.message.as_deref()));
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    Some(format!("container {} ended with exit code {}", status.name, ended.exit_code))
}

fn last_warning<'a>(pod: &Pod, events: &'a [Event]) -> Option<&'a Event> {
    let about = |event: &&Event| {
        event.type_.as_deref() == Some("Warning") && event.involved_object.uid == pod.metadata.uid
    };
    let time = |event: &&Event| event.last_timestamp.as_ref().map(|time| time.0);
    events.iter().filter(about).max_by_key(time)
}

fn words(reason: Option<&str>, message: Option<&str>) -> String {
    let parts = [reason, message].into_iter().flatten().filter(|text| !text.is_empty());
    parts.collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn object<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn node(name: &str, conditions: Value) -> Node {
        object(json!({"metadata": {"name": name}, "status": {"conditions": conditions}}))
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_else() {
        let good = json!({"type": "Ready", "status": "True"});
        let nodes = [
            node("m1", json!([good, {"type": "DiskPressure", "status": "False"}])),
            node(
                "w1",
                json!([good, {
                    "type": "DiskPressure", "status": "True",
                    "reason": "KubeletHasDiskPressure", "message": "kubelet has disk pressure",
                }]),
            ),
            node(
                "w2",
                json!([{
                    "type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "x",
                }]),
            ),
            node("w3", json!([])),
        ];
        let pods: [Pod; 4] = [
            object(json!({"metadata": {"name": "fine"},
                "status": {"phase": "Running", "conditions": [good]}})),
            object(json!({"metadata": {"name": "dns"}, "status": {"phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False",
                    "reason": "Unschedulable", "message": "0/3 nodes are available"}]}})),
            object(json!({"metadata": {"name": "proxy", "uid": "u"}, "spec": {"nodeName": "w1",
                "containers": []}, "status": {"phase": "Pending", "containerStatuses": [{
                    "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": {"waiting": {"reason": "ImagePullBackOff", "message": "m"}}}]}})),
            object(json!({"metadata": {"name": "evicted"}, "status": {"phase": "Failed",
                "reason": "Evicted", "message": "The node was low on resource"}})),
        ];
        let events: [Event; 2] = ["Failed", "Old"].map(|reason| {
            let time =
                if reason == "Old" { "2026-01-01T00:00:00Z" } else { "2026-01-01T00:00:01Z" };
            object(json!({"metadata": {}, "involvedObject": {"uid": "u"}, "type": "Warning",
                "reason": reason, "message": "no such image", "lastTimestamp": time}))
        });
        assert_eq!(
            report(&["m1", "w1", "w2", "w3", "w4"], &nodes, &pods, &events),
            [
                "node w1 has DiskPressure: KubeletHasDiskPressure: kubelet has disk pressure",
                "node w2 is not Ready: KubeletNotReady: x",
                "node w3 has not said how it is",
                "node w4 has not registered",
                "Pod dns is Pending: Unschedulable: 0/3 nodes are available",
                "Pod proxy on node w1 is Pending: ImagePullBackOff: m (Failed: no such image)",
                "Pod evicted is Failed: Evicted: The node was low on resource",
            ]
        );
        assert_eq!(report(&["m1"], &nodes, &pods[..1], &events), [""; 0]);
        assert_eq!(report(&["m1"], &nodes, &[], &events), ["there are no Pods in kube-system"]);
    }
}
