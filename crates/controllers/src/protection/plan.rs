//! Who uses what, and whose finalizer comes or goes.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::object::Meta;

/// Keeps claims that Pods use.
pub(super) const OF_CLAIMS: &str = "kubernetes.io/pvc-protection";
/// Keeps volumes that are bound to claims.
pub(super) const OF_VOLUMES: &str = "kubernetes.io/pv-protection";

/// What is to be done with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its finalizer is missing.
    Protect,
    /// Its finalizer has done its duty.
    Release,
}

/// The step that is due.
pub(super) fn step(metadata: &ObjectMeta, finalizer: &str, used: bool) -> Option<Step> {
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let protected = finalizers.iter().any(|known| known == finalizer);
    match (metadata.deletion_timestamp.is_some(), protected) {
        (true, true) if !used => Some(Step::Release),
        (false, false) => Some(Step::Protect),
        _ => None,
    }
}

/// Names of the claims that a Pod's volumes are.
pub(super) fn claims_of(pod: &Pod) -> Vec<String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref());
    let name = |volume: &k8s_openapi::api::core::v1::Volume| {
        let of_claim = volume.persistent_volume_claim.as_ref();
        let of_pod = volume.ephemeral.as_ref().map(|_| format!("{}-{}", pod.nm(), volume.name));
        of_claim.map(|source| source.claim_name.clone()).or(of_pod)
    };
    volumes.into_iter().flatten().filter_map(name).collect()
}

/// Whether a Pod keeps a claim: it is on a node, and the node is not done with it. Others cannot
/// start with a claim that goes.
pub(super) fn uses(pod: &Pod, claim: &str) -> bool {
    let scheduled = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let done = pod.is_deleting() && pod.metadata.deletion_grace_period_seconds == Some(0);
    scheduled.is_some_and(|node| !node.is_empty())
        && !done
        && claims_of(pod).iter().any(|name| name == claim)
}
