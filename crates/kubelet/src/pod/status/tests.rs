use super::*;
use crate::pod::plan::Verdict;
use crate::runtime::records::SandboxRecord;
use serde_json::{Value, json};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "u1", "generation": 3},
        "spec": spec
    }))
    .unwrap()
}

fn sandbox() -> SandboxRecord {
    SandboxRecord {
        id: "s".into(),
        ready: true,
        ips: vec!["10.244.0.5".into()],
        ..Default::default()
    }
}

fn running(name: &str) -> ContainerRecord {
    ContainerRecord {
        id: format!("id-{name}"),
        name: name.into(),
        sandbox_id: "s".into(),
        state: State::Running,
        started_at: Some(at(1)),
        image: "docker.io/library/busybox:1".into(),
        image_ref: "sha256:abc".into(),
        ..Default::default()
    }
}

fn exited(name: &str, code: i32) -> ContainerRecord {
    ContainerRecord {
        state: State::Exited,
        exit_code: code,
        finished_at: Some(at(2)),
        ..running(name)
    }
}

struct Case {
    pod: Pod,
    record: PodRecord,
    verdicts: Verdicts,
    waiting: BTreeMap<String, Waiting>,
    resize: Vec<PodCondition>,
    anew: bool,
    stopped: bool,
    doom: Option<Doom>,
}

impl Case {
    fn new(spec: Value, containers: Vec<ContainerRecord>) -> Self {
        let verdicts = containers
            .iter()
            .filter(|c| c.state == State::Running)
            .map(|c| (c.id.clone(), Verdict { started: true, ready: true, failed: None }))
            .collect();
        Self {
            pod: pod(spec),
            record: PodRecord { sandboxes: vec![sandbox()], containers },
            verdicts,
            waiting: BTreeMap::new(),
            resize: Vec::new(),
            anew: false,
            stopped: false,
            doom: None,
        }
    }

    fn generate(&self, previous: Option<&PodStatus>, now: Timestamp) -> PodStatus {
        generate(&Input {
            pod: &self.pod,
            record: &self.record,
            anew: self.anew,
            actuated: None,
            resize: &self.resize,
            previous,
            verdicts: &self.verdicts,
            waiting: &self.waiting,
            host_ips: &["192.168.1.2".into()],
            runtime_name: "containerd",
            qos: "BestEffort",
            doom: self.doom.as_ref(),
            stopped: self.stopped,
            now,
        })
    }

    fn summary(&self) -> String {
        let status = self.generate(None, at(5));
        let mut parts = vec![status.phase.clone().unwrap()];
        for condition in status.conditions.iter().flatten() {
            let short: String = condition.type_.chars().filter(char::is_ascii_uppercase).collect();
            let reason = condition.reason.clone().map_or(String::new(), |r| format!("({r})"));
            parts.push(format!("{short}={}{reason}", condition.status));
        }
        parts.join(" ")
    }
}

const ONE: &str = r#"{"containers": [{"name": "c", "image": "busybox:1"}]}"#;

fn one() -> Value {
    serde_json::from_str(ONE).unwrap()
}

#[test]
fn a_running_pod_reads_as_upstreams() {
    let case = Case::new(one(), vec![running("c")]);
    let status = serde_json::to_value(case.generate(None, at(5))).unwrap();
    let condition = |type_: &str| {
        json!({"type": type_, "status": "True", "observedGeneration": 3,
               "lastTransitionTime": "2023-11-14T22:13:25Z"})
    };
    let expected = json!({
        "phase": "Running",
        "hostIP": "192.168.1.2", "hostIPs": [{"ip": "192.168.1.2"}],
        "podIP": "10.244.0.5", "podIPs": [{"ip": "10.244.0.5"}],
        "startTime": "2023-11-14T22:13:25Z", "qosClass": "BestEffort", "observedGeneration": 3,
        "containerStatuses": [{
            "name": "c", "image": "docker.io/library/busybox:1", "imageID": "sha256:abc",
            "containerID": "containerd://id-c", "ready": true, "started": true, "restartCount": 0,
            "state": {"running": {"startedAt": "2023-11-14T22:13:21Z"}}, "lastState": {},
            "resources": {}
        }],
        "conditions": [
            condition("PodReadyToStartContainers"), condition("Initialized"), condition("Ready"),
            condition("ContainersReady"), condition("PodScheduled")
        ]
    });
    assert_eq!(status, expected);
}

#[test]
fn phases_and_conditions() {
    let with_init = json!({
        "initContainers": [{"name": "i", "image": "x"}],
        "containers": [{"name": "c", "image": "x"}]
    });
    let never = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]});
    for (spec, containers, expected) in [
        (
            one(),
            vec![],
            "Pending PRTSC=True I=True R=False(ContainersNotReady) CR=False(ContainersNotReady) PS=True",
        ),
        (
            with_init.clone(),
            vec![running("i")],
            "Pending PRTSC=True I=False(ContainersNotInitialized) R=False(ContainersNotReady) CR=False(ContainersNotReady) PS=True",
        ),
        (
            with_init,
            vec![running("c"), exited("i", 0)],
            "Running PRTSC=True I=True R=True CR=True PS=True",
        ),
        (
            never.clone(),
            vec![exited("c", 0)],
            "Succeeded PRTSC=True I=True(PodCompleted) R=False(PodCompleted) CR=False(PodCompleted) PS=True",
        ),
        (
            never,
            vec![exited("c", 3)],
            "Failed PRTSC=True I=True R=False(PodFailed) CR=False(PodFailed) PS=True",
        ),
        (
            one(),
            vec![exited("c", 3)],
            "Running PRTSC=True I=True R=False(ContainersNotReady) CR=False(ContainersNotReady) PS=True",
        ),
    ] {
        assert_eq!(Case::new(spec, containers).summary(), expected);
    }
}

#[test]
fn a_pod_that_starts_anew_has_not_failed() {
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "x",
        "restartPolicyRules": [{"action": "RestartAllContainers",
            "exitCodes": {"operator": "In", "values": [88]}}]}]});
    let mut case = Case::new(spec, vec![exited("c", 88)]);
    case.anew = true;
    assert_eq!(
        case.summary(),
        "Running ACR=True PRTSC=True I=True R=False(ContainersNotReady) CR=False(ContainersNotReady) PS=True"
    );
    case.record.containers[0].exit_code = 3;
    case.anew = false;
    assert_eq!(
        case.summary(),
        "Failed ACR=False(PodFailed) PRTSC=True I=True R=False(PodFailed) CR=False(PodFailed) PS=True"
    );
}

#[test]
fn a_resize_is_told_and_what_the_runtime_enforces() {
    let spec = json!({"containers": [{"name": "c", "image": "x",
        "resources": {"requests": {"cpu": "200m"}}}]});
    let mut case = Case::new(spec, vec![running("c")]);
    let applied = crate::runtime::records::Applied { cpu_request: Some(100), ..Default::default() };
    case.record.containers[0].applied = Some(applied);
    let mut told = crate::pod::resize::conditions::ResizeConditions::default();
    told.granted(Some(3), at(4));
    case.resize = told.list();
    let status = serde_json::to_value(case.generate(None, at(5))).unwrap();
    assert_eq!(status["conditions"][0]["type"], "PodResizeInProgress");
    let container = &status["containerStatuses"][0];
    assert_eq!(container["resources"]["requests"]["cpu"], "100m");
    assert_eq!(container["allocatedResources"]["cpu"], "200m");
    assert_eq!(status["allocatedResources"]["cpu"], "200m");
    // It goes with its end.
    case.pod.status = serde_json::from_value(status).unwrap();
    case.resize.clear();
    let status = case.generate(None, at(6));
    assert!(status.conditions.unwrap().iter().all(|c| c.type_ != "PodResizeInProgress"));
}

#[test]
fn messages_name_the_containers() {
    let spec = json!({"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]});
    let status = Case::new(spec, vec![]).generate(None, at(5));
    let ready = status.conditions.unwrap().into_iter().find(|c| c.type_ == "Ready").unwrap();
    assert_eq!(ready.message.as_deref(), Some("containers with unready status: [a b]"));
}

#[test]
fn crash_loop_shows_waiting_and_the_last_end() {
    let mut case = Case::new(one(), vec![exited("c", 1)]);
    case.waiting.insert(
        "c".into(),
        Waiting { reason: "CrashLoopBackOff".into(), message: "back-off 10s".into() },
    );
    let status = case.generate(None, at(5)).container_statuses.unwrap().remove(0);
    let state = status.state.unwrap().waiting.unwrap();
    assert_eq!(state.reason.as_deref(), Some("CrashLoopBackOff"));
    let last = status.last_state.unwrap().terminated.unwrap();
    assert_eq!((last.exit_code, last.reason.as_deref()), (1, Some("Error")));
}

#[test]
fn deleted_pods_end_by_their_exit_codes() {
    for (code, phase) in [(0, "Succeeded"), (137, "Failed")] {
        let mut case = Case::new(one(), vec![exited("c", code)]);
        case.record.sandboxes.clear();
        case.stopped = true;
        assert_eq!(case.generate(None, at(5)).phase.as_deref(), Some(phase));
    }
}

#[test]
fn verdicts_on_the_whole_pod_win_once_it_has_ended() {
    let mut case = Case::new(one(), vec![running("c")]);
    case.doom =
        Some(Doom { reason: "DeadlineExceeded".into(), message: "m".into(), disrupted: false });
    let status = case.generate(None, at(5));
    assert_eq!((status.phase.as_deref(), status.reason), (Some("Running"), None));
    case.record.sandboxes.clear();
    case.stopped = true;
    let status = case.generate(None, at(5));
    assert_eq!(
        (status.phase.as_deref(), status.reason.as_deref(), status.message.as_deref()),
        (Some("Failed"), Some("DeadlineExceeded"), Some("m"))
    );
    let disruption = |status: &PodStatus| {
        let all = status.conditions.clone().unwrap();
        all.into_iter().filter(|c| c.type_ == "DisruptionTarget").collect::<Vec<_>>()
    };
    assert!(disruption(&status).is_empty());
    case.doom = Some(Doom { reason: "Terminated".into(), message: "m".into(), disrupted: true });
    let status = case.generate(None, at(5));
    let first = disruption(&status);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].reason.as_deref(), Some("TerminationByKubelet"));
    case.pod.status = Some(status.clone());
    assert_eq!(disruption(&case.generate(Some(&status), at(9))), first, "once, and unchanged");
}

#[test]
fn transition_times_move_only_with_the_status() {
    let mut case = Case::new(one(), vec![running("c")]);
    let first = case.generate(None, at(5));
    let again = case.generate(Some(&first), at(9));
    assert_eq!(first, again);
    case.verdicts.get_mut("id-c").unwrap().ready = false;
    let unready = case.generate(Some(&again), at(12));
    let time = |status: &PodStatus, type_: &str| {
        let condition = status.conditions.as_ref().unwrap().iter().find(|c| c.type_ == type_);
        condition.unwrap().last_transition_time.clone().unwrap().0
    };
    assert_eq!(time(&unready, "Ready"), at(12));
    assert_eq!(time(&unready, "PodScheduled"), at(5));
}
