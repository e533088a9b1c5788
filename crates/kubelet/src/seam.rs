//! What the parts of the kubelet know of each other: Pod identity, the node's view of the API, and
//! access to running Pods for the server, the prober and the log keeper.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::jiff::Timestamp;

use crate::cri;

/// UID of a Pod; for static Pods the hash of their file, for all others the API's UID.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(pub String);

/// UID of `pod` (empty for an object that never passed a source).
pub fn pod_uid(pod: &Pod) -> PodUid {
    PodUid(pod.metadata.uid.clone().unwrap_or_default())
}

/// Addresses of a Pod and of its node, most preferred first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodIps {
    /// The Pod's own addresses; empty until its sandbox has a network.
    pub pod: Vec<String>,
    /// The node's addresses.
    pub host: Vec<String>,
}

/// What the node knows of the API besides its Pods.
pub trait Sources: Send + Sync {
    /// This node's object, once seen.
    fn node(&self) -> Option<Arc<Node>>;
    /// Services whose variables containers of `namespace` get: those of the namespace and
    /// `default/kubernetes`.
    fn services(&self, namespace: &str) -> Vec<Arc<Service>>;
}

/// One container instance as the runtime knows it.
#[derive(Clone, Debug)]
pub struct ContainerRef {
    /// Runtime's ID, without the `containerd://` prefix.
    pub id: String,
    /// Log file in CRI format.
    pub log_path: PathBuf,
    /// Whether its process runs now.
    pub running: bool,
    /// Start of the process.
    pub started_at: Option<Timestamp>,
    /// End of the process.
    pub finished_at: Option<Timestamp>,
    /// Exit code, once ended.
    pub exit_code: Option<i32>,
    /// How often the container was restarted before this instance.
    pub restart_count: u32,
    /// Image as the runtime names it.
    pub image: String,
}

/// Access to the Pods of this node, implemented by the core.
pub trait PodAccess: Send + Sync {
    /// All Pods with their current status.
    fn pods(&self) -> Vec<Arc<Pod>>;
    /// One Pod by name, with its current status.
    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>>;
    /// ID of the newest ready sandbox.
    fn sandbox_id(&self, uid: &PodUid) -> Option<String>;
    /// Newest instance of a container (or the one before, with `previous`).
    fn container(&self, uid: &PodUid, name: &str, previous: bool) -> Option<ContainerRef>;
    /// The container runtime.
    fn runtime(&self) -> &cri::Runtime;
    /// Has the Pod looked at now instead of at its next turn.
    fn sync_now(&self, uid: &PodUid);
    /// Health checks of the kubelet: name and verdict.
    fn healthy(&self) -> Vec<(&'static str, Result<(), String>)>;
}

// === impl PodUid ===

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
