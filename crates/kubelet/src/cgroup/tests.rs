use std::fs;

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::files::weight;
use super::resources::*;
use super::*;

fn pod(containers: serde_json::Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "p", "namespace": "n", "uid": "u-1" },
        "spec": { "containers": containers },
    }))
    .unwrap()
}

fn container_with(requests: serde_json::Value, limits: serde_json::Value) -> serde_json::Value {
    json!({ "name": "c", "resources": { "requests": requests, "limits": limits } })
}

#[test]
fn quality_of_service() {
    let check = |containers: serde_json::Value, expected: Qos| {
        assert_eq!(qos(&pod(containers.clone())), expected, "{containers}");
    };
    let full = json!({ "cpu": "1", "memory": "1Gi" });
    let guaranteed = container_with(full.clone(), full.clone());
    check(json!([{ "name": "c" }]), Qos::BestEffort);
    check(json!([guaranteed]), Qos::Guaranteed);
    check(json!([container_with(json!({}), full.clone())]), Qos::Guaranteed);
    check(json!([guaranteed, { "name": "d" }]), Qos::Burstable);
    check(json!([container_with(full.clone(), json!({}))]), Qos::Burstable);
    check(
        json!([container_with(json!({ "ephemeral-storage": "1Gi" }), json!({}))]),
        Qos::BestEffort,
    );
    check(json!([container_with(json!({ "cpu": "0" }), json!({}))]), Qos::BestEffort);
}

#[test]
fn shares_and_quotas() {
    assert_eq!([0, 1, 100, 1000, 1_000_000].map(shares), [2, 2, 102, 1024, 262_144]);
    assert_eq!([0, 1, 500, 2000].map(quota), [None, Some(1000), Some(50_000), Some(200_000)]);
    assert_eq!([2, 1024, 262_144].map(weight), [1, 39, 10_000]);
}

#[test]
fn a_pods_limit_needs_a_limit_of_every_container() {
    let limited = container_with(json!({}), json!({ "cpu": "500m", "memory": "64Mi" }));
    let limits = pod_limits(&pod(json!([limited, limited])));
    assert_eq!(limits.cpu_quota, Some(100_000));
    assert_eq!(limits.memory, Some(128 << 20));
    let half = container_with(json!({ "cpu": "250m" }), json!({ "memory": "64Mi" }));
    let limits = pod_limits(&pod(json!([limited, half])));
    assert_eq!(limits.cpu_quota, None);
    assert_eq!(limits.cpu_shares, Some(768));
    assert_eq!(limits.memory, Some(128 << 20));
}

#[test]
fn init_containers_count_at_their_peak_and_sidecars_always() {
    let mut with_init = pod(json!([container_with(json!({ "cpu": "100m" }), json!({}))]));
    let init: Vec<_> = serde_json::from_value(json!([
        { "name": "side", "restartPolicy": "Always", "resources": { "requests": { "cpu": "200m" } } },
        { "name": "init", "resources": { "requests": { "cpu": "1" } } },
    ]))
    .unwrap();
    with_init.spec.as_mut().unwrap().init_containers = Some(init);
    assert_eq!(pod_requests(&with_init).cpu_millis, 1200);
}

#[test]
fn oom_scores() {
    let node = NodeMemory { capacity: 4 << 30, unified_cgroups: false };
    let check = |containers: serde_json::Value, expected: i64| {
        let pod = pod(containers);
        let first = &pod.spec.as_ref().unwrap().containers[0];
        assert_eq!(oom_score_adj(&pod, first, &node), expected);
    };
    let full = json!({ "cpu": "1", "memory": "1Gi" });
    check(json!([{ "name": "c" }]), 1000);
    check(json!([container_with(full.clone(), full.clone())]), -997);
    check(json!([container_with(full, json!({}))]), 750);
    check(json!([container_with(json!({ "cpu": "1" }), json!({}))]), 999);
    check(json!([container_with(json!({ "memory": "4Gi" }), json!({}))]), 3);
}

/// Plain directories with the files that the kernel would make.
fn fake_v1(root: &std::path::Path) {
    for controller in ["cpu", "cpuacct", "cpuset", "memory", "pids"] {
        let path = root.join(controller);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("cgroup.procs"), "").unwrap();
    }
}

#[tokio::test]
async fn groups_of_pods_come_and_go_on_v1() {
    let root = tempfile::tempdir().unwrap();
    fake_v1(root.path());
    let cgroups = Cgroups::detect(root.path()).unwrap().with_pod_pids_limit(64);
    assert_eq!(cgroups.version(), Version::V1);
    let allocatable = NodeAllocatable { cpu_millis: 2000, memory: 1 << 30, pids: 0 };
    cgroups.ensure_roots(&allocatable).unwrap();
    let read = |path: &str| fs::read_to_string(root.path().join(path)).unwrap();
    assert_eq!(read("cpu/kubepods/cpu.shares"), "2048");
    assert_eq!(read("memory/kubepods/memory.limit_in_bytes"), (1_u64 << 30).to_string());
    let pod = pod(json!([container_with(json!({ "cpu": "100m" }), json!({}))]));
    assert_eq!(cgroups.pod_parent(&pod), "/kubepods/burstable/podu-1");
    cgroups.ensure_pod(&pod).unwrap();
    assert_eq!(read("cpu/kubepods/burstable/podu-1/cpu.shares"), "102");
    assert_eq!(read("pids/kubepods/burstable/podu-1/pids.max"), "64");
    assert_eq!(cgroups.pod_uids(), [PodUid("u-1".into())]);
    let limits = GroupLimits {
        cpu_shares: Some(512),
        cpu_quota: Some(50_000),
        memory: Some(64 << 20),
        ..GroupLimits::default()
    };
    fs::write(root.path().join("cpu/kubepods/burstable/podu-1/cpu.cfs_period_us"), "").unwrap();
    cgroups.limit_pod(&pod, &limits).unwrap();
    assert_eq!(cgroups.pod_limits(&pod), GroupLimits { pids: Some(64), ..limits });
    // The kernel's files vanish with their directory; these do not.
    for controller in ["cpu", "memory", "pids"] {
        let path = root.path().join(controller).join("kubepods/burstable/podu-1");
        for entry in fs::read_dir(path).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
    cgroups.destroy_pod(&PodUid("u-1".into())).await.unwrap();
    assert_eq!(cgroups.pod_uids(), []);
}

#[test]
fn limits_are_read_back_on_v2() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("cgroup.controllers"), "cpu memory pids").unwrap();
    let cgroups = Cgroups::detect(root.path()).unwrap().below("/tests/");
    let pod = pod(json!([container_with(json!({}), json!({ "cpu": "1", "memory": "1Gi" }))]));
    assert_eq!(cgroups.pod_parent(&pod), "/tests/kubepods/podu-1");
    let group = root.path().join("tests/kubepods/podu-1");
    fs::create_dir_all(&group).unwrap();
    for file in ["cpu.weight", "cpu.max", "memory.max"] {
        fs::write(group.join(file), "").unwrap();
    }
    cgroups.ensure_pod(&pod).unwrap();
    let limits = cgroups.pod_limits(&pod);
    assert_eq!((limits.cpu_quota, limits.memory), (Some(100_000), Some(1 << 30)));
    assert_eq!(limits.cpu_shares.map(weight), Some(39));
    fs::write(group.join("cpu.max"), "max 100000\n").unwrap();
    fs::write(group.join("memory.max"), "max\n").unwrap();
    let limits = cgroups.pod_limits(&pod);
    assert_eq!((limits.cpu_quota, limits.memory), (Some(-1), None));
}

#[test]
fn usage_leaves_out_cache_that_can_be_dropped() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("cgroup.controllers"), "cpu memory pids").unwrap();
    fs::write(root.path().join("cgroup.subtree_control"), "cpu memory pids").unwrap();
    let group = root.path().join("kubepods");
    fs::create_dir(&group).unwrap();
    fs::write(group.join("cpu.stat"), "usage_usec 5\nuser_usec 3\n").unwrap();
    fs::write(group.join("memory.current"), "1000\n").unwrap();
    fs::write(group.join("memory.stat"), "anon 300\ninactive_file 400\n").unwrap();
    let cgroups = Cgroups::detect(root.path()).unwrap();
    assert_eq!(cgroups.version(), Version::V2);
    let usage = cgroups.pods_usage();
    assert_eq!(usage.cpu_nanos, Some(5000));
    assert_eq!((usage.memory, usage.working_set, usage.rss), (Some(1000), Some(600), Some(300)));
}
