use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSpec, PodSpec, PodStatus, Taint};
use k8s_openapi::jiff::SignedDuration;

use super::plan::{QUARANTINE, missing_nodes, plan};
use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn pod(name: &str, node: Option<&str>, phase: &str, deleting: bool) -> Arc<Pod> {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.into());
    pod.metadata.uid = Some(name.into());
    pod.metadata.deletion_timestamp = deleting.then(|| Time(at(0)));
    pod.spec = Some(PodSpec { node_name: node.map(Into::into), ..PodSpec::default() });
    pod.status = Some(PodStatus { phase: Some(phase.into()), ..PodStatus::default() });
    Arc::new(pod)
}

fn node(name: &str, out_of_service: bool) -> Arc<Node> {
    let mut node = Node::default();
    node.metadata.name = Some(name.into());
    node.spec = Some(NodeSpec {
        taints: out_of_service.then(|| {
            vec![Taint {
                key: "node.kubernetes.io/out-of-service".into(),
                effect: "NoExecute".into(),
                ..Taint::default()
            }]
        }),
        ..NodeSpec::default()
    });
    Arc::new(node)
}

fn names(plan: &[(Arc<Pod>, Reason)]) -> Vec<(&str, Reason)> {
    plan.iter().map(|(pod, reason)| (pod.nm(), *reason)).collect()
}

#[test]
fn pods_of_a_lost_node_go_after_the_quarantine() {
    let pods =
        [pod("here", Some("w1"), "Running", false), pod("lost", Some("w2"), "Running", false)];
    let nodes = [node("w1", false)];
    let gone = missing_nodes(&pods, &nodes, &HashMap::new(), at(0));
    assert!(plan(&pods, &nodes, &gone, 10, at(39)).is_empty());
    let still_gone = missing_nodes(&pods, &nodes, &gone, at(39));
    let later = at(0) + QUARANTINE;
    assert_eq!(names(&plan(&pods, &nodes, &still_gone, 10, later)), [("lost", Reason::Orphaned)]);
    let back = [node("w1", false), node("w2", false)];
    assert!(missing_nodes(&pods, &back, &still_gone, later).is_empty());
    assert!(SignedDuration::ZERO < QUARANTINE);
}

#[test]
fn deleted_pods_without_a_kubelet_go_at_once() {
    let pods = [
        pod("unscheduled", None, "Pending", true),
        pod("waiting", None, "Pending", false),
        pod("on-dead-node", Some("w1"), "Running", true),
        pod("ending", Some("w2"), "Running", true),
    ];
    let nodes = [node("w1", true), node("w2", false)];
    assert_eq!(
        names(&plan(&pods, &nodes, &HashMap::new(), 10, at(0))),
        [("unscheduled", Reason::Unscheduled), ("on-dead-node", Reason::OutOfService)]
    );
}

#[test]
fn ended_pods_beyond_the_threshold_go() {
    let pods: Vec<_> =
        (0..5).map(|n| pod(&format!("p{n}"), Some("w1"), "Succeeded", false)).collect();
    let nodes = [node("w1", false)];
    let planned = plan(&pods, &nodes, &HashMap::new(), 3, at(0));
    assert_eq!(names(&planned), [("p0", Reason::Terminated), ("p1", Reason::Terminated)]);
    let left: Vec<_> = pods[2..].to_vec();
    assert!(plan(&left, &nodes, &HashMap::new(), 3, at(0)).is_empty());
}
