//! Resizing the containers of running Pods: API server, kubelet, container runtime and kernel.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Node, Pod, PodStatus, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use testkit::ApiServer;

use crate::harness::{Containerd, IMAGE};
use crate::pods::Kubelet;

/// `cpu/memory` in m and Mi, for requests and limits alike.
fn resources(size: &str) -> Value {
    let (cpu, memory) = size.split_once('/').unwrap();
    let list = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")});
    json!({"requests": list, "limits": list})
}

struct World {
    pods: Api<Pod>,
    events: Api<Event>,
    cgroup: String,
}

impl World {
    async fn create(&self, name: &str, spec: Value) {
        let mut pod = json!({"metadata": {"name": name}, "spec": {"nodeName": "n1",
            "hostNetwork": true, "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": false}});
        for (field, value) in spec.as_object().unwrap() {
            pod["spec"][field] = value.clone();
        }
        for container in pod["spec"]["containers"].as_array_mut().unwrap() {
            container["image"] = IMAGE.into();
            container["command"] = json!(["sleep", "10000"]);
        }
        let pod: Pod = serde_json::from_value(pod).unwrap();
        self.pods.create(&PostParams::default(), &pod).await.unwrap();
    }

    async fn resize(&self, name: &str, spec: Value) {
        let patch = Patch::Strategic(json!({ "spec": spec }));
        let parameters = PatchParams::default();
        self.pods.patch_subresource("resize", name, &parameters, &patch).await.unwrap();
    }

    /// The Pod once its status is as wanted.
    async fn until(&self, name: &str, what: &str, enough: impl Fn(&PodStatus) -> bool) -> Pod {
        let mut last = None;
        for _ in 0..300 {
            let pod = self.pods.get(name).await.unwrap();
            let known = pod.status.as_ref().is_some_and(|status| {
                status.observed_generation == pod.metadata.generation && enough(status)
            });
            if known {
                return pod;
            }
            last = pod.status;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("not {what}: {}", serde_json::to_string_pretty(&last).unwrap());
    }

    /// The Pod once all its containers run with these resources and nothing is under way.
    async fn until_resized(&self, name: &str, sizes: &[&str]) -> Pod {
        let wanted: Vec<Value> = sizes.iter().map(|size| resources(size)).collect();
        let resized = |status: &PodStatus| {
            let containers = status.container_statuses.as_deref().unwrap_or_default();
            let have = containers.iter().map(|c| serde_json::to_value(&c.resources).unwrap());
            condition(status, "PodResizeInProgress").is_none()
                && condition(status, "PodResizePending").is_none()
                && containers.iter().all(|c| c.state.as_ref().unwrap().running.is_some())
                && have.eq(wanted.iter().cloned())
        };
        let pod = self.until(name, &format!("resized to {sizes:?}"), resized).await;
        for (at, size) in sizes.iter().enumerate() {
            let (cpu, memory) = size.split_once('/').unwrap();
            let (cpu, memory): (i64, i64) = (cpu.parse().unwrap(), memory.parse().unwrap());
            let status = &pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[at];
            let id = status.container_id.as_deref().unwrap().rsplit('/').next().unwrap();
            let expected = [cpu * 1024 / 1000, cpu * 100, memory << 20];
            assert_eq!(self.limits(&pod, id), expected, "{size} of {name}");
        }
        pod
    }

    /// Shares, quota and memory limit of a container of a Guaranteed Pod, or of the Pod.
    fn limits(&self, pod: &Pod, id: &str) -> [i64; 3] {
        let uid = pod.metadata.uid.as_deref().unwrap();
        let group = format!("{}/kubepods/pod{uid}/{id}", self.cgroup);
        let read = |controller: &str, file: &str| {
            let path = Path::new("/sys/fs/cgroup").join(controller).join(&group[1..]).join(file);
            let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            text.trim().parse().unwrap()
        };
        [
            read("cpu", "cpu.shares"),
            read("cpu", "cpu.cfs_quota_us"),
            read("memory", "memory.limit_in_bytes"),
        ]
    }

    async fn reasons(&self, name: &str) -> Vec<String> {
        let all = self.events.list(&Default::default()).await.unwrap();
        let own = all.items.into_iter().filter(|e| e.involved_object.name.as_deref() == Some(name));
        own.filter_map(|event| event.reason).filter(|r| r.starts_with("Resize")).collect()
    }
}

fn condition<'a>(status: &'a PodStatus, type_: &str) -> Option<(&'a str, &'a str)> {
    let condition = status.conditions.iter().flatten().find(|c| c.type_ == type_)?;
    let text = |text: &'a Option<String>| text.as_deref().unwrap_or_default();
    Some((text(&condition.reason), text(&condition.message)))
}

fn restarts(pod: &Pod) -> Vec<(String, i32)> {
    let all = pod.status.as_ref().unwrap().container_statuses.iter().flatten();
    all.map(|c| (c.container_id.clone().unwrap(), c.restart_count)).collect()
}

fn three(sizes: [&str; 3]) -> Value {
    let names = ["a", "b", "c"];
    let containers = names.iter().zip(sizes);
    let containers: Vec<Value> = containers
        .map(|(name, size)| json!({"name": name, "resources": resources(size)}))
        .collect();
    json!({ "containers": containers })
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_are_resized_while_they_run() {
    let Some(containerd) = Containerd::start().await else { return };
    if !Path::new("/sys/fs/cgroup/cpu/cpu.shares").exists() {
        eprintln!("reads the files of cgroup v1");
        return;
    }
    let server = ApiServer::start().await.unwrap();
    let client = server.client().unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "default");
    let account = serde_json::from_value(json!({"metadata": {"name": "default"}})).unwrap();
    accounts.create(&PostParams::default(), &account).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig: Option<PathBuf> = Some(server.kubeconfig());
    let start = || Kubelet::start(&containerd, dir.path(), kubeconfig.clone());
    let kubelet = start();
    let world = World {
        pods: Api::namespaced(client.clone(), "default"),
        events: Api::namespaced(client.clone(), "default"),
        cgroup: containerd.cgroup.clone(),
    };

    let nodes: Api<Node> = Api::all(client.clone());
    let declared = |node: Node| node.status.is_some_and(|s| s.declared_features.is_some());
    while !nodes.get_opt("n1").await.unwrap().is_some_and(declared) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // Up and down, with nothing restarted.
    let first = ["50/64", "50/64", "50/64"];
    world.create("p", three(first)).await;
    let before = restarts(&world.until_resized("p", &first).await);
    for sizes in [["100/96", "70/70", "30/48"], ["60/80", "40/40", "20/40"], first] {
        world.resize("p", three(sizes)).await;
        assert_eq!(restarts(&world.until_resized("p", &sizes).await), before);
    }
    let pod = world.pods.get("p").await.unwrap();
    assert_eq!(world.limits(&pod, ""), [153, 15_000, 192 << 20]);

    // A limit below what is used is refused, and the wish can be taken back.
    let tiny = json!({"containers": [{"name": "a", "resources":
        {"requests": {"memory": "4Ki"}, "limits": {"memory": "4Ki"}}}]});
    world.resize("p", tiny).await;
    let failed = |status: &PodStatus| {
        condition(status, "PodResizeInProgress").is_some_and(|(reason, message)| {
            reason == "Error"
                && message.starts_with(
                    "cannot decrease memory limits: attempting to set container \"a\" memory limit (4096) below current usage (",
                )
        })
    };
    world.until("p", "refused by the kernel's books", failed).await;
    world.resize("p", three(first)).await;
    world.until_resized("p", &first).await;

    // What does not fit waits for room, over a restart of the kubelet too.
    world
        .create(
            "big",
            json!({"containers": [{"name": "c",
        "resources": {"requests": {"cpu": "1200m"}}}]}),
        )
        .await;
    world.until("big", "running", |status| status.phase.as_deref() == Some("Running")).await;
    let large = ["900/64", "50/64", "50/64"];
    world.resize("p", three(large)).await;
    let deferred = |status: &PodStatus| {
        condition(status, "PodResizePending").is_some_and(|(reason, message)| {
            reason == "Deferred"
                && message.starts_with(
                    "Node didn't have enough resource: cpu, requested: 1000, used: 1200",
                )
        })
    };
    world.until("p", "deferred", deferred).await;
    kubelet.stop().await;
    let kubelet = start();
    let pod = world.until("p", "deferred", deferred).await;
    assert_eq!(restarts(&pod), before);
    let granted = pod.status.unwrap().container_statuses.unwrap().remove(0).allocated_resources;
    assert_eq!(granted.unwrap()["cpu"].0, "50m");
    world.pods.delete("big", &DeleteParams::default()).await.unwrap();
    assert_eq!(restarts(&world.until_resized("p", &large).await), before);
    let reasons = world.reasons("p").await;
    for reason in ["ResizeStarted", "ResizeCompleted", "ResizeError", "ResizeDeferred"] {
        assert!(reasons.iter().any(|r| r == reason), "no {reason} in {reasons:?}");
    }

    // Whoever asks for it is restarted, even one that would not be restarted for ending well.
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let own = |size: &str| json!({"name": "c", "resources": resources(size)});
    let mut container = own("50/64");
    container["resizePolicy"] = policy;
    world.create("r", json!({"restartPolicy": "OnFailure", "containers": [container]})).await;
    let before = restarts(&world.until_resized("r", &["50/64"]).await);
    world.resize("r", json!({"containers": [own("60/64")]})).await;
    assert_eq!(restarts(&world.until_resized("r", &["60/64"]).await), before);
    world.resize("r", json!({"containers": [own("60/70")]})).await;
    let after = restarts(&world.until_resized("r", &["60/70"]).await);
    assert_eq!((after[0].1, after[0].0 == before[0].0), (1, false));

    // The Pod as a whole.
    let whole = |size: &str| json!({"resources": resources(size), "containers": [{"name": "c"}]});
    world.create("w", whole("50/64")).await;
    for (size, limits) in [("50/64", [51, 5000, 64 << 20]), ("80/96", [81, 8000, 96 << 20])] {
        if size != "50/64" {
            world.resize("w", whole(size)).await;
        }
        let has = |status: &PodStatus| {
            let settled = condition(status, "PodResizeInProgress").is_none();
            let running = status.phase.as_deref() == Some("Running");
            let resources = serde_json::to_value(&status.resources).unwrap();
            settled && running && resources == self::resources(size)
        };
        let pod = world.until("w", "resized as a whole", has).await;
        assert_eq!(world.limits(&pod, ""), limits);
        let id = restarts(&pod)[0].0.rsplit('/').next().unwrap().to_owned();
        assert_eq!(world.limits(&pod, &id)[2], limits[2]);
    }
    kubelet.stop().await;
}
