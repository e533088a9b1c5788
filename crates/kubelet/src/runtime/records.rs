//! What the runtime has of a Pod, in a form that plans and statuses are made from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use futures::future::{join_all, try_join};
use k8s_openapi::jiff::Timestamp;

use super::labels;
use crate::cgroup::resources::{self, GroupLimits};
use crate::cri::{Runtime, RuntimeError, proto};
use crate::seam::PodUid;

/// State of a container's process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Made, not started.
    Created,
    /// Its process runs.
    Running,
    /// Its process ended.
    Exited,
    /// The runtime does not know.
    #[default]
    Unknown,
}

/// One sandbox of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxRecord {
    /// Runtime's ID.
    pub id: String,
    /// Number of the attempt, from 0.
    pub attempt: u32,
    /// Whether it runs.
    pub ready: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its addresses; empty for host-network sandboxes.
    pub ips: Vec<String>,
}

/// Limits of a container that are enforced, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// CPU request in thousandths of a core, as its weight tells.
    pub cpu_request: Option<i64>,
    /// CPU limit in thousandths of a core.
    pub cpu_limit: Option<i64>,
    /// Memory limit in bytes.
    pub memory_limit: Option<i64>,
}

/// One container instance of a Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerRecord {
    /// Runtime's ID.
    pub id: String,
    /// Name in the Pod spec.
    pub name: String,
    /// Sandbox it belongs to; empty when the runtime has forgotten it.
    pub sandbox_id: String,
    /// State of its process.
    pub state: State,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// When its process ended.
    pub finished_at: Option<Timestamp>,
    /// Exit code, once ended.
    pub exit_code: i32,
    /// Runtime's word for the end (`Completed`, `Error`, `OOMKilled`).
    pub reason: String,
    /// More about the end.
    pub message: String,
    /// Image as named in the spec or by the runtime.
    pub image: String,
    /// Digested reference of the image.
    pub image_ref: String,
    /// Hash of the spec it was made from.
    pub hash: Option<u32>,
    /// Restarts before this instance.
    pub restart_count: u32,
    /// Its log file.
    pub log_path: PathBuf,
    /// Host file with its last words, when it has one.
    pub termination_log: Option<PathBuf>,
    /// Whether the log stands in for missing last words after a failure.
    pub log_as_message: bool,
    /// What limits it; absent while it does not run, and when the runtime does not tell.
    pub applied: Option<Applied>,
}

/// Everything of one Pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRecord {
    /// Sandboxes, newest first.
    pub sandboxes: Vec<SandboxRecord>,
    /// Containers, newest first.
    pub containers: Vec<ContainerRecord>,
}

/// What a relist sees of a Pod: enough to know whether to look closer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodOutline {
    /// Name of the Pod.
    pub name: String,
    /// Namespace of the Pod.
    pub namespace: String,
    /// State by ID of each sandbox and container.
    pub states: BTreeMap<String, i32>,
}

// === impl Applied ===

impl Applied {
    /// From the limits of a control group; what is zero or less is not set.
    pub fn of(limits: &GroupLimits) -> Self {
        let set = |value: Option<i64>| value.filter(|value| *value > 0);
        Self {
            cpu_request: set(limits.cpu_shares).map(resources::millis_of_shares),
            cpu_limit: set(limits.cpu_quota)
                .map(|quota| resources::millis_of_quota(quota, limits.cpu_period)),
            memory_limit: set(limits.memory),
        }
    }
}

// === impl PodRecord ===

impl PodRecord {
    /// The newest sandbox.
    pub fn sandbox(&self) -> Option<&SandboxRecord> {
        self.sandboxes.first()
    }

    /// The newest instance of a container.
    pub fn latest(&self, name: &str) -> Option<&ContainerRecord> {
        self.containers.iter().find(|c| c.name == name)
    }

    /// All instances of a container, newest first.
    pub fn instances<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ContainerRecord> {
        self.containers.iter().filter(move |c| c.name == name)
    }

    /// Containers that have or may have a process.
    pub fn alive(&self) -> impl Iterator<Item = &ContainerRecord> {
        self.containers.iter().filter(|c| matches!(c.state, State::Running | State::Unknown))
    }

    /// Whether anything of the Pod is still up.
    pub fn is_up(&self) -> bool {
        self.alive().next().is_some() || self.sandboxes.iter().any(|s| s.ready)
    }

    /// Whether the runtime has nothing of the Pod.
    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }
}

/// Looks closely at one Pod.
pub async fn inspect(runtime: &Runtime, uid: &PodUid) -> Result<PodRecord, RuntimeError> {
    let (sandboxes, containers) = try_join(
        runtime.list_sandboxes(labels::of_pod(uid)),
        runtime.list_containers(labels::of_pod(uid)),
    )
    .await?;
    let sandboxes = join_all(sandboxes.into_iter().map(|s| sandbox_record(runtime, s))).await;
    let statuses = join_all(containers.iter().map(|c| runtime.container_status(&c.id))).await;
    let mut record = PodRecord::default();
    for sandbox in sandboxes {
        match sandbox {
            Ok(sandbox) => record.sandboxes.push(sandbox),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    for (listed, status) in containers.into_iter().zip(statuses) {
        match status {
            Ok(status) => record.containers.push(container_record(listed.pod_sandbox_id, status)),
            // Removed between the two calls.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    record.sandboxes.sort_by_key(|s| std::cmp::Reverse((s.created_at, s.attempt)));
    record.containers.sort_by_key(|c| std::cmp::Reverse((c.created_at, c.restart_count)));
    Ok(record)
}

/// All Pods that the runtime has anything of.
pub async fn relist(runtime: &Runtime) -> Result<BTreeMap<PodUid, PodOutline>, RuntimeError> {
    let (sandboxes, containers) = try_join(
        runtime.list_sandboxes(Default::default()),
        runtime.list_containers(Default::default()),
    )
    .await?;
    let mut pods: BTreeMap<PodUid, PodOutline> = BTreeMap::new();
    let sandboxes = sandboxes.into_iter().map(|s| (s.labels, s.id, s.state));
    let containers = containers.into_iter().map(|c| (c.labels, c.id, c.state + 16));
    for (mut all, id, state) in sandboxes.chain(containers) {
        let Some(uid) = all.remove(labels::POD_UID) else {
            continue;
        };
        let pod = pods.entry(PodUid(uid)).or_default();
        pod.states.insert(id, state);
        if pod.name.is_empty() {
            pod.name = all.remove(labels::POD_NAME).unwrap_or_default();
            pod.namespace = all.remove(labels::POD_NAMESPACE).unwrap_or_default();
        }
    }
    Ok(pods)
}

async fn sandbox_record(
    runtime: &Runtime,
    listed: proto::PodSandbox,
) -> Result<SandboxRecord, RuntimeError> {
    let ready = listed.state() == proto::PodSandboxState::SandboxReady;
    let attempt = listed.metadata.as_ref().map_or(0, |m| m.attempt);
    let mut record = SandboxRecord {
        attempt,
        ready,
        created_at: nanos(listed.created_at).unwrap_or_default(),
        id: listed.id,
        ips: Vec::new(),
    };
    if ready {
        let status = runtime.sandbox_status(&record.id).await?;
        record.ready = status.state() == proto::PodSandboxState::SandboxReady;
        let network = status.network.unwrap_or_default();
        let addresses = std::iter::once(network.ip)
            .chain(network.additional_ips.into_iter().map(|ip| ip.ip))
            .filter(|ip| !ip.is_empty());
        record.ips = addresses.collect();
    }
    Ok(record)
}

fn container_record(sandbox_id: String, mut status: proto::ContainerStatus) -> ContainerRecord {
    let state = match status.state() {
        proto::ContainerState::ContainerCreated => State::Created,
        proto::ContainerState::ContainerRunning => State::Running,
        proto::ContainerState::ContainerExited => State::Exited,
        proto::ContainerState::ContainerUnknown => State::Unknown,
    };
    let annotation = |key: &str| status.annotations.get(key).map(String::as_str);
    let termination_path = annotation(labels::TERMINATION_PATH).unwrap_or_default();
    let termination_log = status
        .mounts
        .iter()
        .find(|m| !termination_path.is_empty() && m.container_path == termination_path)
        .map(|m| PathBuf::from(&m.host_path));
    let hash = annotation(labels::HASH).and_then(|hash| u32::from_str_radix(hash, 16).ok());
    let restart_count = annotation(labels::RESTART_COUNT)
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| status.metadata.as_ref().map_or(0, |metadata| metadata.attempt));
    let log_as_message = annotation(labels::TERMINATION_POLICY) == Some("FallbackToLogsOnError");
    let applied = status.resources.take().and_then(|all| all.linux).map(|linux| {
        Applied::of(&GroupLimits {
            cpu_shares: Some(linux.cpu_shares),
            cpu_quota: Some(linux.cpu_quota),
            cpu_period: linux.cpu_period,
            memory: Some(linux.memory_limit_in_bytes),
            pids: None,
        })
    });
    let image_ref = if status.image_ref.is_empty() { &status.image_id } else { &status.image_ref };
    ContainerRecord {
        state,
        termination_log,
        hash,
        restart_count,
        log_as_message,
        applied,
        image_ref: image_ref.clone(),
        name: status.labels.remove(labels::CONTAINER_NAME).unwrap_or_default(),
        sandbox_id,
        created_at: nanos(status.created_at).unwrap_or_default(),
        started_at: nanos(status.started_at),
        finished_at: nanos(status.finished_at),
        exit_code: status.exit_code,
        reason: status.reason,
        message: status.message,
        image: status.image.unwrap_or_default().image,
        log_path: PathBuf::from(status.log_path),
        id: status.id,
    }
}

fn nanos(value: i64) -> Option<Timestamp> {
    if value <= 0 {
        return None;
    }
    Timestamp::from_nanosecond(i128::from(value)).ok()
}
