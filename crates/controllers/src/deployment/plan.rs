//! What to do about a Deployment, decided from what is known. Pure.
//!
//! A plan does one stage (make the new set, scale up, scale down, ...), as upstream does: each
//! stage changes ReplicaSets, whose events bring the Deployment back here.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::jiff::Timestamp;

use super::facts::{self, HASH_LABEL};
use super::{progress, recreate, rolling, scaling};
use crate::object::{Meta, controller_reference};
use crate::template;

/// All that a plan depends on.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) deployment: &'a Deployment,
    /// Every set that the Deployment owns.
    pub(super) sets: &'a [Arc<ReplicaSet>],
    /// Whether Pods of old sets still run; a Recreate waits for them.
    pub(super) old_pods_run: bool,
    pub(super) now: Timestamp,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    Create(Box<ReplicaSet>),
    /// Replace a set; `event` tells of its new size.
    Update {
        set: Box<ReplicaSet>,
        event: Option<String>,
    },
    Delete(String),
    /// Note the revision on the Deployment itself.
    Revision(i64),
}

/// The writes of one stage, and the status that follows from them.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    pub(super) status: Option<DeploymentStatus>,
    pub(super) requeue: Option<Duration>,
}

/// The owned sets, told apart by whether they have the Deployment's template.
pub(super) struct Sets {
    pub(super) new: Option<ReplicaSet>,
    /// Oldest first.
    pub(super) old: Vec<ReplicaSet>,
}

impl Sets {
    pub(super) fn all(&self) -> impl Iterator<Item = &ReplicaSet> {
        self.old.iter().chain(&self.new)
    }
}

/// Plans the next stage.
pub(super) fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let mut plan = next_stage(snapshot);
    plan.steps = merge_updates(plan.steps);
    plan
}

/// Of several updates of one set only the last is written: it holds the earlier ones.
fn merge_updates(steps: Vec<Step>) -> Vec<Step> {
    let name = |step: &Step| match step {
        Step::Update { set, .. } => Some(set.nm().to_owned()),
        _ => None,
    };
    let names: Vec<Option<String>> = steps.iter().map(name).collect();
    let is_last = |at: usize| names[at].is_none() || !names[at + 1..].contains(&names[at]);
    steps.into_iter().enumerate().filter(|(at, _)| is_last(*at)).map(|(_, step)| step).collect()
}

fn next_stage(snapshot: &Snapshot<'_>) -> Plan {
    let deployment = snapshot.deployment;
    let mut sets = split(deployment, snapshot.sets);
    let mut plan = Plan::default();
    if deployment.is_deleting() {
        plan.status =
            progress::changed(deployment, progress::basic_status(deployment, &sets, snapshot.now));
        return plan;
    }
    let mut noted = deployment.clone();
    progress::note_pause(&mut noted, snapshot.now);
    let scaling_only = facts::is_paused(deployment) || scaling::is_scaling(deployment, &sets);
    note_revision(&noted, &mut sets, &mut plan);
    progress::note_new_set(&mut noted, sets.new.as_ref(), snapshot.now);
    if scaling_only {
        plan.steps.extend(scaling::steps(deployment, &sets));
        if facts::is_paused(deployment) {
            plan.steps.extend(cleanup(deployment, &sets.old));
        }
        let status = progress::basic_status(&noted, &sets, snapshot.now);
        plan.status = progress::changed(deployment, status);
        return plan;
    }
    if facts::is_recreate(deployment) {
        recreate::stage(snapshot, &mut noted, &mut sets, &mut plan);
    } else {
        rolling::stage(snapshot, &mut noted, &mut sets, &mut plan);
    }
    let status = progress::rollout_status(&noted, &sets, snapshot.now);
    if progress::is_complete(&noted, &status) && plan.steps.is_empty() {
        plan.steps.extend(cleanup(deployment, &sets.old));
    }
    let changed = progress::changed(deployment, status);
    if changed.is_none() {
        plan.requeue = progress::next_check(deployment, snapshot.now);
    }
    plan.status = changed;
    plan
}

fn split(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Sets {
    let template = deployment.spec.as_ref().map(|s| &s.template);
    let mut sorted: Vec<&Arc<ReplicaSet>> = sets.iter().collect();
    sorted.sort_by(|a, b| a.created().cmp(&b.created()).then_with(|| a.nm().cmp(b.nm())));
    let is_new = |set: &ReplicaSet| {
        let of_set = set.spec.as_ref().and_then(|s| s.template.as_ref());
        matches!((template, of_set), (Some(a), Some(b)) if facts::same_template(a, b))
    };
    // Of several equal ones the oldest is taken, so that everyone takes the same.
    let at = sorted.iter().position(|set| is_new(set));
    let new = at.map(|at| (**sorted.remove(at)).clone());
    Sets { new, old: sorted.into_iter().map(|set| (**set).clone()).collect() }
}

/// Brings the revision annotations up to date when the new set is there.
fn note_revision(deployment: &Deployment, sets: &mut Sets, plan: &mut Plan) {
    let next = next_revision(sets);
    let Some(new) = &mut sets.new else { return };
    let mut changed = facts::annotate(deployment, new, next, true);
    let min_ready = deployment.spec.as_ref().and_then(|s| s.min_ready_seconds);
    if let Some(spec) = &mut new.spec
        && spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0)
    {
        spec.min_ready_seconds = min_ready;
        changed = true;
    }
    if changed {
        plan.steps.push(Step::Update { set: Box::new(new.clone()), event: None });
    }
    let revision = facts::revision(new);
    if deployment.annotation(facts::REVISION) != Some(revision.to_string().as_str()) {
        plan.steps.push(Step::Revision(revision));
    }
}

fn next_revision(sets: &Sets) -> i64 {
    sets.old.iter().map(facts::revision).max().unwrap_or(0) + 1
}

/// Plans the new set, already as large as the strategy allows.
pub(super) fn create_new(
    deployment: &mut Deployment,
    sets: &mut Sets,
    size: i32,
    plan: &mut Plan,
    now: Timestamp,
) {
    let revision = next_revision(sets);
    let set = new_set(deployment, size, revision);
    progress::note_created_set(deployment, set.nm(), now);
    plan.steps.push(Step::Create(Box::new(set.clone())));
    if deployment.annotation(facts::REVISION) != Some(revision.to_string().as_str()) {
        plan.steps.push(Step::Revision(revision));
    }
    sets.new = Some(set);
}

fn new_set(deployment: &Deployment, size: i32, revision: i64) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|s| s.collision_count);
    let hash = template::hash(&spec.template, collisions);
    let mut template = spec.template;
    let meta = template.metadata.get_or_insert_default();
    meta.labels.get_or_insert_default().insert(HASH_LABEL.to_owned(), hash.clone());
    let labels = meta.labels.clone();
    let mut match_labels = spec.selector.match_labels.unwrap_or_default();
    match_labels.insert(HASH_LABEL.to_owned(), hash.clone());
    let mut set = ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.nm())),
            namespace: Some(deployment.ns().to_owned()),
            labels,
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(size),
            min_ready_seconds: spec.min_ready_seconds,
            selector: LabelSelector {
                match_labels: Some(match_labels),
                match_expressions: spec.selector.match_expressions,
            },
            template: Some(template),
        }),
        status: None,
    };
    facts::annotate(deployment, &mut set, revision, false);
    set
}

/// Resizes a set, in the plan and in the snapshot of it.
pub(super) fn resize(deployment: &Deployment, set: &mut ReplicaSet, size: i32) -> Option<Step> {
    let before = facts::size(set);
    let desired = facts::replicas(deployment);
    let max = desired + facts::max_surge(deployment);
    let annotated = facts::noted(set, facts::DESIRED) == Some(desired)
        && facts::noted(set, facts::MAX) == Some(max);
    if before == size && annotated {
        return None;
    }
    set.spec.get_or_insert_default().replicas = Some(size);
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(facts::DESIRED.to_owned(), desired.to_string());
    annotations.insert(facts::MAX.to_owned(), max.to_string());
    let direction = if size > before { "up" } else { "down" };
    let event = (before != size)
        .then(|| format!("Scaled {direction} replica set {} from {before} to {size}", set.nm()));
    Some(Step::Update { set: Box::new(set.clone()), event })
}

/// Deletes old sets beyond the history limit, oldest revisions first.
fn cleanup(deployment: &Deployment, old: &[ReplicaSet]) -> Vec<Step> {
    let Some(limit) = facts::history_limit(deployment) else { return Vec::new() };
    let mut alive: Vec<&ReplicaSet> = old.iter().filter(|set| !set.is_deleting()).collect();
    let surplus = alive.len().saturating_sub(limit);
    alive.sort_by_key(|set| facts::revision(set));
    alive
        .into_iter()
        .take(surplus)
        .filter(|set| {
            let observed = set.status.as_ref().and_then(|s| s.observed_generation).unwrap_or(0);
            facts::actual(set) == 0 && facts::size(set) == 0 && set.generation() <= observed
        })
        .map(|set| Step::Delete(set.nm().to_owned()))
        .collect()
}
