//! Slim projections of the API objects that scheduling reads.
//!
//! Deserializing drops everything that no plugin looks at and turns the rest (quantities, selectors,
//! affinity terms) into the form that plugins compute with, once per object rather than per cycle.

mod affinity;
mod resources;
mod wire;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::marker::PhantomData;

use client::Resource;
use k8s_openapi::api::core::v1::{Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use machinery::selector::LabelSelector;
use serde::Deserialize;

pub use affinity::{
    AffinityTerm, NodeAffinity, NodeRequirement, NodeTerm, PodAffinity, Spread, Weighted,
};
pub use resources::Resources;

/// A Pod as the scheduler sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "wire::Pod")]
pub struct Pod {
    /// Name, namespace, UID, labels, owner; annotations and managed fields are dropped.
    pub metadata: ObjectMeta,
    /// spec.nodeName: where it is bound.
    pub node_name: Option<String>,
    /// spec.schedulerName.
    pub scheduler_name: String,
    /// spec.priority.
    pub priority: i32,
    /// Whether it may push others out.
    pub preempts: bool,
    /// What its containers request together.
    pub requests: Resources,
    /// CPU request with upstream's minimum for containers that ask for none, in millicores.
    pub nonzero_cpu: i64,
    /// Memory request likewise, in bytes.
    pub nonzero_memory: i64,
    /// Requests and limits nothing at all.
    pub best_effort: bool,
    /// Ports on the node.
    pub host_ports: Vec<HostPort>,
    /// spec.tolerations.
    pub tolerations: Vec<Toleration>,
    /// spec.nodeSelector.
    pub node_selector: BTreeMap<String, String>,
    /// spec.affinity.nodeAffinity.
    pub node_affinity: Option<Box<NodeAffinity>>,
    /// spec.affinity.podAffinity and podAntiAffinity.
    pub pod_affinity: Option<Box<PodAffinity>>,
    /// spec.topologySpreadConstraints.
    pub spread: Vec<Spread>,
    /// Images of its containers, normalized.
    pub images: Vec<String>,
    /// Features that its node must declare.
    pub features: Vec<&'static str>,
    /// Has scheduling gates.
    pub gated: bool,
    /// Has succeeded or failed: holds no resources.
    pub terminal: bool,
    /// status.nominatedNodeName.
    pub nominated_node: Option<String>,
    /// The PodScheduled condition.
    pub scheduled: Option<ScheduledCondition>,
    /// status.startTime.
    pub started: Option<Timestamp>,
}

/// A port that a Pod takes on its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The address; `0.0.0.0` for all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The port.
    pub port: i32,
}

/// What the PodScheduled condition says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduledCondition {
    /// `True` or `False`.
    pub status: String,
    /// `Unschedulable`, `SchedulerError` or `SchedulingGated`.
    pub reason: String,
    /// Why.
    pub message: String,
    /// When status last changed.
    pub transition: Option<String>,
}

/// A Node as the scheduler sees it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "wire::Node")]
pub struct Node {
    /// Name, UID and labels; annotations and managed fields are dropped.
    pub metadata: ObjectMeta,
    /// spec.unschedulable.
    pub unschedulable: bool,
    /// spec.taints.
    pub taints: Vec<Taint>,
    /// status.allocatable.
    pub allocatable: Resources,
    /// Image names on the node with their size in bytes.
    pub images: Vec<(String, i64)>,
    /// status.declaredFeatures.
    pub features: Vec<String>,
}

/// An object that selects Pods by labels: Service, ReplicaSet, StatefulSet, ReplicationController.
/// `K` is the full kind, which names the resource.
#[derive(Deserialize)]
#[serde(from = "wire::Selecting", bound = "")]
pub struct Selecting<K> {
    /// Name, namespace and UID.
    pub metadata: ObjectMeta,
    /// spec.selector; nothing when there is none.
    pub selector: LabelSelector,
    kind: PhantomData<fn() -> K>,
}

/// A Namespace: its labels.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Namespace {
    /// Name and labels.
    #[serde(default)]
    pub metadata: ObjectMeta,
}

macro_rules! resource {
    ([$($generics:tt)*] $slim:ty, $full:ty, $scope:ty) => {
        impl<$($generics)*> Resource for $slim {
            type DynamicType = ();
            type Scope = $scope;

            fn kind((): &()) -> Cow<'_, str> {
                <$full as k8s_openapi::Resource>::KIND.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                <$full as k8s_openapi::Resource>::GROUP.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                <$full as k8s_openapi::Resource>::VERSION.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                <$full as k8s_openapi::Resource>::URL_PATH_SEGMENT.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!([] Pod, k8s_openapi::api::core::v1::Pod, k8s_openapi::NamespaceResourceScope);
resource!([] Node, k8s_openapi::api::core::v1::Node, k8s_openapi::ClusterResourceScope);
resource!([] Namespace, k8s_openapi::api::core::v1::Namespace, k8s_openapi::ClusterResourceScope);
resource!([K: k8s_openapi::Resource] Selecting<K>, K, k8s_openapi::NamespaceResourceScope);

impl<K> Clone for Selecting<K> {
    fn clone(&self) -> Self {
        Selecting {
            metadata: self.metadata.clone(),
            selector: self.selector.clone(),
            kind: PhantomData,
        }
    }
}

impl<K> std::fmt::Debug for Selecting<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Selecting({:?}, {})", self.metadata.name, self.selector)
    }
}

// === impl Pod ===

impl Pod {
    /// metadata.uid.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// metadata.namespace.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// metadata.name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// metadata.labels.
    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.metadata.labels.as_ref()
    }

    /// Whether it is being deleted.
    pub fn terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }
}

// === impl Node ===

impl Node {
    /// metadata.name.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }
}
