//! The scheduler against a real API server, with the rights that it has in a cluster.
#![allow(clippy::unwrap_used)] // A test that meets an error must fail.

use client::{Api, Client, ConnectOptions};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use serde_json::{Value, json};
use testkit::{ApiServer, fixtures, send_json};
use tokio_util::sync::CancellationToken;

use futures::StreamExt as _;

const PODS: &str = "/api/v1/namespaces/default/pods";

async fn create(client: &Client, path: &str, object: &Value) {
    let answer = send_json(client, "POST", path, object).await.unwrap();
    assert!(answer.code == 201 || answer.code == 409, "{path}: {} {}", answer.code, answer.text);
}

async fn node(client: &Client, name: &str, cpu: &str) {
    let object = json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
    });
    create(client, "/api/v1/nodes", &object).await;
    let status = json!({ "status": { "allocatable": { "cpu": cpu, "memory": "4Gi", "pods": "5" },
                                     "capacity": { "cpu": cpu, "memory": "4Gi", "pods": "5" } } });
    let api: Api<Node> = Api::all(client.clone());
    let patch = kube::api::Patch::Merge(status);
    api.patch_status(name, &Default::default(), &patch).await.unwrap();
    // New nodes are tainted not-ready; taking that away is the node lifecycle controller's part.
    let ready = kube::api::Patch::Merge(json!({ "spec": { "taints": null } }));
    api.patch(name, &Default::default(), &ready).await.unwrap();
}

fn pod(name: &str, cpu: &str, more: Value) -> Value {
    let mut pod = fixtures::pod(name);
    pod["spec"]["containers"][0]["resources"] = json!({ "requests": { "cpu": cpu } });
    for (key, value) in more.as_object().unwrap() {
        pod["spec"][key] = value.clone();
    }
    pod
}

/// Waits until an object of `api` satisfies `wanted`, and returns it.
async fn until<K>(api: Api<K>, wanted: impl Fn(&K) -> bool) -> K
where
    K: client::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let stream = watcher::watcher(api, watcher::Config::default()).applied_objects();
    let mut stream = std::pin::pin!(stream);
    let find = async {
        loop {
            match stream.next().await.unwrap() {
                Ok(object) if wanted(&object) => return object,
                Ok(_) => {}
                Err(error) => eprintln!("watch: {error}"),
            }
        }
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, find).await.expect("it happens within a minute")
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

fn is(pod: &Pod, name: &str) -> bool {
    pod.metadata.name.as_deref() == Some(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_get_nodes_reasons_and_room() {
    let server = ApiServer::start().await.unwrap();
    let admin = server.client().unwrap();
    let account = fixtures::service_account("default");
    create(&admin, "/api/v1/namespaces/default/serviceaccounts", &account).await;
    node(&admin, "a", "2").await;
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
    let events: Api<Event> = Api::namespaced(admin.clone(), "default");

    let kubeconfig = server.folder().join("scheduler.conf");
    let text = server.kubeconfig_for("system:kube-scheduler", &[]).unwrap();
    std::fs::write(&kubeconfig, text).unwrap();
    let connect = ConnectOptions { kubeconfig: Some(kubeconfig), ..Default::default() };
    let mut config = scheduler::Config::new(connect, "test");
    config.ops_address = ([127, 0, 0, 1], 0).into();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(scheduler::run(config, shutdown.clone()));

    // A Pod that fits is bound and says so.
    create(&admin, PODS, &pod("small", "1", json!({}))).await;
    let bound = until(pods.clone(), |p| is(p, "small") && node_of(p).is_some()).await;
    assert_eq!(node_of(&bound), Some("a"));
    let condition = |pod: &Pod| {
        let conditions = pod.status.clone().unwrap_or_default().conditions.unwrap_or_default();
        conditions.into_iter().find(|c| c.type_ == "PodScheduled")
    };
    assert_eq!(condition(&bound).map(|c| c.status).as_deref(), Some("True"));
    until(events.clone(), |e| e.reason.as_deref() == Some("Scheduled")).await;

    // One that does not fit says why, and is bound as soon as there is room.
    create(&admin, PODS, &pod("big", "1500m", json!({}))).await;
    let waiting = until(pods.clone(), |p| is(p, "big") && condition(p).is_some()).await;
    let why = condition(&waiting).unwrap();
    let message = "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, \
                   preemption: 0/1 nodes are available: 1 No preemption victims found for incoming \
                   pod.";
    assert_eq!(why.status, "False");
    assert_eq!(why.reason.as_deref(), Some("Unschedulable"));
    assert_eq!(why.message.as_deref(), Some(message));
    let event = until(events.clone(), |e| e.reason.as_deref() == Some("FailedScheduling")).await;
    assert_eq!(event.message.as_deref(), Some(message));
    assert_eq!(event.type_.as_deref(), Some("Warning"));
    node(&admin, "b", "2").await;
    let bound = until(pods.clone(), |p| is(p, "big") && node_of(p).is_some()).await;
    assert_eq!(node_of(&bound), Some("b"));

    // One for another scheduler is left alone; an important one pushes the least important out.
    create(&admin, PODS, &pod("foreign", "1m", json!({ "schedulerName": "other" }))).await;
    let class = json!({ "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
                        "metadata": { "name": "high" }, "value": 1000 });
    create(&admin, "/apis/scheduling.k8s.io/v1/priorityclasses", &class).await;
    let urgent = pod("urgent", "1800m", json!({ "priorityClassName": "high" }));
    create(&admin, PODS, &urgent).await;
    let nominated = until(pods.clone(), |p| {
        let status = p.status.as_ref();
        is(p, "urgent") && status.is_some_and(|s| s.nominated_node_name.is_some())
    })
    .await;
    let node = nominated.status.unwrap().nominated_node_name.unwrap();
    let victim = if node == "a" { "small" } else { "big" };
    let dying =
        until(pods.clone(), |p| is(p, victim) && p.metadata.deletion_timestamp.is_some()).await;
    let conditions = dying.status.unwrap().conditions.unwrap();
    let reason = conditions.into_iter().find(|c| c.type_ == "DisruptionTarget").unwrap().reason;
    assert_eq!(reason.as_deref(), Some("PreemptionByScheduler"));
    // The kubelet's part: the Pod has stopped.
    let now = kube::api::DeleteParams::default().grace_period(0);
    pods.delete(victim, &now).await.unwrap();
    let bound = until(pods.clone(), |p| is(p, "urgent") && node_of(p).is_some()).await;
    assert_eq!(node_of(&bound), Some(node.as_str()));
    assert_eq!(node_of(&pods.get("foreign").await.unwrap()), None);

    // Stopping gives the lease back.
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let leases: Api<Lease> = Api::namespaced(admin, "kube-system");
    let holder = leases.get("kube-scheduler").await.unwrap().spec.unwrap().holder_identity;
    assert_eq!(holder.unwrap_or_default(), "");
}
