//! The name, the storage and the Pod of each member of a StatefulSet. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};

use crate::history::REVISION_LABEL;
use crate::object::{Meta, controller_reference};
use crate::pods;

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The name of the member with this ordinal.
pub(super) fn name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.nm())
}

/// The ordinal of a Pod of this set.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let digits = pod.nm().strip_prefix(set.nm())?.strip_prefix('-')?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The lowest ordinal.
pub(super) fn start(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.ordinals.as_ref()?.start).unwrap_or(0)
}

fn claim_templates(set: &StatefulSet) -> &[PersistentVolumeClaim] {
    set.spec.as_ref().and_then(|s| s.volume_claim_templates.as_deref()).unwrap_or_default()
}

/// The claims of a member.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let selector = set.spec.as_ref().and_then(|s| s.selector.match_labels.clone());
    claim_templates(set)
        .iter()
        .map(|template| {
            let mut claim = template.clone();
            claim.metadata.name = Some(format!("{}-{}", template.nm(), name(set, ordinal)));
            claim.metadata.namespace = set.metadata.namespace.clone();
            let mut labels = selector.clone().unwrap_or_default();
            labels.extend(template.metadata.labels.clone().unwrap_or_default());
            claim.metadata.labels = Some(labels).filter(|l: &BTreeMap<_, _>| !l.is_empty());
            claim.status = None;
            claim
        })
        .collect()
}

/// The Pod of a member, made of a revision's template.
pub(super) fn pod(
    set: &StatefulSet,
    template: &PodTemplateSpec,
    revision: &str,
    ordinal: i32,
) -> Pod {
    let mut pod = pods::from_template(template, set.ns(), controller_reference(set));
    let name = name(set, ordinal);
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(name.clone());
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.to_owned(), name.clone());
    labels.insert(POD_INDEX.to_owned(), ordinal.to_string());
    labels.insert(REVISION_LABEL.to_owned(), revision.to_owned());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.as_ref().and_then(|s| s.service_name.clone());
    let templates = claim_templates(set);
    if templates.is_empty() {
        return pod;
    }
    let volumes = spec.volumes.get_or_insert_default();
    volumes.retain(|v| !templates.iter().any(|t| t.nm() == v.name));
    volumes.extend(templates.iter().map(|template| Volume {
        name: template.nm().to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: format!("{}-{name}", template.nm()),
            read_only: None,
        }),
        ..Volume::default()
    }));
    pod
}
