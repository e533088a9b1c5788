//! Labels and annotations that tie sandboxes and containers to their Pod, as upstream names them,
//! so that a kubelet (this one after a restart, or another one) recognizes and adopts them.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Container, Pod};

use crate::seam::PodUid;

/// Label: name of the Pod.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: namespace of the Pod.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: UID of the Pod.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label: name of the container in the Pod.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: hash of the part of the container that forces a restart when it changes.
pub const HASH: &str = "io.kubernetes.container.hash";
/// Annotation: restarts before this instance.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: where the container leaves its last words.
pub const TERMINATION_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: whether the log stands in for missing last words.
pub const TERMINATION_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the Pod's grace period in seconds.
pub const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// Label selector for everything of one Pod.
pub fn of_pod(uid: &PodUid) -> HashMap<String, String> {
    HashMap::from([(POD_UID.to_owned(), uid.0.clone())])
}

fn identity(pod: &Pod) -> HashMap<String, String> {
    let meta = &pod.metadata;
    HashMap::from([
        (POD_NAME.to_owned(), meta.name.clone().unwrap_or_default()),
        (POD_NAMESPACE.to_owned(), meta.namespace.clone().unwrap_or_default()),
        (POD_UID.to_owned(), meta.uid.clone().unwrap_or_default()),
    ])
}

/// Labels of a sandbox: the Pod's own and its identity.
pub fn for_sandbox(pod: &Pod) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> =
        pod.metadata.labels.clone().unwrap_or_default().into_iter().collect();
    labels.extend(identity(pod));
    labels
}

/// Labels of a container.
pub fn for_container(pod: &Pod, container: &Container) -> HashMap<String, String> {
    let mut labels = identity(pod);
    labels.insert(CONTAINER_NAME.to_owned(), container.name.clone());
    labels
}

/// Annotations of a container instance.
pub fn container_annotations(
    pod: &Pod,
    container: &Container,
    restart_count: u32,
) -> HashMap<String, String> {
    let mut all = HashMap::from([
        (HASH.to_owned(), format!("{:x}", container_hash(container))),
        (RESTART_COUNT.to_owned(), restart_count.to_string()),
        (
            TERMINATION_PATH.to_owned(),
            container.termination_message_path.clone().unwrap_or_default(),
        ),
        (
            TERMINATION_POLICY.to_owned(),
            container.termination_message_policy.clone().unwrap_or_default(),
        ),
    ]);
    if let Some(grace) = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds) {
        all.insert(GRACE.to_owned(), grace.to_string());
    }
    all
}

/// 32-bit FNV-1a over name and image, the only fields whose change restarts a container.
pub fn container_hash(container: &Container) -> u32 {
    let picked = BTreeMap::from([
        ("image", container.image.as_deref().unwrap_or_default()),
        ("name", container.name.as_str()),
    ]);
    let text = serde_json::to_string(&picked).expect("a map of strings has a JSON form");
    fnv1a(text.bytes())
}

/// 32-bit FNV-1a.
pub fn fnv1a(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
