//! What the cluster looks like now: copies that informers keep, of what a drill looks at.

use std::collections::HashMap;
use std::sync::Arc;

use client::{Api, Client, Informer, Resource};
use k8s_openapi::api::apps::v1::{DaemonSet, ReplicaSet};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::sight::{EventSight, NodeSight, Pods, Seen};
use crate::workload::APP;

/// The namespace of the cluster's own Pods.
pub(crate) const SYSTEM: &str = "kube-system";

/// A view of the cluster from one namespace.
pub(crate) struct View {
    namespace: String,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    events: Informer<Event>,
    replica_sets: Informer<ReplicaSet>,
    daemon_sets: Informer<DaemonSet>,
    changed: watch::Receiver<u64>,
    /// The events there were at the start, by UID, as they were.
    old_events: HashMap<String, String>,
    _following: DropGuard,
}

// === impl View ===

impl View {
    /// Starts to look, and returns once everything has been seen once.
    pub(crate) async fn open(client: &Client, namespace: &str) -> Self {
        let stop = CancellationToken::new();
        let (changes, changed) = watch::channel(0);
        let changes = Arc::new(changes);
        let mut view = Self {
            namespace: namespace.to_owned(),
            pods: follow(Api::all(client.clone()), &changes, &stop),
            nodes: follow(Api::all(client.clone()), &changes, &stop),
            events: follow(Api::all(client.clone()), &changes, &stop),
            replica_sets: follow(Api::namespaced(client.clone(), namespace), &changes, &stop),
            daemon_sets: follow(Api::namespaced(client.clone(), SYSTEM), &changes, &stop),
            changed,
            old_events: HashMap::new(),
            _following: stop.drop_guard(),
        };
        tokio::join!(
            view.pods.synced(),
            view.nodes.synced(),
            view.events.synced(),
            view.replica_sets.synced(),
            view.daemon_sets.synced()
        );
        view.old_events = view.events.list().iter().map(|event| identity(event)).collect();
        view
    }

    /// Tells of every change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }

    /// The Pods of a workload of the drill.
    pub(crate) fn pods(&self, app: &str) -> Pods {
        let belongs = |pod: &Arc<Pod>| {
            pod.metadata
                .labels
                .as_ref()
                .and_then(|labels| labels.get(APP))
                .is_some_and(|a| a == app)
        };
        Pods(self.pods.list_namespace(&self.namespace).into_iter().filter(belongs).collect())
    }

    /// The Pods of the control plane and the add-ons.
    pub(crate) fn system_pods(&self) -> Pods {
        Pods(self.pods.list_namespace(SYSTEM))
    }

    /// The mirror Pod of a component of the control plane on `node`.
    pub(crate) fn static_pod(&self, component: &str, node: &str) -> Pods {
        let pod = self.pods.get(Some(SYSTEM), &format!("{component}-{node}"));
        Pods(pod.into_iter().collect())
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.list()
    }

    /// A node.
    pub(crate) fn node(&self, name: &str) -> Seen<NodeSight> {
        let node = self.nodes.get(None, name);
        node.map(NodeSight::new).ok_or_else(|| format!("there is no node {name}"))
    }

    /// The cluster's DaemonSets.
    pub(crate) fn daemon_sets(&self) -> Vec<Arc<DaemonSet>> {
        self.daemon_sets.list()
    }

    /// There is no ReplicaSet.
    pub(crate) fn no_replica_sets(&self) -> Seen<()> {
        match self.replica_sets.len() {
            0 => Ok(()),
            count => Err(format!("{count} ReplicaSets")),
        }
    }

    /// A new event about an object (of the drill's namespace, of `kube-system`, or a node).
    pub(crate) fn event(&self, kind: &str, name: &str, reason: &str) -> Seen<EventSight> {
        let fits = |event: &&Arc<Event>| {
            let about = &event.involved_object;
            let (uid, version) = identity(event);
            event.reason.as_deref() == Some(reason)
                && about.kind.as_deref() == Some(kind)
                && about.name.as_deref() == Some(name)
                && (kind == "Node"
                    || about.namespace.as_deref() == Some(&self.namespace)
                    || about.namespace.as_deref() == Some(SYSTEM))
                && self.old_events.get(&uid) != Some(&version)
        };
        let found = self.events.list().iter().find(fits).cloned();
        found.map(EventSight).ok_or_else(|| format!("no event {reason} about {kind} {name}"))
    }

    /// There is a new event about each of these Pods.
    pub(crate) fn event_about_each(&self, pods: &Pods, reason: &str) -> Seen<EventSight> {
        let mut last = Err("there are no Pods".to_owned());
        for name in pods.names() {
            last = Ok(self.event("Pod", name, reason)?);
        }
        last
    }
}

fn identity(event: &Event) -> (String, String) {
    let meta = &event.metadata;
    (meta.uid.clone().unwrap_or_default(), meta.resource_version.clone().unwrap_or_default())
}

fn follow<K>(
    api: Api<K>,
    changes: &Arc<watch::Sender<u64>>,
    stop: &CancellationToken,
) -> Informer<K>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let informer = Informer::builder(api).start(stop);
    let changes = Arc::clone(changes);
    informer.on_event(move |_| changes.send_modify(|count| *count += 1));
    informer
}
