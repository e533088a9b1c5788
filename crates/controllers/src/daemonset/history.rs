//! The revisions of a DaemonSet's template, which rollbacks go back to. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

use super::placement::REVISION_LABEL;
use crate::object::{Meta, controller_reference};
use crate::template;

/// What the history lacks, and the revision that the template is.
#[derive(Debug)]
pub(super) enum Current {
    /// The template is this stored revision, which is the newest.
    Stored(Arc<ControllerRevision>),
    /// It is this one, which must become the newest.
    Renumber(Box<ControllerRevision>),
    Create(Box<ControllerRevision>),
}

/// The part of the spec that a revision keeps, as a patch that brings it back.
fn data(set: &DaemonSet) -> Value {
    let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let mut template = json!(template);
    if let Some(members) = template.as_object_mut() {
        members.insert("$patch".to_owned(), json!("replace"));
    }
    json!({"spec": {"template": template}})
}

fn same(a: Option<&RawExtension>, b: &Value) -> bool {
    a.is_some_and(|a| a.0 == *b)
}

/// Finds the revision of the current template.
pub(super) fn current(set: &DaemonSet, history: &[Arc<ControllerRevision>]) -> Current {
    let data = data(set);
    let newest = history.iter().map(|r| r.revision).max().unwrap_or(0);
    let equal = history.iter().filter(|r| same(r.data.as_ref(), &data));
    if let Some(found) = equal.max_by_key(|r| r.revision) {
        if found.revision == newest {
            return Current::Stored(Arc::clone(found));
        }
        let mut renumbered = (**found).clone();
        renumbered.revision = newest + 1;
        return Current::Renumber(Box::new(renumbered));
    }
    let collisions = set.status.as_ref().and_then(|s| s.collision_count);
    let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let hash = template::hash(&template, collisions);
    let mut labels = template.metadata.and_then(|m| m.labels).unwrap_or_default();
    labels.insert(REVISION_LABEL.to_owned(), hash.clone());
    Current::Create(Box::new(ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", set.nm())),
            namespace: Some(set.ns().to_owned()),
            labels: Some(labels),
            annotations: set.metadata.annotations.clone(),
            owner_references: Some(vec![controller_reference(set)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: newest + 1,
    }))
}

/// Names of revisions beyond the limit that no Pod is made of, oldest first.
pub(super) fn surplus(
    set: &DaemonSet,
    history: &[Arc<ControllerRevision>],
    current: &str,
    pods: &[Arc<Pod>],
) -> Vec<String> {
    let limit = set.spec.as_ref().and_then(|s| s.revision_history_limit).unwrap_or(10);
    let live: BTreeSet<&str> = pods.iter().filter_map(|p| p.label(REVISION_LABEL)).collect();
    let mut old: Vec<&Arc<ControllerRevision>> = history
        .iter()
        .filter(|r| {
            let hash = r.label(REVISION_LABEL).unwrap_or_default();
            r.nm() != current && !live.contains(hash)
        })
        .collect();
    old.sort_by_key(|r| r.revision);
    let surplus = old.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    old.into_iter().take(surplus).map(|r| r.nm().to_owned()).collect()
}
