//! What a Deployment says and what its ReplicaSets are: annotations, fence posts, counts.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::object::Meta;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const HASH_LABEL: &str = "pod-template-hash";
/// Annotations that stay with the Deployment and are not copied to its sets.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// Longest revision history that is kept, in characters.
const HISTORY_LIMIT: usize = 2000;

pub(super) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

pub(super) fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|s| s.strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate")
}

pub(super) fn is_paused(deployment: &Deployment) -> bool {
    deployment.spec.as_ref().and_then(|s| s.paused).unwrap_or(false)
}

/// Seconds a rollout may stand still; `None` when it may for ever.
pub(super) fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    let seconds = deployment.spec.as_ref().and_then(|s| s.progress_deadline_seconds);
    seconds.filter(|s| *s != i32::MAX)
}

/// Old sets to keep; `None` for all.
pub(super) fn history_limit(deployment: &Deployment) -> Option<usize> {
    let limit = deployment.spec.as_ref().and_then(|s| s.revision_history_limit);
    limit.filter(|l| *l != i32::MAX).map(|l| usize::try_from(l).unwrap_or(0))
}

/// Surge and unavailability in Pods. Both zero would stand still, so one may be missing then.
fn fence_posts(deployment: &Deployment) -> (i32, i32) {
    let strategy = deployment.spec.as_ref().and_then(|s| s.strategy.as_ref());
    let rolling = strategy.and_then(|s| s.rolling_update.clone()).unwrap_or_default();
    let total = replicas(deployment);
    let surge = scaled(rolling.max_surge.as_ref(), total, true);
    let unavailable = scaled(rolling.max_unavailable.as_ref(), total, false);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// A number, or a percentage of `total`; absent or malformed counts as 0.
pub(crate) fn scaled(value: Option<&IntOrString>, total: i32, up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(n)) => *n,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.strip_suffix('%').and_then(|t| t.parse().ok()).unwrap_or(0);
            let product = percent * i64::from(total);
            let scaled = if up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(scaled).unwrap_or(i32::MAX)
        }
    }
}

pub(super) fn max_surge(deployment: &Deployment) -> i32 {
    if is_recreate(deployment) { 0 } else { fence_posts(deployment).0 }
}

pub(super) fn max_unavailable(deployment: &Deployment) -> i32 {
    let total = replicas(deployment);
    if is_recreate(deployment) || total == 0 {
        return 0;
    }
    fence_posts(deployment).1.min(total)
}

pub(super) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

pub(super) fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |s| s.replicas)
}

pub(super) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
}

pub(super) fn ready(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0)
}

pub(super) fn sum<'a>(
    sets: impl IntoIterator<Item = &'a ReplicaSet>,
    of: impl Fn(&ReplicaSet) -> i32,
) -> i32 {
    sets.into_iter().map(of).sum()
}

pub(super) fn revision(set: &ReplicaSet) -> i64 {
    set.annotation(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0)
}

/// The size for which a set was last scaled, from its annotation.
pub(super) fn noted(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.annotation(annotation)?.parse().ok()
}

/// Whether two templates say the same, apart from the hash label that sets add.
pub(super) fn same_template(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    fn plain(template: &PodTemplateSpec) -> PodTemplateSpec {
        let mut template = template.clone();
        if let Some(meta) = &mut template.metadata {
            if let Some(labels) = &mut meta.labels {
                labels.remove(HASH_LABEL);
            }
            meta.labels = meta.labels.take().filter(|l| !l.is_empty());
            meta.annotations = meta.annotations.take().filter(|l| !l.is_empty());
            meta.creation_timestamp = None;
        }
        template.metadata = template.metadata.filter(|m| *m != Default::default());
        template
    }
    plain(a) == plain(b)
}

/// Copies what the Deployment says about itself to a set and notes the revision.
/// Tells whether anything changed.
pub(super) fn annotate(
    deployment: &Deployment,
    set: &mut ReplicaSet,
    new_revision: i64,
    exists: bool,
) -> bool {
    let old_revision = set.annotation(REVISION).map(str::to_owned);
    let annotations = set.metadata.annotations.get_or_insert_default();
    let before = annotations.clone();
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            annotations.insert(key.clone(), value.clone());
        }
    }
    let old = old_revision.as_deref().and_then(|r| r.parse::<i64>().ok()).unwrap_or(0);
    if old < new_revision {
        annotations.insert(REVISION.to_owned(), new_revision.to_string());
        if let Some(old) = old_revision.filter(|r| exists && !r.is_empty()) {
            remember(annotations, &old);
        }
    }
    if !exists {
        let desired = replicas(deployment);
        annotations.insert(DESIRED.to_owned(), desired.to_string());
        annotations.insert(MAX.to_owned(), (desired + max_surge(deployment)).to_string());
    }
    *annotations != before
}

/// Adds a revision to the history, dropping the oldest ones when it grows too long.
fn remember(annotations: &mut BTreeMap<String, String>, revision: &str) {
    let history = annotations.entry(HISTORY.to_owned()).or_default();
    if history.is_empty() {
        revision.clone_into(history);
        return;
    }
    while history.len() + revision.len() + 1 > HISTORY_LIMIT {
        let Some(comma) = history.find(',') else { break };
        history.drain(..=comma);
    }
    history.push(',');
    history.push_str(revision);
}
