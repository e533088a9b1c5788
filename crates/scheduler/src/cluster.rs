//! What the scheduler knows of the cluster: nodes with the Pods on them, assumed ones included.
//!
//! Only the scheduling loop owns it. A cycle borrows it immutably, so it is its own snapshot: nothing
//! is copied per cycle, and a change costs only what it touches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use machinery::selector::LabelSelector;

use crate::objects::{HostPort, Node, Pod, Resources};

/// A node and the sum of what is on it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    /// The node.
    pub node: Arc<Node>,
    /// The Pods on it.
    pub pods: Vec<Arc<Pod>>,
    /// Those of them with any affinity or anti-affinity to other Pods.
    pub affine: Vec<Arc<Pod>>,
    /// Sum of requests.
    pub requested: Resources,
    /// Sum of CPU requests with the assumed minimum.
    pub nonzero_cpu: i64,
    /// Sum of memory requests with the assumed minimum.
    pub nonzero_memory: i64,
    /// Ports taken.
    pub ports: Vec<HostPort>,
}

/// An image somewhere in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageState {
    /// Bytes.
    pub size: i64,
    /// How many nodes have it.
    pub nodes: i64,
}

/// Which kind of owner spreads its Pods by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OwnerKind {
    /// A Service (an owner only in so far as it selects).
    Service,
    /// apps/v1 ReplicaSet.
    ReplicaSet,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// v1 ReplicationController.
    ReplicationController,
}

#[derive(Clone, Debug)]
struct Placed {
    pod: Arc<Pod>,
    node: String,
    assumed: bool,
}

/// Everything that plugins may look at.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: Vec<NodeInfo>,
    index: HashMap<String, usize>,
    pods: HashMap<String, Placed>,
    /// Pods by name of a node that is not (or no longer) known.
    homeless: HashMap<String, HashSet<String>>,
    images: HashMap<String, ImageState>,
    nominated: HashMap<String, Vec<Arc<Pod>>>,
    namespaces: HashMap<String, BTreeMap<String, String>>,
    owners: HashMap<(OwnerKind, String), HashMap<String, LabelSelector>>,
    affine_pods: usize,
}

// === impl NodeInfo ===

impl NodeInfo {
    /// A node with nothing on it.
    pub fn new(node: Arc<Node>) -> Self {
        NodeInfo { node, ..Default::default() }
    }

    /// Puts a Pod on it.
    pub fn add(&mut self, pod: Arc<Pod>) {
        self.requested.add(&pod.requests);
        self.nonzero_cpu += pod.nonzero_cpu;
        self.nonzero_memory += pod.nonzero_memory;
        self.ports.extend(pod.host_ports.iter().cloned());
        if pod.pod_affinity.is_some() {
            self.affine.push(Arc::clone(&pod));
        }
        self.pods.push(pod);
    }

    /// Takes a Pod off it.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<Pod>> {
        let at = self.pods.iter().position(|p| p.uid() == uid)?;
        let pod = self.pods.swap_remove(at);
        self.affine.retain(|p| p.uid() != uid);
        self.requested.subtract(&pod.requests);
        self.nonzero_cpu -= pod.nonzero_cpu;
        self.nonzero_memory -= pod.nonzero_memory;
        for port in &pod.host_ports {
            if let Some(at) = self.ports.iter().position(|p| p == port) {
                self.ports.swap_remove(at);
            }
        }
        Some(pod)
    }

    /// The node's name.
    pub fn name(&self) -> &str {
        self.node.name()
    }
}

// === impl Cluster ===

impl Cluster {
    /// All nodes, in the order that cycles go round.
    pub fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// One node.
    pub fn node(&self, name: &str) -> Option<(usize, &NodeInfo)> {
        let at = *self.index.get(name)?;
        Some((at, &self.nodes[at]))
    }

    /// An image by its normalized name.
    pub fn image(&self, name: &str) -> Option<ImageState> {
        self.images.get(name).copied()
    }

    /// Whether any Pod anywhere has affinity rules towards others.
    pub fn has_affine_pods(&self) -> bool {
        self.affine_pods > 0
    }

    /// Labels of a namespace.
    pub fn namespace_labels(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(name)
    }

    /// Pods that are to get room on a node by preemption.
    pub fn nominated_on(&self, node: &str) -> &[Arc<Pod>] {
        self.nominated.get(node).map(Vec::as_slice).unwrap_or_default()
    }

    /// The Pod called so, if it is on a node.
    pub fn placed(&self, uid: &str) -> Option<(&Arc<Pod>, &str)> {
        self.pods.get(uid).map(|p| (&p.pod, p.node.as_str()))
    }

    /// The selector that default spreading uses for `pod`: that of its Services and its owner
    /// together; `None` when it has neither.
    pub fn default_selector(&self, pod: &Pod) -> Option<LabelSelector> {
        let namespace = pod.namespace().to_owned();
        let labels = pod.labels();
        let mut requirements = Vec::new();
        if let Some(services) = self.owners.get(&(OwnerKind::Service, namespace.clone())) {
            for selector in services.values().filter(|s| s.matches(&labels)) {
                requirements.extend(selector.requirements().iter().cloned());
            }
        }
        let owner =
            pod.metadata.owner_references.iter().flatten().find(|o| o.controller == Some(true));
        let kind = owner.and_then(|o| match (o.api_version.as_str(), o.kind.as_str()) {
            ("apps/v1", "ReplicaSet") => Some(OwnerKind::ReplicaSet),
            ("apps/v1", "StatefulSet") => Some(OwnerKind::StatefulSet),
            ("v1", "ReplicationController") => Some(OwnerKind::ReplicationController),
            _ => None,
        });
        if let (Some(owner), Some(kind)) = (owner, kind)
            && let Some(selector) =
                self.owners.get(&(kind, namespace)).and_then(|o| o.get(&owner.name))
        {
            requirements.extend(selector.requirements().iter().cloned());
        }
        (!requirements.is_empty()).then(|| LabelSelector::new(requirements))
    }

    /// Adds a node or takes its new state.
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.name().to_owned();
        self.count_images(&node, 1);
        if let Some(&at) = self.index.get(&name) {
            let old = std::mem::replace(&mut self.nodes[at].node, node);
            self.count_images(&old, -1);
            return;
        }
        let mut info = NodeInfo::new(node);
        for uid in self.homeless.remove(&name).unwrap_or_default() {
            if let Some(placed) = self.pods.get(&uid) {
                info.add(Arc::clone(&placed.pod));
            }
        }
        self.index.insert(name, self.nodes.len());
        self.nodes.push(info);
    }

    /// Removes a node. Its Pods are remembered until they are deleted themselves.
    pub fn remove_node(&mut self, name: &str) {
        let Some(at) = self.index.remove(name) else {
            return;
        };
        let info = self.nodes.swap_remove(at);
        if let Some(moved) = self.nodes.get(at) {
            self.index.insert(moved.name().to_owned(), at);
        }
        let node = Arc::clone(&info.node);
        self.count_images(&node, -1);
        if !info.pods.is_empty() {
            let uids = info.pods.iter().map(|p| p.uid().to_owned()).collect();
            self.homeless.insert(name.to_owned(), uids);
        }
    }

    /// Counts a Pod as being on `node` before the API server says so.
    pub fn assume(&mut self, pod: Arc<Pod>, node: &str) {
        self.place(pod, node.to_owned(), true);
    }

    /// A bound Pod as the API server has it.
    pub fn set_pod(&mut self, pod: Arc<Pod>) {
        let Some(node) = pod.node_name.clone() else {
            return;
        };
        self.place(pod, node, false);
    }

    /// Takes back an assumption, unless the API server has confirmed it meanwhile.
    pub fn forget(&mut self, uid: &str) {
        if self.pods.get(uid).is_some_and(|p| p.assumed) {
            self.remove_pod(uid);
        }
    }

    /// Whether the Pod is on a node only by assumption.
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.pods.get(uid).is_some_and(|p| p.assumed)
    }

    /// Removes a Pod from its node.
    pub fn remove_pod(&mut self, uid: &str) {
        let Some(placed) = self.pods.remove(uid) else {
            return;
        };
        self.affine_pods -= usize::from(placed.pod.pod_affinity.is_some());
        match self.index.get(&placed.node) {
            Some(&at) => {
                self.nodes[at].remove(uid);
            }
            None => {
                if let Some(uids) = self.homeless.get_mut(&placed.node) {
                    uids.remove(uid);
                    if uids.is_empty() {
                        self.homeless.remove(&placed.node);
                    }
                }
            }
        }
    }

    /// Notes that room is being made for `pod` on `node`.
    pub fn nominate(&mut self, pod: Arc<Pod>, node: &str) {
        self.unnominate(pod.uid());
        self.nominated.entry(node.to_owned()).or_default().push(pod);
    }

    /// Forgets such a note.
    pub fn unnominate(&mut self, uid: &str) {
        self.nominated.retain(|_, pods| {
            pods.retain(|p| p.uid() != uid);
            !pods.is_empty()
        });
    }

    /// Takes the labels of a namespace; `None` when it is gone.
    pub fn set_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) {
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
    }

    /// Takes the selector of a Service or owner; `None` when it is gone.
    pub fn set_owner(
        &mut self,
        kind: OwnerKind,
        namespace: &str,
        name: &str,
        selector: Option<LabelSelector>,
    ) {
        let owners = self.owners.entry((kind, namespace.to_owned())).or_default();
        match selector {
            Some(selector) => owners.insert(name.to_owned(), selector),
            None => owners.remove(name),
        };
    }

    fn place(&mut self, pod: Arc<Pod>, node: String, assumed: bool) {
        let uid = pod.uid().to_owned();
        self.remove_pod(&uid);
        self.affine_pods += usize::from(pod.pod_affinity.is_some());
        match self.index.get(&node) {
            Some(&at) => self.nodes[at].add(Arc::clone(&pod)),
            None => {
                self.homeless.entry(node.clone()).or_default().insert(uid.clone());
            }
        }
        self.pods.insert(uid, Placed { pod, node, assumed });
    }

    fn count_images(&mut self, node: &Node, by: i64) {
        for (name, size) in &node.images {
            let state = self.images.entry(name.clone()).or_default();
            state.size = *size;
            state.nodes += by;
            if state.nodes <= 0 {
                self.images.remove(name);
            }
        }
    }
}
