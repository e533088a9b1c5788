//! The revisions of a Pod template, which rollbacks go back to. Pure.
//!
//! DaemonSets and StatefulSets keep them as ControllerRevisions.

use std::collections::BTreeSet;
use std::sync::Arc;

use client::Resource;
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use crate::object::{Meta, controller_reference};
use crate::template;

/// Names the revision that a Pod was made of.
pub(crate) const REVISION_LABEL: &str = "controller-revision-hash";

/// What the history lacks, and the revision that the template is.
#[derive(Debug)]
pub(crate) enum Current {
    /// The template is this stored revision, which is the newest.
    Stored(Arc<ControllerRevision>),
    /// It is this one, which must become the newest.
    Renumber(Box<ControllerRevision>),
    Create(Box<ControllerRevision>),
}

/// The part of the spec that a revision keeps, as a patch that brings it back.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    if let Some(members) = template.as_object_mut() {
        members.insert("$patch".to_owned(), json!("replace"));
    }
    json!({"spec": {"template": template}})
}

/// The template that a revision keeps.
pub(crate) fn template_of(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.get("spec")?.get("template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

/// Finds the revision of the owner's current template.
pub(crate) fn current<K: Resource<DynamicType = ()>>(
    owner: &K,
    template: &PodTemplateSpec,
    collisions: Option<i32>,
    history: &[Arc<ControllerRevision>],
) -> Current {
    let newest = history.iter().map(|r| r.revision).max().unwrap_or(0);
    let equal = history.iter().filter(|r| template_of(r).as_ref() == Some(template));
    if let Some(found) = equal.max_by_key(|r| r.revision) {
        if found.revision == newest {
            return Current::Stored(Arc::clone(found));
        }
        let mut renumbered = (**found).clone();
        renumbered.revision = newest + 1;
        return Current::Renumber(Box::new(renumbered));
    }
    let hash = template::hash(template, collisions);
    let mut labels = template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default();
    let name = format!("{}-{hash}", owner.nm());
    labels.insert(REVISION_LABEL.to_owned(), hash);
    Current::Create(Box::new(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(owner.ns().to_owned()),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone(),
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data(template))),
        revision: newest + 1,
    }))
}

/// Names of revisions beyond `limit` that are neither in `keep` nor in use, oldest first; a negative
/// limit keeps them all. `live` are the revision labels of the Pods.
pub(crate) fn surplus(
    limit: Option<i32>,
    history: &[Arc<ControllerRevision>],
    keep: &[&str],
    live: &BTreeSet<&str>,
) -> Vec<String> {
    let mut old: Vec<&Arc<ControllerRevision>> = history
        .iter()
        .filter(|r| {
            let hash = r.label(REVISION_LABEL).unwrap_or_default();
            !keep.contains(&r.nm()) && !live.contains(hash) && !live.contains(r.nm())
        })
        .collect();
    old.sort_by_key(|r| r.revision);
    let Ok(limit) = usize::try_from(limit.unwrap_or(10)) else { return Vec::new() };
    let surplus = old.len().saturating_sub(limit);
    old.into_iter().take(surplus).map(|r| r.nm().to_owned()).collect()
}
