//! What every Pod worker shares: the runtime, the node's facts and the services that prepare Pods.

use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cgroup::Cgroups;
use crate::cgroup::resources::NodeMemory;
use crate::cri::Runtime;
use crate::env::EnvContext;
use crate::events::Events;
use crate::eviction::Pressure;
use crate::images::Images;
use crate::node::runtime_state::RuntimeState;
use crate::objects::Objects;
use crate::pod::reporter::Reporter;
use crate::pod::resize::ledger::Ledger;
use crate::probe;
use crate::runtime::dns::DnsContext;
use crate::runtime::records::PodRecord;
use crate::runtime::security::SecurityDefaults;
use crate::seam::{PodIps, PodUid, Sources};
use crate::volumes::VolumeManager;

/// Shared by all workers.
pub struct Context {
    /// The container runtime.
    pub runtime: Runtime,
    /// `containerd`, as container IDs name it.
    pub runtime_name: String,
    /// Whether runtime and network are up.
    pub runtime_state: watch::Receiver<RuntimeState>,
    /// What the node is short of.
    pub pressures: watch::Receiver<Vec<Pressure>>,
    /// API access; none in standalone mode.
    pub api: Option<kube::Client>,
    /// Recorder of events.
    pub events: Events,
    /// Volumes of Pods.
    pub volumes: VolumeManager,
    /// ConfigMaps and Secrets.
    pub objects: Objects,
    /// Probes.
    pub probes: probe::Manager,
    /// Cgroups of Pods; none where the hierarchy is not writable.
    pub cgroups: Option<Cgroups>,
    /// Images.
    pub images: Images,
    /// Node and Services.
    pub sources: Arc<dyn Sources>,
    /// What Pods were allocated.
    pub ledger: Ledger,
    /// Writer of statuses.
    pub reporter: Reporter,
    /// Resolver facts.
    pub dns: DnsContext,
    /// Security defaults.
    pub security: SecurityDefaults,
    /// `/var/lib/kubelet`.
    pub root_dir: PathBuf,
    /// `/var/log/pods`.
    pub log_dir: PathBuf,
    /// Name of the node.
    pub node_name: String,
    /// Addresses of the node.
    pub host_ips: Arc<RwLock<Vec<String>>>,
    /// Kernel parameters that Pods may set besides the safe ones.
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Memory facts for OOM scores.
    pub memory: NodeMemory,
    /// Whether the node is about to stop, so that it takes no more Pods.
    pub going_down: watch::Receiver<bool>,
    /// Ends the workers; their containers stay.
    pub shutdown: CancellationToken,
}

// === impl Context ===

impl Context {
    /// Addresses of the node.
    pub fn host_ips(&self) -> Vec<String> {
        self.host_ips.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Addresses of a Pod, as its containers are told them.
    pub fn ips(&self, pod: &Pod, record: &PodRecord) -> PodIps {
        let host = self.host_ips();
        let own = if crate::pod::spec::host_network(pod) {
            host.clone()
        } else {
            record.sandbox().filter(|s| s.ready).map(|s| s.ips.clone()).unwrap_or_default()
        };
        PodIps { pod: own, host }
    }

    /// Folder of a Pod's files.
    pub fn pod_dir(&self, uid: &PodUid) -> PathBuf {
        self.root_dir.join("pods").join(&uid.0)
    }

    /// Folder of the logs of a Pod's containers.
    pub fn pod_log_dir(&self, pod: &Pod) -> PathBuf {
        let meta = &pod.metadata;
        pod_log_dir(
            &self.log_dir,
            meta.namespace.as_deref().unwrap_or_default(),
            meta.name.as_deref().unwrap_or_default(),
            meta.uid.as_deref().unwrap_or_default(),
        )
    }

    /// Sources of environment variables.
    pub fn env<'a>(&'a self, ips: &'a PodIps) -> EnvContext<'a> {
        EnvContext {
            node_name: &self.node_name,
            ips,
            objects: &self.objects,
            sources: self.sources.as_ref(),
        }
    }
}

/// `<logs>/NAMESPACE_NAME_UID`.
pub fn pod_log_dir(logs: &Path, namespace: &str, name: &str, uid: &str) -> PathBuf {
    logs.join(format!("{namespace}_{name}_{uid}"))
}
