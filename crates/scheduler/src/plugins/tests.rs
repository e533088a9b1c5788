//! Pods and nodes, written as JSON as a user would write them, through whole cycles.

use std::sync::Arc;

use serde_json::{Value, json};

use super::default_profile;
use crate::cluster::{Cluster, OwnerKind};
use crate::cycle::{enough, schedule};
use crate::objects::{Node, Pod};
use crate::preemption::preempt;

fn merge(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more.clone(),
    }
}

fn node(name: &str, more: Value) -> Arc<Node> {
    let mut node = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "status": { "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "10" } },
    });
    merge(&mut node, &more);
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(name: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "default", "uid": name },
        "spec": { "containers": [{ "name": "c", "image": "app" }] },
    });
    merge(&mut pod, &more);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn requesting(name: &str, cpu: &str, more: Value) -> Arc<Pod> {
    let mut spec = json!({ "spec": { "containers": [
        { "name": "c", "image": "app", "resources": { "requests": { "cpu": cpu } } },
    ]}});
    merge(&mut spec, &more);
    pod(name, spec)
}

fn cluster(nodes: &[Arc<Node>]) -> Cluster {
    let mut cluster = Cluster::default();
    for node in nodes {
        cluster.set_node(Arc::clone(node));
    }
    cluster
}

/// The node that the first of equals gets, or the message.
fn place(cluster: &Cluster, pod: &Pod) -> Result<String, String> {
    schedule(&default_profile(), pod, cluster, &mut 0, &mut |_| 0)
        .map(|at| cluster.nodes()[at].name().to_owned())
        .map_err(|error| error.to_string())
}

fn on(cluster: &mut Cluster, node: &str, pod: &Arc<Pod>) {
    let mut placed = Pod::clone(pod);
    placed.node_name = Some(node.to_owned());
    cluster.set_pod(Arc::new(placed));
}

fn check(cluster: &Cluster, pod: &Pod, want: Result<&str, &str>) {
    let got = place(cluster, pod);
    assert_eq!(got.as_deref().map_err(String::as_str), want);
}

#[test]
fn a_resize_counts_until_it_is_done() {
    let mut cluster = cluster(&[node("a", json!({}))]);
    let mut resized = |granted: &str, has: &str, conditions: Value, fits: bool| {
        let status = json!({"conditions": conditions, "containerStatuses": [{"name": "c",
            "allocatedResources": {"cpu": granted}, "resources": {"requests": {"cpu": has}}}]});
        on(&mut cluster, "a", &requesting("x", "2", json!({"status": status})));
        let want = if fits { Ok("a") } else { Err("0/1 nodes are available: 1 Insufficient cpu.") };
        check(&cluster, &requesting("p", "2", json!({})), want);
    };
    resized("1", "1", json!([]), true);
    resized("2500m", "1", json!([]), false);
    resized("1", "2500m", json!([]), false);
    let grown = requesting(
        "x",
        "2500m",
        json!({"status": {"containerStatuses": [
        {"name": "c", "resources": {}, "allocatedResources": {"cpu": "1"}}]}}),
    );
    let pending = |reason: &str| {
        let mut pod = json!({"status": {"conditions":
            [{"type": "PodResizePending", "status": "True", "reason": reason}],
            "containerStatuses": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}});
        pod["spec"] = json!({"containers": [{"name": "c", "image": "app",
            "resources": {"requests": {"cpu": "2500m"}}}]});
        pod_of(pod).requests.milli_cpu
    };
    assert_eq!(grown.requests.milli_cpu, 2500);
    assert_eq!((pending("Deferred"), pending("Infeasible")), (2500, 1000));
}

fn pod_of(pod: Value) -> Pod {
    serde_json::from_value(pod).unwrap()
}

#[test]
fn nodes_must_declare_what_a_pod_needs() {
    let needy = pod(
        "p",
        json!({"spec": {"containers": [{"name": "c", "image": "app",
        "restartPolicy": "Never", "restartPolicyRules": [{"action": "RestartAllContainers"}]}]}}),
    );
    let mut cluster = cluster(&[node("a", json!({}))]);
    check(
        &cluster,
        &needy,
        Err("0/1 nodes are available: 1 node(s) didn't match Pod's required features."),
    );
    let declared =
        json!({"status": {"declaredFeatures": ["RestartAllContainersOnContainerExits"]}});
    let (old, new) = (node("a", json!({})), node("a", declared));
    let change = crate::events::Change::NodeUpdated { old: &old, new: &new };
    assert_eq!(change.kinds(), crate::events::Events::NODE_FEATURES);
    cluster.set_node(Arc::clone(&new));
    check(&cluster, &needy, Ok("a"));
}

#[test]
fn resources_are_counted_and_shortage_is_named() {
    let mut cluster = cluster(&[node("a", json!({})), node("b", json!({}))]);
    on(&mut cluster, "a", &requesting("x", "3500m", json!({})));
    check(&cluster, &requesting("p", "2", json!({})), Ok("b"));
    on(&mut cluster, "b", &requesting("y", "3", json!({})));
    check(
        &cluster,
        &requesting("p", "2", json!({})),
        Err("0/2 nodes are available: 2 Insufficient cpu."),
    );
    let greedy = pod(
        "p",
        json!({ "spec": { "containers": [{ "resources": { "requests": {
        "cpu": "5", "memory": "9Gi", "example.com/gpu": "1" } } }] } }),
    );
    check(
        &cluster,
        &greedy,
        Err("0/2 nodes are available: 2 Insufficient cpu, 2 Insufficient example.com/gpu, \
             2 Insufficient memory."),
    );
    cluster.remove_pod("x");
    check(&cluster, &requesting("p", "2", json!({})), Ok("a"));
}

#[test]
fn sidecars_add_up_and_init_containers_count_by_their_peak() {
    let cluster = cluster(&[node("a", json!({}))]);
    let with = |cpu: &str| {
        pod(
            "p",
            json!({ "spec": {
                "initContainers": [
                    { "restartPolicy": "Always", "resources": { "requests": { "cpu": "1" } } },
                    { "resources": { "requests": { "cpu": "2500m" } } },
                ],
                "containers": [{ "resources": { "requests": { "cpu": cpu } } }],
            }}),
        )
    };
    assert_eq!(with("1").requests.milli_cpu, 3500);
    assert_eq!(with("2800m").requests.milli_cpu, 3800);
    check(&cluster, &with("3"), Ok("a"));
    check(&cluster, &with("3100m"), Err("0/1 nodes are available: 1 Insufficient cpu."));
}

#[test]
fn a_full_node_says_so() {
    let mut cluster =
        cluster(&[node("a", json!({ "status": { "allocatable": { "pods": "1" } } }))]);
    on(&mut cluster, "a", &pod("x", json!({})));
    check(&cluster, &pod("p", json!({})), Err("0/1 nodes are available: 1 Too many pods."));
}

#[test]
fn no_nodes_at_all() {
    check(&Cluster::default(), &pod("p", json!({})), Err("no nodes available to schedule pods"));
}

#[test]
fn taints_cordons_and_tolerations() {
    let taint = |effect: &str| json!({ "spec": { "taints": [{ "key": "k", "value": "v", "effect": effect }] } });
    let cluster = cluster(&[
        node("tainted", taint("NoSchedule")),
        node("cordoned", json!({ "spec": { "unschedulable": true } })),
        node("soft", taint("PreferNoSchedule")),
    ]);
    check(&cluster, &pod("p", json!({})), Ok("soft"));
    let tolerant = |toleration: Value| pod("p", json!({ "spec": { "tolerations": [toleration] } }));
    check(&cluster, &tolerant(json!({ "operator": "Exists" })), Ok("tainted"));
    check(&cluster, &tolerant(json!({ "key": "k", "value": "v" })), Ok("tainted"));
    check(&cluster, &tolerant(json!({ "key": "k", "value": "w" })), Ok("soft"));

    let mut cluster = cluster;
    cluster.remove_node("soft");
    check(
        &cluster,
        &pod("p", json!({})),
        Err("0/2 nodes are available: 1 node(s) had untolerated taint(s), \
             1 node(s) were unschedulable."),
    );
}

#[test]
fn node_selectors_and_affinity() {
    let zone =
        |z: &str, n: i64| json!({ "metadata": { "labels": { "zone": z, "n": n.to_string() } } });
    let cluster = cluster(&[node("a", zone("east", 1)), node("b", zone("west", 5))]);
    let selecting = |spec: Value| pod("p", json!({ "spec": spec }));
    check(&cluster, &selecting(json!({ "nodeSelector": { "zone": "west" } })), Ok("b"));
    check(
        &cluster,
        &selecting(json!({ "nodeSelector": { "zone": "north" } })),
        Err("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."),
    );
    let required = |expression: Value| {
        selecting(json!({ "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchExpressions": [expression] } ] } } } }))
    };
    for (operator, values, want) in [
        ("In", json!(["west"]), "b"),
        ("NotIn", json!(["east"]), "b"),
        ("NotIn", json!(["west"]), "a"),
        ("Exists", json!([]), "a"),
    ] {
        let expression = json!({ "key": "zone", "operator": operator, "values": values });
        check(&cluster, &required(expression), Ok(want));
    }
    check(&cluster, &required(json!({ "key": "n", "operator": "Gt", "values": ["3"] })), Ok("b"));
    let preferred = selecting(json!({ "affinity": { "nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 50, "preference": {
            "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["west"] }] } }] } } }));
    check(&cluster, &preferred, Ok("b"));
}

#[test]
fn a_daemon_pod_is_for_one_node() {
    let cluster = cluster(&[
        node("a", json!({})),
        node("b", json!({ "status": { "allocatable": { "pods": "0" } } })),
    ]);
    let daemon = |name: &str| {
        pod(
            "p",
            json!({ "spec": { "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [name] }] },
            ] } } } } }),
        )
    };
    check(&cluster, &daemon("a"), Ok("a"));
    check(
        &cluster,
        &daemon("b"),
        Err("0/2 nodes are available: 1 Too many pods, 1 node(s) didn't satisfy plugin(s) \
             [NodeAffinity]."),
    );
}

#[test]
fn host_ports_collide_on_overlapping_addresses() {
    let port = |name: &str, ip: &str| {
        pod(
            name,
            json!({ "spec": { "containers": [{ "ports": [
            { "containerPort": 80, "hostPort": 80, "hostIP": ip } ] }] } }),
        )
    };
    let mut cluster = cluster(&[node("a", json!({}))]);
    on(&mut cluster, "a", &port("x", "10.0.0.1"));
    check(&cluster, &port("p", "10.0.0.2"), Ok("a"));
    for ip in ["10.0.0.1", ""] {
        check(
            &cluster,
            &port("p", ip),
            Err("0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod \
                 ports."),
        );
    }
}

#[test]
fn emptier_nodes_and_present_images_are_liked() {
    let image =
        json!({ "status": { "images": [{ "names": ["app:latest"], "sizeBytes": 500_000_000 }] } });
    let mut cluster = cluster(&[node("a", json!({})), node("b", image)]);
    check(&cluster, &pod("p", json!({})), Ok("b"));
    on(&mut cluster, "b", &requesting("x", "3", json!({})));
    check(&cluster, &pod("p", json!({})), Ok("a"));
}

#[test]
fn replicas_are_spread_by_default() {
    let mut cluster = cluster(&[node("a", json!({})), node("b", json!({}))]);
    let selector = machinery::selector::LabelSelector::parse("app=web").unwrap();
    cluster.set_owner(OwnerKind::ReplicaSet, "default", "web", Some(selector));
    let replica = |name: &str| {
        pod(
            name,
            json!({ "metadata": { "labels": { "app": "web" }, "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u",
              "controller": true } ] } }),
        )
    };
    // The other node is fuller, but has no replica yet.
    on(&mut cluster, "b", &requesting("x", "500m", json!({})));
    on(&mut cluster, "a", &replica("r1"));
    check(&cluster, &replica("r2"), Ok("b"));
}

fn spreading(name: &str, skew: i64, when: &str) -> Arc<Pod> {
    pod(
        name,
        json!({
            "metadata": { "labels": { "app": "web" } },
            "spec": { "topologySpreadConstraints": [{
                "maxSkew": skew, "topologyKey": "zone", "whenUnsatisfiable": when,
                "labelSelector": { "matchLabels": { "app": "web" } } }] },
        }),
    )
}

#[test]
fn hard_spread_constraints_bound_the_skew() {
    let zone = |z: &str| json!({ "metadata": { "labels": { "zone": z } } });
    let full = json!({ "metadata": { "labels": { "zone": "b" } },
                       "status": { "allocatable": { "pods": "0" } } });
    let mut cluster = cluster(&[node("a", zone("a")), node("b", full), node("c", json!({}))]);
    on(&mut cluster, "a", &spreading("x", 1, "DoNotSchedule"));
    check(
        &cluster,
        &spreading("p", 1, "DoNotSchedule"),
        Err(
            "0/3 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread \
             constraints, 1 node(s) didn't match pod topology spread constraints (missing required \
             label).",
        ),
    );
    check(&cluster, &spreading("p", 2, "DoNotSchedule"), Ok("a"));
    check(&cluster, &spreading("p", 1, "ScheduleAnyway"), Ok("a"));
}

fn affine(name: &str, kind: &str, app: &str) -> Arc<Pod> {
    pod(
        name,
        json!({
            "metadata": { "labels": { "app": name } },
            "spec": { "affinity": { kind: { "requiredDuringSchedulingIgnoredDuringExecution": [{
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": { "matchLabels": { "app": app } } }] } } },
        }),
    )
}

#[test]
fn pods_keep_near_or_far() {
    let labelled = |name: &str| pod(name, json!({ "metadata": { "labels": { "app": name } } }));
    let mut cluster = cluster(&[node("a", json!({})), node("b", json!({}))]);
    check(
        &cluster,
        &affine("p", "podAffinity", "db"),
        Err("0/2 nodes are available: 2 node(s) didn't match pod affinity rules."),
    );
    check(&cluster, &affine("p", "podAffinity", "p"), Ok("a"));
    on(&mut cluster, "b", &labelled("db"));
    check(&cluster, &affine("p", "podAffinity", "db"), Ok("b"));
    check(&cluster, &affine("p", "podAntiAffinity", "db"), Ok("a"));
    on(&mut cluster, "a", &affine("hermit", "podAntiAffinity", "p"));
    check(&cluster, &labelled("p"), Ok("b"));
    check(
        &cluster,
        &affine("p", "podAntiAffinity", "db"),
        Err("0/2 nodes are available: 1 node(s) didn't match pod anti-affinity rules, 1 node(s) \
             didn't satisfy existing pods anti-affinity rules."),
    );
}

fn preempted(cluster: &Cluster, pod: &Pod) -> Result<(String, Vec<String>), String> {
    let plugins = default_profile();
    let error = schedule(&plugins, pod, cluster, &mut 0, &mut |_| 0).unwrap_err();
    preempt(&plugins, pod, cluster, &error)
        .map(|p| (p.node, p.victims.iter().map(|v| v.name().to_owned()).collect()))
}

#[test]
fn preemption_takes_the_least_important() {
    let priority = |p: i64| json!({ "spec": { "priority": p } });
    let tainted = json!({ "spec": { "taints": [{ "key": "k", "effect": "NoSchedule" }] } });
    let mut cluster = cluster(&[node("a", json!({})), node("b", json!({})), node("t", tainted)]);
    on(&mut cluster, "a", &requesting("a1", "2", priority(5)));
    on(&mut cluster, "a", &requesting("a2", "2", priority(1)));
    on(&mut cluster, "b", &requesting("b1", "3", priority(3)));
    let check = |pod: &Pod, want: Result<(&str, &[&str]), &str>| {
        let got = preempted(&cluster, pod);
        let want = want.map(|(n, v)| (n.to_owned(), v.iter().map(|v| (*v).to_owned()).collect()));
        assert_eq!(got, want.map_err(str::to_owned));
    };
    check(&requesting("p", "2", priority(10)), Ok(("a", &["a2"])));
    check(&requesting("p", "3", priority(10)), Ok(("b", &["b1"])));
    check(
        &requesting("p", "2", priority(0)),
        Err("0/3 nodes are available: 1 Preemption is not helpful for scheduling, \
             2 No preemption victims found for incoming pod."),
    );
    check(
        &requesting("p", "5", priority(10)),
        Err("0/3 nodes are available: 3 Preemption is not helpful for scheduling."),
    );
}

#[test]
fn room_made_for_a_pod_is_kept_for_it() {
    let mut cluster = cluster(&[node("a", json!({}))]);
    let urgent = requesting("urgent", "3", json!({ "spec": { "priority": 10 } }));
    cluster.nominate(Arc::clone(&urgent), "a");
    check(
        &cluster,
        &requesting("p", "2", json!({})),
        Err("0/1 nodes are available: 1 Insufficient cpu."),
    );
    check(&cluster, &urgent, Ok("a"));
    check(&cluster, &requesting("q", "2", json!({ "spec": { "priority": 11 } })), Ok("a"));
}

#[test]
fn pods_of_unknown_nodes_count_once_the_node_comes() {
    let mut cluster = Cluster::default();
    on(&mut cluster, "a", &requesting("x", "3", json!({})));
    cluster.set_node(node("a", json!({})));
    let big = requesting("p", "2", json!({}));
    check(&cluster, &big, Err("0/1 nodes are available: 1 Insufficient cpu."));
    cluster.remove_node("a");
    cluster.set_node(node("a", json!({})));
    check(&cluster, &big, Err("0/1 nodes are available: 1 Insufficient cpu."));
    cluster.remove_pod("x");
    check(&cluster, &big, Ok("a"));
}

#[test]
fn assumptions_can_be_taken_back_until_confirmed() {
    let mut cluster = cluster(&[node("a", json!({}))]);
    let first = requesting("x", "3", json!({}));
    cluster.assume(Arc::clone(&first), "a");
    assert_eq!(cluster.nodes()[0].requested.milli_cpu, 3000);
    cluster.forget("x");
    assert_eq!(cluster.nodes()[0].requested.milli_cpu, 0);
    cluster.assume(Arc::clone(&first), "a");
    on(&mut cluster, "a", &first);
    cluster.forget("x");
    assert_eq!(cluster.nodes()[0].requested.milli_cpu, 3000);
}

#[test]
fn as_many_nodes_are_looked_at_as_upstream_does() {
    for (nodes, want) in [(3, 3), (99, 99), (100, 100), (200, 100), (1000, 420), (6000, 300)] {
        assert_eq!(enough(nodes), want, "{nodes}");
    }
}
