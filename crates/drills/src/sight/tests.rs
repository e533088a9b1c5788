use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde_json::{Value, json};

use super::*;

fn pod(name: &str, node: Value, status: Value) -> Arc<Pod> {
    let pod = json!({
        "metadata": {"name": name, "uid": name},
        "spec": {"nodeName": node, "containers": [{"name": "c"}]},
        "status": status,
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn running(name: &str, node: &str, id: &str, restarts: i32) -> Arc<Pod> {
    let status = json!({
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{
            "name": "c", "ready": true, "restartCount": restarts, "containerID": id,
            "image": "i", "imageID": "i",
        }],
    });
    pod(name, json!(node), status)
}

#[test]
fn pods_are_counted_and_judged() {
    let waiting = pod("new", Value::Null, json!({"phase": "Pending"}));
    let all = Pods(vec![running("a", "w1", "x", 0), running("b", "w2", "y", 2), waiting]);
    let new = all.except(&Pods(vec![running("a", "w1", "x", 0), running("b", "w2", "y", 2)]));
    assert_eq!(new.names(), ["new"]);
    assert!(new.clone().pending().and_then(Pods::unassigned).is_ok());
    assert_eq!(new.rows(), ["new  0/1  Pending  0  <none>"]);
    let error = all.clone().ready().unwrap_err();
    assert_eq!(error, "1 of 3 Pods are not ready: new  0/1  Pending  0  <none>");
    assert_eq!(all.clone().exactly(2).unwrap_err().split(':').next(), Some("3 Pods"));
    assert!(all.on("w1").ready().is_ok());
    assert_eq!(all.restarts(), 2);
    assert!(all.clone().balanced(["w1", "w2"], 0).is_ok());
    assert!(all.on("w1").balanced(["w1", "w2"], 0).is_err());
}

#[test]
fn a_restarted_container_is_not_the_same() {
    let before = Pods(vec![running("a", "w1", "x", 0)]);
    assert!(before.clone().same_containers_as(&before).is_ok());
    for other in [running("a", "w1", "y", 0), running("a", "w1", "x", 1)] {
        assert!(Pods(vec![other]).same_containers_as(&before).is_err());
    }
    assert!(before.clone().other_containers_than(&before).is_err());
    assert!(Pods(vec![running("a", "w1", "y", 1)]).other_containers_than(&before).is_ok());
    assert!(Pods(vec![running("a", "w1", "", 1)]).other_containers_than(&before).is_err());
    assert!(Pods::default().same_containers_as(&before).is_err(), "it is gone");
}

#[test]
fn a_node_shows_the_conditions_and_taints_that_were_asked_for() {
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "w1"},
        "spec": {"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]},
        "status": {"conditions": [{
            "type": "Ready", "status": "False", "reason": "KubeletNotReady",
            "message": "container runtime is down",
        }]},
    }))
    .unwrap();
    let node = NodeSight::new(Arc::new(node));
    let seen = node
        .clone()
        .condition("Ready", "False", "KubeletNotReady", "runtime is down")
        .and_then(|node| node.tainted("node.kubernetes.io/not-ready", "NoSchedule"))
        .unwrap();
    assert_eq!(
        seen.rows(),
        [
            "node/w1  Ready=False  KubeletNotReady  container runtime is down",
            "node/w1  taint node.kubernetes.io/not-ready:NoSchedule"
        ]
    );
    assert!(node.clone().ready().unwrap_err().contains("Ready=False"));
    assert!(node.clone().untainted().is_err());
    assert!(node.clone().tainted("node.kubernetes.io/not-ready", "NoExecute").is_err());
    assert!(node.clone().rebooted_since(&node).is_err());
}

#[test]
fn an_event_is_shown_with_what_it_is_about() {
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "e"}, "type": "Warning", "reason": "NodeNotReady",
        "message": "Node is not ready", "source": {"component": "node-controller"},
        "involvedObject": {"kind": "Pod", "name": "web"},
    }))
    .unwrap();
    let seen = EventSight(Arc::new(event)).saying("not ready").unwrap();
    let wanted = "event  Warning  NodeNotReady  pod/web  node-controller  Node is not ready";
    assert_eq!(seen.rows(), [wanted]);
    assert!(seen.saying("something else").is_err());
}
