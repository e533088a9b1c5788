//! Pod conditions that the kubelet owns.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::phase::Phase;
use super::plan::trigger;
use super::resize::conditions::{IN_PROGRESS, PENDING};
use super::spec::{self, Kind};
use super::status::{Doom, Input};

/// Types of condition that the kubelet owns.
pub const OWNED: [&str; 8] = [
    PENDING,
    IN_PROGRESS,
    RESTARTING,
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
];
/// Those of them that are there only while they are true.
pub const PASSING: [&str; 2] = [PENDING, IN_PROGRESS];

/// The condition of a Pod whose containers start anew; others do not have it.
const RESTARTING: &str = "AllContainersRestarting";
/// The condition of a Pod that is ended for another's sake; others set it too.
const DISRUPTION: &str = "DisruptionTarget";
/// Why the kubelet sets it.
const BY_KUBELET: &str = "TerminationByKubelet";

/// Whether the condition of this type, for this reason, is the kubelet's to write.
pub fn is_ours(type_: &str, reason: &str) -> bool {
    OWNED.contains(&type_) || (type_ == DISRUPTION && reason == BY_KUBELET)
}

/// A condition before its times are known.
struct Draft {
    type_: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

/// All conditions of the Pod: the kubelet's own anew, others as they are in `previous` and `api`.
pub fn conditions(
    pod: &Pod,
    status: &PodStatus,
    phase: Phase,
    sandbox_ready: bool,
    input: &Input<'_>,
) -> Vec<PodCondition> {
    let (previous, now) = (input.previous, input.now);
    let api = pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let init = status.init_container_statuses.clone().unwrap_or_default();
    let regular = status.container_statuses.clone().unwrap_or_default();
    let containers = containers_ready(pod, &init, &regular, phase);
    let drafts = [
        plain("PodReadyToStartContainers", sandbox_ready),
        initialized(pod, &init, &regular, phase),
        ready(pod, &containers, &api),
        containers,
        plain("PodScheduled", true),
    ];
    let old = previous.and_then(|s| s.conditions.clone()).unwrap_or_else(|| api.clone());
    let generation = pod.metadata.generation;
    let mut all = input.resize.to_vec();
    if spec::may_restart_all(pod) {
        let draft = match phase {
            Phase::Succeeded => Draft { reason: "PodCompleted", ..plain(RESTARTING, false) },
            Phase::Failed => Draft { reason: "PodFailed", ..plain(RESTARTING, false) },
            _ => plain(RESTARTING, trigger(pod, input.record).is_some()),
        };
        all.push(finish(draft, &old, generation, now));
    }
    all.extend(drafts.into_iter().map(|draft| finish(draft, &old, generation, now)));
    all.extend(api.into_iter().filter(|c| !OWNED.contains(&c.type_.as_str())));
    all
}

/// Notes in `status` that the Pod was ended for the node's sake.
pub fn disrupt(status: &mut PodStatus, doom: &Doom, input: &Input<'_>) {
    let old = input.previous.and_then(|s| s.conditions.clone()).unwrap_or_default();
    let message = doom.message.clone();
    let draft = Draft { type_: DISRUPTION, status: true, reason: BY_KUBELET, message };
    let all = status.conditions.get_or_insert_default();
    all.retain(|condition| condition.type_ != DISRUPTION);
    all.push(finish(draft, &old, input.pod.metadata.generation, input.now));
}

fn finish(
    draft: Draft,
    old: &[PodCondition],
    generation: Option<i64>,
    now: Timestamp,
) -> PodCondition {
    let status = if draft.status { "True" } else { "False" };
    let before = old.iter().find(|c| c.type_ == draft.type_ && c.status == status);
    PodCondition {
        type_: draft.type_.to_owned(),
        status: status.to_owned(),
        reason: (!draft.reason.is_empty()).then(|| draft.reason.to_owned()),
        message: (!draft.message.is_empty()).then_some(draft.message),
        last_transition_time: before
            .and_then(|c| c.last_transition_time.clone())
            .or_else(|| Some(Time(whole_seconds(now)))),
        observed_generation: generation,
        ..Default::default()
    }
}

/// API times have whole seconds.
pub fn whole_seconds(moment: Timestamp) -> Timestamp {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment)
}

fn plain(type_: &'static str, status: bool) -> Draft {
    Draft { type_, status, reason: "", message: String::new() }
}

fn incomplete(type_: &'static str, reason: &'static str, groups: [(&str, Vec<&str>); 2]) -> Draft {
    let texts: Vec<String> = groups
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("containers with {what} status: [{}]", names.join(" ")))
        .collect();
    let status = texts.is_empty();
    let reason = if status { "" } else { reason };
    Draft { type_, status, reason, message: texts.join(", ") }
}

fn initialized(
    pod: &Pod,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
    phase: Phase,
) -> Draft {
    const TYPE: &str = "Initialized";
    if phase == Phase::Succeeded {
        return Draft { reason: "PodCompleted", ..plain(TYPE, true) };
    }
    let begun = regular.iter().any(|status| {
        let state = status.state.clone().unwrap_or_default();
        let last = status.last_state.clone().unwrap_or_default();
        state.running.is_some() || state.terminated.is_some() || last.terminated.is_some()
    });
    if begun {
        return plain(TYPE, true);
    }
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for container in spec::spec(pod).init_containers.iter().flatten() {
        match init.iter().find(|s| s.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) => {
                let done = match spec::init_kind(container) {
                    Kind::Sidecar => status.started == Some(true),
                    _ => status.ready,
                };
                if !done {
                    unready.push(container.name.as_str());
                }
            }
        }
    }
    incomplete(TYPE, "ContainersNotInitialized", [("unknown", unknown), ("incomplete", unready)])
}

fn containers_ready(
    pod: &Pod,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
    phase: Phase,
) -> Draft {
    const TYPE: &str = "ContainersReady";
    match phase {
        Phase::Succeeded => return Draft { reason: "PodCompleted", ..plain(TYPE, false) },
        Phase::Failed => return Draft { reason: "PodFailed", ..plain(TYPE, false) },
        Phase::Pending | Phase::Running => {}
    }
    let spec = spec::spec(pod);
    let sidecars = spec.init_containers.iter().flatten().filter(|c| spec::is_sidecar(c));
    let wanted = sidecars.map(|c| (c, init)).chain(spec.containers.iter().map(|c| (c, regular)));
    let (mut unknown, mut unready) = (Vec::new(), Vec::new());
    for (container, statuses) in wanted {
        match statuses.iter().find(|s| s.name == container.name) {
            None => unknown.push(container.name.as_str()),
            Some(status) if !status.ready => unready.push(container.name.as_str()),
            Some(_) => {}
        }
    }
    incomplete(TYPE, "ContainersNotReady", [("unknown", unknown), ("unready", unready)])
}

fn ready(pod: &Pod, containers: &Draft, api: &[PodCondition]) -> Draft {
    const TYPE: &str = "Ready";
    if !containers.status {
        return Draft {
            type_: TYPE,
            status: false,
            reason: containers.reason,
            message: containers.message.clone(),
        };
    }
    let mut texts = Vec::new();
    for gate in spec::spec(pod).readiness_gates.iter().flatten() {
        let name = &gate.condition_type;
        match api.iter().find(|c| &c.type_ == name) {
            None => texts.push(format!(
                "corresponding condition of pod readiness gate \"{name}\" does not exist."
            )),
            Some(condition) if condition.status != "True" => texts.push(format!(
                "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                condition.status
            )),
            Some(_) => {}
        }
    }
    if texts.is_empty() {
        return plain(TYPE, true);
    }
    Draft {
        type_: TYPE,
        status: false,
        reason: "ReadinessGatesNotReady",
        message: texts.join(", "),
    }
}
