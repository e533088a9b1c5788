//! The status of the Node: conditions, capacity, addresses, images.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints,
    NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::facts::{self, Reserved};
use super::runtime_state::RuntimeState;
use super::shutdown::GOING_DOWN;
use crate::cri::Runtime;
use crate::events::{EventType, Events};
use crate::eviction::Pressure;
use crate::pod::conditions::whole_seconds;

/// Features of v1.36 that a kubelet tells of, so that the API server and the scheduler know what
/// they may ask of the node (KEP-5328). In alphabetical order.
const DECLARED: [&str; 4] = [
    "ExtendWebSocketsToKubelet",
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
];
/// Most images that a Node lists.
const MAX_IMAGES: usize = 50;
/// Most names of one image.
const MAX_NAMES: usize = 5;
/// Wait after a failed write, so that a node is Ready soon after the API server is up.
const RETRY: Duration = Duration::from_millis(500);

/// Settings of the status.
#[derive(Clone)]
pub struct StatusOptions {
    /// Name of the node.
    pub node_name: String,
    /// Host name to report.
    pub hostname: String,
    /// Addresses of the node.
    pub addresses: Vec<String>,
    /// `/var/lib/kubelet`.
    pub root_dir: PathBuf,
    /// Most Pods.
    pub max_pods: i64,
    /// Kept from Pods.
    pub reserved: Reserved,
    /// Port of the kubelet's server.
    pub port: i32,
    /// Software and identity.
    pub info: NodeSystemInfo,
    /// How often to look for changes.
    pub frequency: Duration,
    /// How often to report even without changes.
    pub report_frequency: Duration,
}

/// What the Node's conditions come from.
pub struct Signs {
    /// The runtime and its network.
    pub state: watch::Receiver<RuntimeState>,
    /// What the node is short of.
    pub pressures: watch::Receiver<Vec<Pressure>>,
    /// Names further reasons for not being ready.
    pub health: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Whether the node is about to stop.
    pub going_down: watch::Receiver<bool>,
}

/// Reports the Node's status until shutdown.
pub struct StatusReporter {
    options: StatusOptions,
    api: kube::Api<Node>,
    runtime: Runtime,
    signs: Signs,
    node: Arc<dyn Fn() -> Option<Arc<Node>> + Send + Sync>,
    events: Events,
    sent: Option<(Value, Instant)>,
    /// The Node as it was after the last report, which may be newer than the one last seen.
    written: Option<Node>,
}

// === impl StatusReporter ===

impl StatusReporter {
    /// A reporter; `node` is the Node as last seen.
    pub fn new(
        options: StatusOptions,
        api: kube::Api<Node>,
        runtime: Runtime,
        signs: Signs,
        node: Arc<dyn Fn() -> Option<Arc<Node>> + Send + Sync>,
        events: Events,
    ) -> Self {
        Self { options, api, runtime, signs, node, events, sent: None, written: None }
    }

    /// Reports until shutdown: at once when readiness changes, otherwise as configured.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let pause = match self.report().await {
                Ok(()) => self.options.frequency,
                Err(error) => {
                    tracing::warn!(%error, "node status not written");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                changed = self.signs.state.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                changed = self.signs.pressures.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Ok(()) = self.signs.going_down.changed() => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    async fn report(&mut self) -> Result<(), kube::Error> {
        let now = Timestamp::now();
        let old = self.known();
        let mut others = (self.signs.health)();
        if *self.signs.going_down.borrow_and_update() {
            others.push(GOING_DOWN.to_owned());
        }
        let problem = self.signs.state.borrow_and_update().message(&others);
        let images = self.images().await.or_else(|| old.images.clone());
        let pressures = self.signs.pressures.borrow_and_update().clone();
        let status = generate(&self.options, &old, &pressures, &problem, images, now);
        let essence = essence(&status);
        let due = self.sent.as_ref().is_none_or(|(sent, at)| {
            *sent != essence || at.elapsed() >= self.options.report_frequency
        });
        if !due {
            return Ok(());
        }
        let mut body = serde_json::to_value(&status).map_err(kube::Error::SerdeError)?;
        // Addresses are merged by type; replace them so that a lost one goes.
        if let Some(list) = body.get_mut("addresses").and_then(Value::as_array_mut) {
            list.insert(0, json!({"$patch": "replace"}));
        }
        // Merged by name, so that one which went has to be named.
        for name in old.allocatable.iter().flatten().map(|(name, _)| name) {
            if status.allocatable.as_ref().is_some_and(|all| !all.contains_key(name)) {
                body["allocatable"][name] = Value::Null;
            }
        }
        let patch = json!({"status": body});
        let params = PatchParams::default();
        let name = &self.options.node_name;
        let written = self.api.patch_status(name, &params, &Patch::Strategic(&patch)).await?;
        self.written = Some(written);
        self.sent = Some((essence, Instant::now()));
        self.tell(&old, &status);
        Ok(())
    }

    /// The newest status that is known of the Node. Others write it too: a node that was silent has
    /// conditions of which it knows nothing.
    fn known(&self) -> NodeStatus {
        let version = |node: &Node| -> u64 {
            let version = node.metadata.resource_version.as_deref();
            version.and_then(|version| version.parse().ok()).unwrap_or(0)
        };
        let seen = (self.node)();
        let newest = match (&seen, &self.written) {
            (Some(seen), Some(written)) if version(seen) < version(written) => Some(written),
            (Some(seen), _) => Some(&**seen),
            // It was deleted, or was never there.
            (None, _) => None,
        };
        newest.and_then(|node| node.status.clone()).unwrap_or_default()
    }

    /// Events about conditions that changed.
    fn tell(&self, old: &NodeStatus, status: &NodeStatus) {
        let before = |type_: &str| old.conditions.iter().flatten().find(|c| c.type_ == type_);
        for condition in status.conditions.iter().flatten() {
            if before(&condition.type_).is_some_and(|before| before.status == condition.status) {
                continue;
            }
            let reason = match (condition.type_.as_str(), condition.status.as_str()) {
                ("Ready", "True") => "NodeReady",
                ("Ready", _) => "NodeNotReady",
                ("MemoryPressure", "True") => "NodeHasInsufficientMemory",
                ("MemoryPressure", _) => "NodeHasSufficientMemory",
                ("DiskPressure", "True") => "NodeHasDiskPressure",
                ("DiskPressure", _) => "NodeHasNoDiskPressure",
                ("PIDPressure", "True") => "NodeHasInsufficientPID",
                _ => "NodeHasSufficientPID",
            };
            let text = format!("Node {} status is now: {reason}", self.options.node_name);
            self.events.node(EventType::Normal, reason, text);
        }
    }

    async fn images(&self) -> Option<Vec<ContainerImage>> {
        let mut images = self.runtime.list_images().await.ok()?;
        images.sort_by_key(|image| std::cmp::Reverse(image.size));
        let listed = images.into_iter().take(MAX_IMAGES).map(|image| ContainerImage {
            names: Some(
                image.repo_digests.into_iter().chain(image.repo_tags).take(MAX_NAMES).collect(),
            ),
            size_bytes: i64::try_from(image.size).ok(),
        });
        Some(listed.collect())
    }
}

/// The status without what changes by itself.
fn essence(status: &NodeStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Some(conditions) = value.get_mut("conditions").and_then(Value::as_array_mut) {
        for condition in conditions.iter_mut().filter_map(Value::as_object_mut) {
            condition.remove("lastHeartbeatTime");
        }
    }
    value
}

/// Makes the status. Reads the machine's memory, disk and processes.
fn generate(
    options: &StatusOptions,
    old: &NodeStatus,
    pressures: &[Pressure],
    problem: &str,
    images: Option<Vec<ContainerImage>>,
    now: Timestamp,
) -> NodeStatus {
    let mut addresses: Vec<NodeAddress> = options
        .addresses
        .iter()
        .map(|address| NodeAddress { address: address.clone(), type_: "InternalIP".into() })
        .collect();
    addresses.push(NodeAddress { address: options.hostname.clone(), type_: "Hostname".into() });
    let capacity = facts::capacity(&options.root_dir, options.max_pods);
    let mut allocatable =
        facts::allocatable(&options.root_dir, options.max_pods, &options.reserved);
    allocatable.extend(extended(old, &capacity));
    NodeStatus {
        addresses: Some(addresses),
        capacity: Some(capacity),
        allocatable: Some(allocatable),
        conditions: Some(conditions(old, pressures, problem, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: options.port }),
        }),
        declared_features: Some(DECLARED.map(str::to_owned).to_vec()),
        images,
        node_info: Some(options.info.clone()),
        ..Default::default()
    }
}

/// What others have put into the Node's capacity: it can be had in full.
/// <https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/>
fn extended(
    old: &NodeStatus,
    own: &BTreeMap<String, Quantity>,
) -> impl Iterator<Item = (String, Quantity)> {
    let all = old.capacity.iter().flatten();
    all.filter(|(name, _)| !own.contains_key(*name))
        .map(|(name, amount)| (name.clone(), amount.clone()))
}

fn conditions(
    old: &NodeStatus,
    pressures: &[Pressure],
    problem: &str,
    now: Timestamp,
) -> Vec<NodeCondition> {
    let pick = |bad: bool, yes: (&'static str, &'static str), no: (&'static str, &'static str)| {
        if bad { ("True", yes.0, yes.1) } else { ("False", no.0, no.1) }
    };
    let memory = pick(
        pressures.contains(&Pressure::Memory),
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    );
    let disk = pick(
        pressures.contains(&Pressure::Disk),
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    );
    let pids = pick(
        pressures.contains(&Pressure::Pid),
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    );
    let ready = if problem.is_empty() {
        ("True", "KubeletReady", "kubelet is posting ready status")
    } else {
        ("False", "KubeletNotReady", problem)
    };
    [("MemoryPressure", memory), ("DiskPressure", disk), ("PIDPressure", pids), ("Ready", ready)]
        .into_iter()
        .map(|(type_, (status, reason, message))| {
            let before = old.conditions.iter().flatten().find(|c| c.type_ == type_);
            let unchanged = before.filter(|c| c.status == status);
            let now = Time(whole_seconds(now));
            NodeCondition {
                type_: type_.into(),
                status: status.into(),
                reason: Some(reason.into()),
                message: Some(message.into()),
                last_transition_time: unchanged
                    .and_then(|c| c.last_transition_time.clone())
                    .or_else(|| Some(now.clone())),
                last_heartbeat_time: Some(now),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_that_others_announce_can_be_had() {
        let list = |all: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
            all.iter().map(|(name, q)| ((*name).to_owned(), Quantity((*q).to_owned()))).collect()
        };
        let old = NodeStatus {
            capacity: Some(list(&[("cpu", "8"), ("example.com/dongle", "3")])),
            allocatable: Some(list(&[("cpu", "8"), ("example.com/gone", "1")])),
            ..Default::default()
        };
        let found: BTreeMap<_, _> = extended(&old, &list(&[("cpu", "2")])).collect();
        assert_eq!(found, list(&[("example.com/dongle", "3")]));
    }
}
