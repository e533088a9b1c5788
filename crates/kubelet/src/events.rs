//! Events about Pods and the node, in upstream's form.

use k8s_openapi::api::core::v1::{ObjectReference, Pod};

/// Annotation of a static Pod's API copy.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// How grave an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    /// Business as usual.
    Normal,
    /// Something to look at.
    Warning,
}

/// Records events; without an API server they only reach the log.
#[derive(Clone)]
pub struct Events {
    node_name: String,
    recorder: Option<client::EventRecorder>,
}

// === impl Events ===

impl Events {
    /// A recorder for the kubelet of `node_name`.
    pub fn new(node_name: &str, api: Option<kube::Client>) -> Self {
        let recorder = api.map(|api| client::EventRecorder::new(api, "kubelet", Some(node_name)));
        Self { node_name: node_name.to_owned(), recorder }
    }

    /// An event about a Pod as a whole.
    pub fn pod(&self, pod: &Pod, kind: EventType, reason: &str, message: impl Into<String>) {
        self.record(pod_reference(pod, None), kind, reason, message.into());
    }

    /// An event about one container of a Pod.
    pub fn container(
        &self,
        pod: &Pod,
        container: &str,
        kind: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let path = container_field_path(pod, container);
        self.record(pod_reference(pod, path), kind, reason, message.into());
    }

    /// An event about the node.
    pub fn node(&self, kind: EventType, reason: &str, message: impl Into<String>) {
        // As upstream: the node's name stands in for its UID, and the event has no namespace.
        let reference = ObjectReference {
            kind: Some("Node".into()),
            name: Some(self.node_name.clone()),
            uid: Some(self.node_name.clone()),
            ..Default::default()
        };
        self.record(reference, kind, reason, message.into());
    }

    fn record(&self, about: ObjectReference, kind: EventType, reason: &str, message: String) {
        tracing::info!(
            object = about.name.as_deref().unwrap_or_default(),
            namespace = about.namespace.as_deref().unwrap_or_default(),
            field = about.field_path.as_deref().unwrap_or_default(),
            reason,
            message,
            "event"
        );
        if let Some(recorder) = &self.recorder {
            let kind = match kind {
                EventType::Normal => client::EventType::Normal,
                EventType::Warning => client::EventType::Warning,
            };
            recorder.event_ref(&about, kind, reason, message);
        }
    }
}

fn pod_reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    let meta = &pod.metadata;
    // kubectl looks events of static Pods up by the hash in the mirror annotation, which is the
    // static Pod's own UID.
    let mirror = meta.annotations.as_ref().and_then(|all| all.get(MIRROR)).cloned();
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: mirror.or_else(|| meta.uid.clone()),
        resource_version: meta.resource_version.clone(),
        field_path,
    }
}

/// `spec.containers{name}`, or with the list the container is in.
fn container_field_path(pod: &Pod, name: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if spec.containers.iter().any(|c| c.name == name) {
        return Some(format!("spec.containers{{{name}}}"));
    }
    if spec.init_containers.iter().flatten().any(|c| c.name == name) {
        return Some(format!("spec.initContainers{{{name}}}"));
    }
    spec.ephemeral_containers
        .iter()
        .flatten()
        .any(|c| c.name == name)
        .then(|| format!("spec.ephemeralContainers{{{name}}}"))
}
