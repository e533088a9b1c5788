use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::world::{World, object, until};

async fn add_node(world: &World, name: &str) {
    let nodes: Api<Node> = Api::all(world.client.clone());
    let node = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
    });
    nodes.create(&PostParams::default(), &object(node)).await.unwrap();
    report(world, name, "True").await;
}

/// What a kubelet reports.
async fn report(world: &World, name: &str, ready: &str) {
    let nodes: Api<Node> = Api::all(world.client.clone());
    let patch = json!({"status": {"conditions": [{
        "type": "Ready", "status": ready,
        "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    nodes.patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch)).await.unwrap();
}

async fn taints(nodes: &Api<Node>, name: &str) -> Vec<String> {
    let spec = nodes.get(name).await.unwrap().spec.unwrap_or_default();
    spec.taints.into_iter().flatten().map(|t| format!("{}:{}", t.key, t.effect)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_get_ranges_and_their_taints_follow_their_conditions() {
    let world = World::start(false).await;
    let nodes: Api<Node> = Api::all(world.client.clone());
    for name in ["w1", "w2"] {
        add_node(&world, name).await;
    }
    let mut ranges = Vec::new();
    for name in ["w1", "w2"] {
        let range = until(|| async { nodes.get(name).await.unwrap().spec?.pod_cidr }).await;
        assert!(range.starts_with("10.244.") && range.ends_with(".0/24"), "{range}");
        ranges.push(range);
    }
    assert_ne!(ranges[0], ranges[1]);
    report(&world, "w1", "False").await;
    let not_ready = "node.kubernetes.io/not-ready:NoSchedule".to_owned();
    until(|| async { taints(&nodes, "w1").await.contains(&not_ready).then_some(()) }).await;
    report(&world, "w1", "True").await;
    until(|| async { taints(&nodes, "w1").await.is_empty().then_some(()) }).await;
    let cordon = json!({"spec": {"unschedulable": true}});
    nodes.patch("w1", &PatchParams::default(), &Patch::Strategic(&cordon)).await.unwrap();
    let cordoned = vec!["node.kubernetes.io/unschedulable:NoSchedule".to_owned()];
    until(|| async { (taints(&nodes, "w1").await == cordoned).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_run_on_every_node_and_are_updated() {
    let world = World::start(true).await;
    for name in ["w1", "w2"] {
        add_node(&world, name).await;
    }
    let sets: Api<DaemonSet> = world.api("kube-system");
    let set: Value = json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "agent", "image": "v1"}]},
            },
        },
    });
    sets.create(&PostParams::default(), &object(set)).await.unwrap();
    let available = |count: i32| {
        let sets = sets.clone();
        move || {
            let sets = sets.clone();
            async move {
                let set = sets.get("agent").await.unwrap();
                let status = set.status?;
                let done = status.observed_generation == set.metadata.generation
                    && status.number_available == Some(count)
                    && status.updated_number_scheduled == Some(count);
                done.then_some(())
            }
        }
    };
    until(available(2)).await;
    add_node(&world, "w3").await;
    until(available(3)).await;
    let change =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "v2"}]}}}});
    sets.patch("agent", &PatchParams::default(), &Patch::Strategic(&change)).await.unwrap();
    until(available(3)).await;
    let pods: Api<Pod> = world.api("kube-system");
    let pods = pods.list(&ListParams::default().labels("app=agent")).await.unwrap().items;
    let mut nodes: Vec<String> =
        pods.iter().filter_map(|p| p.spec.as_ref()?.node_name.clone()).collect();
    nodes.sort();
    assert_eq!(nodes, ["w1", "w2", "w3"]);
    assert!(pods.iter().all(|p| p.labels().contains_key("controller-revision-hash")));
}
