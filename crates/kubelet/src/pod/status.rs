//! The status of a Pod as reported to the API. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodStatus,
    VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use machinery::quantity::Quantity as Amount;

use super::conditions::{self, whole_seconds};
use super::phase::{self, Phase};
use super::plan::{Verdicts, Waiting};
use super::resize::actual;
use super::resize::resources::PodResources;
use super::spec::{self, Kind};
use crate::cgroup::resources::pod_requests;
use crate::runtime::records::{ContainerRecord, PodRecord, State};

/// A verdict on the Pod as a whole that overrides what its containers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doom {
    /// As `DeadlineExceeded`, `Evicted`, `OutOfcpu`.
    pub reason: String,
    /// More about it.
    pub message: String,
    /// Whether the kubelet ended it for the node's sake, and not for the Pod's own.
    pub disrupted: bool,
}

/// What a status is made from.
pub struct Input<'a> {
    /// The Pod with what it was allocated, and with the API's last status.
    pub pod: &'a Pod,
    /// What the runtime has.
    pub record: &'a PodRecord,
    /// Whether containers that ended start anew, with all of the Pod.
    pub anew: bool,
    /// What the runtime was told of the Pod's resources.
    pub actuated: Option<&'a PodResources>,
    /// What is told of a resize.
    pub resize: &'a [PodCondition],
    /// What was reported before, if this kubelet did.
    pub previous: Option<&'a PodStatus>,
    /// What the probes say.
    pub verdicts: &'a Verdicts,
    /// Why containers wait.
    pub waiting: &'a BTreeMap<String, Waiting>,
    /// Addresses of the node.
    pub host_ips: &'a [String],
    /// `containerd`, for container IDs.
    pub runtime_name: &'a str,
    /// Quality of service class.
    pub qos: &'a str,
    /// A verdict on the whole Pod.
    pub doom: Option<&'a Doom>,
    /// Whether the kubelet has stopped the Pod for good.
    pub stopped: bool,
    /// The time.
    pub now: Timestamp,
}

/// The status of a Pod that admission turned away: nothing of it ever ran, so there is nothing to
/// say about its containers.
pub fn rejected(pod: &Pod, doom: &Doom, qos: &str, now: Timestamp) -> PodStatus {
    let api = pod.status.clone().unwrap_or_default();
    PodStatus {
        phase: Some(Phase::Failed.as_str().into()),
        reason: Some(doom.reason.clone()),
        message: Some(doom.message.clone()),
        start_time: api.start_time.or_else(|| Some(Time(whole_seconds(now)))),
        qos_class: api.qos_class.or_else(|| Some(qos.to_owned())),
        observed_generation: pod.metadata.generation,
        conditions: api.conditions,
        ..Default::default()
    }
}

/// Makes the status.
pub fn generate(input: &Input<'_>) -> PodStatus {
    let spec = spec::spec(input.pod);
    let api = input.pod.status.clone().unwrap_or_default();
    let old = input.previous.unwrap_or(&api);
    let init_list: Vec<Container> = spec.init_containers.clone().unwrap_or_default();
    let ephemeral_list = spec::ephemeral(input.pod);

    let init: Vec<ContainerStatus> =
        init_list.iter().map(|c| container_status(input, old, c, spec::init_kind(c))).collect();
    let initializing = !init_list.is_empty() && !init_done(&init_list, &init);
    let regular: Vec<ContainerStatus> = spec
        .containers
        .iter()
        .map(|c| {
            let mut status = container_status(input, old, c, Kind::Regular);
            if initializing && let Some(waiting) = fresh_waiting(&mut status) {
                waiting.reason = Some("PodInitializing".into());
            }
            status
        })
        .collect();
    let ephemeral: Vec<ContainerStatus> =
        ephemeral_list.iter().map(|c| container_status(input, old, c, Kind::Ephemeral)).collect();

    let mut phase = phase::phase(input.pod, &init, &regular, input.stopped);
    if phase.is_terminal() && !input.stopped && input.anew {
        phase = Phase::Running;
    }
    // A Pod never leaves a terminal phase.
    match old.phase.as_deref() {
        Some("Failed") => phase = Phase::Failed,
        Some("Succeeded") => phase = Phase::Succeeded,
        _ => {}
    }
    // Not before its containers have ended, or its replacement would run beside them.
    let doom = input.doom.filter(|_| input.stopped || !input.record.is_up());
    if doom.is_some() {
        phase = Phase::Failed;
    }

    let host_network = spec::host_network(input.pod);
    let sandbox = input.record.sandbox().filter(|s| s.ready);
    let ips = match sandbox {
        Some(_) if host_network => input.host_ips.to_vec(),
        Some(sandbox) => sandbox.ips.clone(),
        None if phase.is_terminal() || input.stopped => {
            old.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect()
        }
        None => Vec::new(),
    };
    let sandbox_ready = sandbox.is_some() && !ips.is_empty();
    let list = |all: Vec<ContainerStatus>| (!all.is_empty()).then_some(all);
    let mut status = PodStatus {
        phase: Some(phase.as_str().into()),
        reason: doom.map(|d| d.reason.clone()).or_else(|| old.reason.clone()),
        message: doom.map(|d| d.message.clone()).or_else(|| old.message.clone()),
        host_ip: input.host_ips.first().cloned(),
        host_ips: (!input.host_ips.is_empty())
            .then(|| input.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then(|| ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: old
            .start_time
            .clone()
            .or_else(|| api.start_time.clone())
            .or_else(|| Some(Time(whole_seconds(input.now)))),
        qos_class: api.qos_class.clone().or_else(|| Some(input.qos.to_owned())),
        observed_generation: input.pod.metadata.generation,
        init_container_statuses: list(init),
        container_statuses: list(regular),
        ephemeral_container_statuses: list(ephemeral),
        nominated_node_name: api.nominated_node_name.clone(),
        resource_claim_statuses: api.resource_claim_statuses.clone(),
        allocated_resources: allocated(input.pod),
        resources: spec.resources.as_ref().map(|allocated| {
            input.actuated.and_then(|actuated| actuated.pod.as_ref()).unwrap_or(allocated).clone()
        }),
        ..Default::default()
    };
    status.conditions =
        Some(conditions::conditions(input.pod, &status, phase, sandbox_ready, input));
    if let Some(doom) = input.doom.filter(|doom| doom.disrupted) {
        conditions::disrupt(&mut status, doom, input);
    }
    status
}

/// What the node has set aside for the Pod.
fn allocated(pod: &Pod) -> Option<BTreeMap<String, Quantity>> {
    let total = pod_requests(pod);
    let cpu = (total.cpu_millis > 0).then(|| ("cpu", Amount::from_millis(total.cpu_millis)));
    let memory = (total.memory > 0).then(|| ("memory", Amount::from_bytes(total.memory)));
    let all: BTreeMap<_, _> = cpu
        .into_iter()
        .chain(memory)
        .map(|(name, amount)| (name.to_owned(), Quantity(amount.to_string())))
        .collect();
    (!all.is_empty()).then_some(all)
}

/// Whether the init phase is over: all init containers did their part.
fn init_done(list: &[Container], statuses: &[ContainerStatus]) -> bool {
    list.iter().zip(statuses).all(|(container, status)| match spec::init_kind(container) {
        Kind::Sidecar => status.started == Some(true),
        _ => status.ready,
    })
}

/// The waiting state of a container that has not been tried yet.
fn fresh_waiting(status: &mut ContainerStatus) -> Option<&mut ContainerStateWaiting> {
    let waiting = status.state.as_mut()?.waiting.as_mut()?;
    (waiting.reason.as_deref() == Some("ContainerCreating")).then_some(waiting)
}

fn container_status(
    input: &Input<'_>,
    old: &PodStatus,
    container: &Container,
    kind: Kind,
) -> ContainerStatus {
    let before = match kind {
        Kind::Regular => &old.container_statuses,
        Kind::Ephemeral => &old.ephemeral_container_statuses,
        Kind::Init | Kind::Sidecar => &old.init_container_statuses,
    };
    let before = before.iter().flatten().find(|s| s.name == container.name);
    let mut status = match input.record.latest(&container.name) {
        Some(record) => seen(input, container, kind, record, before),
        None => unseen(input, container, kind, before),
    };
    if !input.stopped
        && input.doom.is_none()
        && let Some(waiting) = input.waiting.get(&container.name)
    {
        wait(&mut status, waiting);
    }
    let mounts = container.volume_mounts.iter().flatten().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|&flag| flag),
        recursive_read_only: (mount.read_only == Some(true)).then(|| "Disabled".to_owned()),
        ..Default::default()
    });
    let mounts: Vec<VolumeMountStatus> = mounts.collect();
    status.volume_mounts = (!mounts.is_empty()).then_some(mounts);
    status
}

/// Puts a container that is not running into a waiting state; its end becomes its last state.
fn wait(status: &mut ContainerStatus, why: &Waiting) {
    let state = status.state.get_or_insert_default();
    if state.running.is_some() {
        return;
    }
    if let Some(terminated) = state.terminated.take() {
        status.last_state =
            Some(ContainerState { terminated: Some(terminated), ..Default::default() });
    }
    status.state = Some(waiting(&why.reason, &why.message));
    status.ready = false;
    status.started = Some(false);
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: (!message.is_empty()).then(|| message.to_owned()),
        }),
        ..Default::default()
    }
}

fn seen(
    input: &Input<'_>,
    container: &Container,
    kind: Kind,
    record: &ContainerRecord,
    before: Option<&ContainerStatus>,
) -> ContainerStatus {
    let verdict = input.verdicts.get(&record.id).cloned().unwrap_or_default();
    let running = record.state == State::Running;
    let ended_well = record.state == State::Exited && record.exit_code == 0;
    let id = container_id(input, &record.id);
    let state = match record.state {
        State::Running => ContainerState {
            running: Some(ContainerStateRunning { started_at: record.started_at.map(seconds) }),
            ..Default::default()
        },
        State::Created => waiting("ContainerCreating", ""),
        State::Exited | State::Unknown => {
            ContainerState { terminated: Some(terminated(input, record)), ..Default::default() }
        }
    };
    // The instance before this one, from the runtime or else as reported last time.
    let last_state = input
        .record
        .instances(&container.name)
        .nth(1)
        .filter(|older| older.state == State::Exited)
        .map(|older| ContainerState {
            terminated: Some(terminated(input, older)),
            ..Default::default()
        })
        .or_else(|| {
            let before = before?;
            if before.container_id.as_deref() == Some(id.as_str()) {
                return before.last_state.clone();
            }
            let ended = before.state.clone()?.terminated;
            ended.map(|ended| ContainerState { terminated: Some(ended), ..Default::default() })
        })
        .unwrap_or_default();
    let ready = match kind {
        Kind::Init => ended_well,
        Kind::Ephemeral => false,
        Kind::Sidecar | Kind::Regular => running && verdict.started && verdict.ready,
    };
    let requests = container.resources.as_ref().and_then(|resources| resources.requests.clone());
    let same = before.filter(|before| before.container_id.as_deref() == Some(id.as_str()));
    let actuated = input.actuated.and_then(|all| all.containers.get(&container.name));
    let resources = || actual::resources(container, record, actuated, same);
    ContainerStatus {
        name: container.name.clone(),
        image: if record.image.is_empty() {
            container.image.clone().unwrap_or_default()
        } else {
            record.image.clone()
        },
        image_id: record.image_ref.clone(),
        container_id: Some(id),
        restart_count: i32::try_from(record.restart_count).unwrap_or(i32::MAX),
        ready,
        started: Some(running && verdict.started),
        state: Some(state),
        last_state: Some(last_state),
        allocated_resources: requests.filter(|all| !all.is_empty()),
        resources: (kind != Kind::Ephemeral).then(resources),
        ..Default::default()
    }
}

/// Status of a container that the runtime does not have: never made, or forgotten.
fn unseen(
    input: &Input<'_>,
    container: &Container,
    kind: Kind,
    before: Option<&ContainerStatus>,
) -> ContainerStatus {
    let has_init = spec::spec(input.pod).init_containers.as_ref().is_some_and(|l| !l.is_empty());
    let reason = match kind {
        Kind::Init | Kind::Sidecar if has_init => "PodInitializing",
        _ => "ContainerCreating",
    };
    let fresh = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(waiting(reason, "")),
        last_state: Some(ContainerState::default()),
        started: Some(false),
        ..Default::default()
    };
    let Some(before) = before else { return fresh };
    let state = before.state.clone().unwrap_or_default();
    if state.terminated.is_some() {
        return before.clone();
    }
    if state.running.is_none() {
        return ContainerStatus {
            restart_count: before.restart_count,
            last_state: before.last_state.clone(),
            ..fresh
        };
    }
    let lost = |message: &str| ContainerState {
        terminated: Some(ContainerStateTerminated {
            reason: Some("ContainerStatusUnknown".into()),
            message: Some(message.into()),
            exit_code: 137,
            ..Default::default()
        }),
        ..Default::default()
    };
    if input.stopped || input.pod.metadata.deletion_timestamp.is_some() {
        return ContainerStatus {
            state: Some(lost("The container could not be located when the pod was terminated")),
            ready: false,
            started: Some(false),
            ..before.clone()
        };
    }
    ContainerStatus {
        last_state: Some(lost(
            "The container could not be located when the pod was deleted.  The container used to be Running",
        )),
        restart_count: before.restart_count + 1,
        ..fresh
    }
}

fn terminated(input: &Input<'_>, record: &ContainerRecord) -> ContainerStateTerminated {
    let (reason, exit_code) = match (record.state, record.reason.as_str()) {
        (State::Unknown, _) => ("ContainerStatusUnknown", 137),
        (_, "") if record.exit_code == 0 => ("Completed", 0),
        (_, "") => ("Error", record.exit_code),
        (_, given) => (given, record.exit_code),
    };
    ContainerStateTerminated {
        exit_code,
        reason: Some(reason.to_owned()),
        message: (!record.message.is_empty()).then(|| record.message.clone()),
        started_at: record.started_at.map(seconds),
        finished_at: record.finished_at.map(seconds),
        container_id: Some(container_id(input, &record.id)),
        signal: None,
    }
}

fn container_id(input: &Input<'_>, id: &str) -> String {
    format!("{}://{id}", input.runtime_name)
}

fn seconds(moment: Timestamp) -> Time {
    Time(whole_seconds(moment))
}

#[cfg(test)]
mod tests;
