use super::*;
use crate::pod::spec::Kind;
use crate::runtime::records::ContainerRecord;
use serde_json::{Value, json};

/// Resources of three containers as `cpu/memory` (in m and Mi); requests equal limits.
fn pod(sizes: &[&str]) -> Pod {
    let containers = sizes.iter().enumerate().map(|(i, size)| {
        let (cpu, memory) = size.split_once('/').unwrap();
        let list = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")});
        json!({"name": format!("c{i}"), "resources": {"requests": list, "limits": list}})
    });
    let containers: Vec<Value> = containers.collect();
    with(json!({"containers": containers}))
}

fn with(spec: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": spec})).unwrap()
}

fn running(pod: &Pod) -> PodRecord {
    let containers = spec::containers(pod).into_iter().filter(|(kind, _)| *kind != Kind::Init);
    let containers = containers.map(|(_, c)| ContainerRecord {
        id: format!("id-{}", c.name),
        name: c.name,
        state: State::Running,
        ..Default::default()
    });
    PodRecord { sandboxes: Vec::new(), containers: containers.collect() }
}

fn text(step: &Step) -> String {
    match step {
        Step::Group(limits) => {
            let part =
                |name: &str, value: Option<i64>| value.map(|value| format!("{name}={value}"));
            let memory = limits.memory.map(|bytes| bytes >> 20);
            let parts = [
                part("memory", memory),
                part("quota", limits.cpu_quota),
                part("shares", limits.cpu_shares),
            ];
            format!("pod {}", parts.into_iter().flatten().collect::<Vec<_>>().join(" "))
        }
        Step::Container { name, sizes, .. } => {
            format!("{name} {}/{}", sizes.cpu_limit, sizes.memory_limit >> 20)
        }
    }
}

/// Takes the steps from `old` to `new`, and checks that none are left; returns them.
fn steps(old: &Pod, new: &Pod) -> Vec<String> {
    let mut actuated = PodResources::of(old);
    let record = running(new);
    let differences = Differences::new(new, Some(&actuated), &record);
    let mut group = pod_limits(old);
    let mut log = Vec::new();
    for step in differences.steps(&pod_limits(new), &group) {
        log.push(text(&step));
        match step {
            Step::Group(limits) => {
                group.memory = limits.memory.or(group.memory);
                group.cpu_quota = limits.cpu_quota.or(group.cpu_quota);
                group.cpu_shares = limits.cpu_shares.or(group.cpu_shares);
            }
            Step::Container { name, noted, .. } => {
                actuated.containers.insert(name, noted);
            }
        }
    }
    actuated.pod.clone_from(&new.spec.as_ref().unwrap().resources);
    let left = Differences::new(new, Some(&actuated), &record);
    assert_eq!(left, Differences::default(), "after {log:?}");
    log
}

#[test]
fn the_pod_grows_first_and_shrinks_last() {
    let three = pod(&["100/100", "100/100", "100/100"]);
    assert_eq!(
        steps(&three, &pod(&["200/200", "150/150", "50/50"])),
        [
            "pod memory=400",
            "c2 100/50",
            "c0 100/200",
            "c1 100/150",
            "pod quota=40000",
            "pod shares=409",
            "c2 50/50",
            "c0 200/200",
            "c1 150/150",
        ]
    );
    assert_eq!(
        steps(&three, &pod(&["150/150", "50/50", "50/50"])),
        [
            "c1 100/50",
            "c2 100/50",
            "c0 100/150",
            "pod memory=250",
            "c1 50/50",
            "c2 50/50",
            "c0 150/150",
            "pod shares=256",
            "pod quota=25000",
        ]
    );
    assert_eq!(steps(&three, &three), [""; 0]);
}

#[test]
fn limits_are_added() {
    let plain =
        |resources: Value| with(json!({"containers": [{"name": "c", "resources": resources}]}));
    let old = plain(json!({"requests": {"cpu": "100m"}}));
    let new = plain(json!({"requests": {"cpu": "100m", "memory": "50Mi"},
        "limits": {"cpu": "200m", "memory": "60Mi"}}));
    assert_eq!(steps(&old, &new), ["c 0/60", "pod memory=60", "c 200/60", "pod quota=20000"]);
}

#[test]
fn the_pods_own_limits_hold_for_containers_without() {
    let of = |memory: &str| {
        with(json!({"resources": {"limits": {"memory": memory}},
            "containers": [{"name": "a"}, {"name": "b", "resources": {"limits": {"memory": "8Mi"}}}]}))
    };
    assert_eq!(steps(&of("32Mi"), &of("64Mi")), ["pod memory=64", "a 0/64"]);
    assert_eq!(steps(&of("64Mi"), &of("32Mi")), ["a 0/32", "pod memory=32"]);
}

#[test]
fn who_wishes_is_restarted_and_who_does_not_run_waits() {
    let policy = json!([{"resourceName": "memory", "restartPolicy": "RestartContainer"}]);
    let of = |size: &str| {
        let mut pod = pod(&[size, "100/100"]);
        let policy = serde_json::from_value(policy.clone()).unwrap();
        pod.spec.as_mut().unwrap().containers[0].resize_policy = Some(policy);
        pod
    };
    let mut actuated = PodResources::of(&of("100/100"));
    let differences = |actuated: &PodResources, size: &str, record: &PodRecord| {
        Differences::new(&of(size), Some(actuated), record)
    };
    let mut record = running(&of("100/100"));
    let cpu = differences(&actuated, "200/100", &record);
    assert!(cpu.restart.is_empty());
    assert_eq!(cpu.updates.len(), 1);
    let memory = differences(&actuated, "200/200", &record);
    assert_eq!(memory.restart, ["c0".to_owned()].into());
    assert!(memory.updates.is_empty() && memory.in_progress());

    record.containers[0].state = State::Exited;
    let stopped = differences(&actuated, "200/200", &record);
    assert!(stopped.restart.is_empty() && stopped.group);
    assert_eq!(stopped.settled, ["c0"]);
    actuated
        .containers
        .insert("c0".into(), PodResources::of(&of("200/200")).containers["c0"].clone());
    assert!(!differences(&actuated, "200/200", &record).in_progress());
    assert_eq!(Differences::new(&of("1/1"), None, &record), Differences::default());
}

#[test]
fn memory_that_is_in_use_is_looked_after() {
    let (old, new) = (pod(&["1/100", "1/100", "1/100"]), pod(&["1/50", "1/100", "1/120"]));
    let differences = Differences::new(&new, Some(&PodResources::of(&old)), &running(&new));
    let lowered = differences.lowered(&pod_limits(&new), &pod_limits(&old));
    let container = Lowered::Container { name: "c0".into(), id: "id-c0".into(), limit: 50 << 20 };
    assert_eq!(lowered, [Lowered::Pod(270 << 20), container]);
}
