use super::*;
use crate::pod::backoff::later;
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::{Value, json};
use std::time::Duration;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn pod(spec: Value) -> Pod {
    let spec: PodSpec = serde_json::from_value(spec).unwrap();
    let mut pod = Pod { spec: Some(spec), ..Default::default() };
    pod.metadata.name = Some("web".into());
    pod.metadata.namespace = Some("default".into());
    pod.metadata.uid = Some("u1".into());
    pod
}

fn container(name: &str) -> Value {
    json!({"name": name, "image": "i"})
}

fn sidecar(name: &str) -> Value {
    json!({"name": name, "image": "i", "restartPolicy": "Always"})
}

/// A runtime that does at once what a plan says.
struct World {
    pod: Pod,
    record: PodRecord,
    verdicts: Verdicts,
    resize: BTreeSet<String>,
    resized: BTreeSet<String>,
    counts: BTreeMap<String, u32>,
    backoff: Backoff,
    second: i64,
    made: usize,
}

impl World {
    fn new(spec: Value) -> Self {
        Self {
            pod: pod(spec),
            record: PodRecord::default(),
            verdicts: Verdicts::new(),
            resize: BTreeSet::new(),
            resized: BTreeSet::new(),
            counts: BTreeMap::new(),
            backoff: Backoff::default(),
            second: 0,
            made: 0,
        }
    }

    fn plan(&self) -> Plan {
        plan(&Input {
            pod: &self.pod,
            record: &self.record,
            verdicts: &self.verdicts,
            resize: &self.resize,
            resized: &self.resized,
            counts: &self.counts,
            backoff: &self.backoff,
            now: at(self.second),
        })
    }

    /// Carries out plans until there is nothing to do; returns what was done.
    fn settle(&mut self) -> Vec<String> {
        let mut log = Vec::new();
        for _ in 0..20 {
            let plan = self.plan();
            if let Some(attempt) = plan.create_sandbox {
                log.push(format!("sandbox {attempt}"));
                for old in &mut self.record.sandboxes {
                    old.ready = false;
                }
                for c in self.record.containers.iter_mut().filter(|c| c.state == State::Running) {
                    c.state = State::Exited;
                    c.exit_code = 137;
                    c.finished_at = Some(at(self.second));
                }
                self.record.sandboxes.insert(
                    0,
                    SandboxRecord {
                        id: format!("s{attempt}"),
                        attempt,
                        ready: true,
                        created_at: at(self.second),
                        ips: vec!["10.0.0.1".into()],
                    },
                );
                continue;
            }
            if plan.kill.is_empty() && plan.start.is_empty() && plan.remove.is_empty() {
                return log;
            }
            for kill in &plan.kill {
                log.push(format!("kill {}: {}", kill.name, kill.message));
                let resize = kill.cause == Cause::Resize;
                self.exit(&kill.name.clone(), if resize { 0 } else { 137 });
                if resize {
                    self.resize.remove(&kill.name);
                    self.resized.insert(kill.name.clone());
                }
            }
            for id in &plan.remove {
                let at = self.record.containers.iter().position(|c| c.id == *id).unwrap();
                let gone = self.record.containers.remove(at);
                log.push(format!("remove {}", gone.name));
                self.counts.insert(gone.name, gone.restart_count + 1);
            }
            for start in &plan.start {
                self.counts.remove(&start.name);
                log.push(format!("start {} {}", start.name, start.restart_count));
                let (_, spec) = spec::container(&self.pod, &start.name).unwrap();
                if let Some(ended) = start.after {
                    self.backoff.next(&backoff_key(&spec), ended, at(self.second));
                }
                self.made += 1;
                self.resized.remove(&start.name);
                let id = format!("c{}", self.made);
                self.verdicts
                    .insert(id.clone(), Verdict { started: true, ready: true, failed: None });
                self.record.containers.insert(
                    0,
                    ContainerRecord {
                        id,
                        name: start.name.clone(),
                        sandbox_id: self.record.sandboxes[0].id.clone(),
                        state: State::Running,
                        restart_count: start.restart_count,
                        hash: Some(container_hash(&spec)),
                        created_at: at(self.second),
                        ..Default::default()
                    },
                );
            }
        }
        panic!("the plan does not converge: {log:?}");
    }

    fn exit(&mut self, name: &str, code: i32) {
        let now = at(self.second);
        let c = self.record.containers.iter_mut().find(|c| c.name == name).unwrap();
        c.state = State::Exited;
        c.exit_code = code;
        c.finished_at = Some(now);
    }

    fn id(&self, name: &str) -> String {
        self.record.latest(name).unwrap().id.clone()
    }
}

#[test]
fn a_resize_restarts_whatever_the_policy_and_at_once() {
    let mut spec =
        json!({"restartPolicy": "OnFailure", "containers": [container("a"), container("b")]});
    spec["initContainers"] = json!([sidecar("s")]);
    let mut world = World::new(spec);
    world.settle();
    for again in 1..3 {
        world.resize = ["a".to_owned(), "s".to_owned()].into();
        let requires = |name| format!("kill {name}: Container {name} resize requires restart");
        let log = world.settle();
        assert_eq!(
            log,
            [requires("s"), requires("a"), format!("start s {again}"), format!("start a {again}")]
        );
        assert_eq!(world.plan(), Plan::default());
    }
}

#[test]
fn the_end_of_one_container_may_start_all_anew() {
    let rules = json!([{"action": "RestartAllContainers",
        "exitCodes": {"operator": "In", "values": [88]}}]);
    let mut main = container("a");
    main["restartPolicy"] = "Never".into();
    main["restartPolicyRules"] = rules;
    let mut world = World::new(json!({"restartPolicy": "Never",
        "initContainers": [container("i"), sidecar("s")], "containers": [main, container("b")]}));
    world.settle();
    world.exit("i", 0);
    assert_eq!(world.settle(), ["start s 0", "start a 0", "start b 0"]);
    world.exit("a", 88);
    assert!(trigger(&world.pod, &world.record).is_some());
    let stop =
        |name| format!("kill {name}: Container {name} restarts with all containers of the pod");
    let remove = |name| format!("remove {name}");
    assert_eq!(
        world.settle(),
        [
            stop("s"),
            stop("b"),
            remove("i"),
            remove("s"),
            remove("b"),
            remove("a"),
            "start i 1".into()
        ]
    );
    world.exit("i", 0);
    assert_eq!(world.settle(), ["start s 1", "start a 1", "start b 1"]);
    assert_eq!(world.plan(), Plan::default());
    world.exit("a", 3);
    assert_eq!(world.settle(), [""; 0], "another exit code is the end of it alone");
}

#[test]
fn a_plain_pod_starts_everything_and_rests() {
    let mut world = World::new(json!({"containers": [container("a"), container("b")]}));
    assert_eq!(world.settle(), ["sandbox 0", "start a 0", "start b 0"]);
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn init_containers_run_in_order_then_the_rest() {
    let mut world = World::new(json!({
        "initContainers": [container("i1"), sidecar("s1"), container("i2")],
        "containers": [container("a")]
    }));
    assert_eq!(world.settle(), ["sandbox 0", "start i1 0"]);
    world.exit("i1", 0);
    assert_eq!(world.settle(), ["start s1 0", "start i2 0"]);
    world.exit("i2", 0);
    assert_eq!(world.settle(), ["start a 0"]);
    assert_eq!(world.plan(), Plan::default());
    // A sidecar that dies comes back without touching the others.
    world.exit("s1", 0);
    assert_eq!(world.settle(), ["start s1 1"]);
}

#[test]
fn a_sidecar_holds_back_the_next_until_it_has_started() {
    let mut world = World::new(json!({
        "initContainers": [sidecar("s1")], "containers": [container("a")]
    }));
    assert_eq!(world.settle(), ["sandbox 0", "start s1 0", "start a 0"]);
    let mut world = World::new(json!({
        "initContainers": [sidecar("s1")], "containers": [container("a")]
    }));
    world.record.sandboxes.push(SandboxRecord {
        id: "s".into(),
        ready: true,
        ips: vec!["x".into()],
        ..Default::default()
    });
    world.record.containers.push(ContainerRecord {
        id: "c".into(),
        name: "s1".into(),
        sandbox_id: "s".into(),
        state: State::Running,
        ..Default::default()
    });
    world.verdicts.insert("c".into(), Verdict::default());
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn failing_init_container_follows_the_restart_policy() {
    let spec = |policy: &str| json!({"restartPolicy": policy, "initContainers": [container("i")], "containers": [container("a")]});
    let mut world = World::new(spec("Never"));
    world.settle();
    world.exit("i", 1);
    assert!(world.plan().finished);
    let mut world = World::new(spec("OnFailure"));
    world.settle();
    world.exit("i", 1);
    assert_eq!(world.settle(), ["start i 1"]);
}

#[test]
fn crash_loops_back_off_with_upstreams_message() {
    let mut world = World::new(json!({"containers": [container("a")]}));
    world.settle();
    world.exit("a", 1);
    assert_eq!(world.settle(), ["start a 1"]);
    world.second = 2;
    world.exit("a", 1);
    let plan = world.plan();
    assert!(plan.start.is_empty());
    assert_eq!(plan.wake_at, Some(later(at(2), Duration::from_secs(10))));
    assert_eq!(
        plan.waiting["a"],
        Waiting {
            reason: "CrashLoopBackOff".into(),
            message: "back-off 10s restarting failed container=a pod=web_default(u1)".into()
        }
    );
    world.second = 12;
    assert_eq!(world.settle(), ["start a 2"]);
    world.exit("a", 1);
    assert!(world.plan().waiting["a"].message.starts_with("back-off 20s"));
}

#[test]
fn restart_policies_decide_when_a_pod_is_over() {
    for (policy, codes, over) in [
        ("Always", [0, 0], false),
        ("OnFailure", [0, 0], true),
        ("OnFailure", [0, 1], false),
        ("Never", [0, 1], true),
    ] {
        let mut world = World::new(
            json!({"restartPolicy": policy, "containers": [container("a"), container("b")]}),
        );
        world.settle();
        world.exit("a", codes[0]);
        assert!(!world.plan().finished, "{policy}");
        world.exit("b", codes[1]);
        assert_eq!(world.plan().finished, over, "{policy} {codes:?}");
    }
}

#[test]
fn failed_probes_and_changed_images_restart_containers() {
    let mut world = World::new(json!({"containers": [container("a")]}));
    world.settle();
    let id = world.id("a");
    world.verdicts.get_mut(&id).unwrap().failed = Some("liveness".into());
    assert_eq!(
        world.settle(),
        ["kill a: Container a failed liveness probe, will be restarted", "start a 1"]
    );
    world.second = 60;
    world.pod.spec.as_mut().unwrap().containers[0].image = Some("j".into());
    assert_eq!(
        world.settle(),
        ["kill a: Container a definition changed, will be restarted", "start a 2"]
    );
}

#[test]
fn a_dead_sandbox_is_replaced_with_everything_in_it() {
    let mut world =
        World::new(json!({"initContainers": [container("i")], "containers": [container("a")]}));
    world.settle();
    world.exit("i", 0);
    world.settle();
    world.record.sandboxes[0].ready = false;
    world.second = 30;
    assert_eq!(world.settle(), ["sandbox 1", "start i 1"]);
    world.exit("i", 0);
    assert_eq!(world.settle(), ["start a 1"]);
}

#[test]
fn a_finished_pod_gets_no_new_sandbox() {
    let mut world = World::new(json!({"restartPolicy": "Never", "containers": [container("a")]}));
    world.settle();
    world.exit("a", 0);
    world.record.sandboxes[0].ready = false;
    assert_eq!(world.plan(), Plan { finished: true, ..Plan::default() });
}

#[test]
fn running_containers_are_adopted_after_a_kubelet_restart() {
    let mut world = World::new(json!({"containers": [container("a")]}));
    world.settle();
    // A new kubelet has no back-off and no verdicts, only what the runtime tells.
    world.verdicts.clear();
    world.backoff = Backoff::default();
    assert_eq!(world.plan(), Plan::default());
}

#[test]
fn ephemeral_containers_start_once() {
    let mut world = World::new(json!({"containers": [container("a")]}));
    world.settle();
    world.pod.spec.as_mut().unwrap().ephemeral_containers =
        serde_json::from_value(json!([{"name": "debug", "image": "i"}])).unwrap();
    assert_eq!(world.settle(), ["start debug 0"]);
    world.exit("debug", 1);
    assert_eq!(world.plan(), Plan::default());
}
