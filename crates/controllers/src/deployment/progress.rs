//! The status of a Deployment and its conditions Available, Progressing and ReplicaFailure.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::facts::{self, actual, available, ready, size, sum};
use super::plan::Sets;
use crate::object::Meta;

const PROGRESSING: &str = "Progressing";
const AVAILABLE: &str = "Available";
const REPLICA_FAILURE: &str = "ReplicaFailure";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

type Conditions = Vec<DeploymentCondition>;

fn find<'a>(conditions: &'a [DeploymentCondition], type_: &str) -> Option<&'a DeploymentCondition> {
    conditions.iter().find(|c| c.type_ == type_)
}

fn conditions(deployment: &Deployment) -> &[DeploymentCondition] {
    deployment.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default()
}

fn progressing(deployment: &Deployment) -> Option<&DeploymentCondition> {
    find(conditions(deployment), PROGRESSING)
}

fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) -> DeploymentCondition {
    DeploymentCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

/// Sets a condition unless one of the same status and reason is there; the time of transition
/// is that of the last change of status.
fn set(conditions: &mut Conditions, mut new: DeploymentCondition) {
    if let Some(old) = find(conditions, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time.clone();
        }
    }
    conditions.retain(|c| c.type_ != new.type_);
    conditions.push(new);
}

fn set_on(deployment: &mut Deployment, new: DeploymentCondition) {
    let status = deployment.status.get_or_insert_default();
    set(status.conditions.get_or_insert_default(), new);
}

/// Stops the clock of the progress deadline while the Deployment is paused.
pub(super) fn note_pause(deployment: &mut Deployment, now: Timestamp) {
    if facts::progress_deadline(deployment).is_none() {
        return;
    }
    let reason = progressing(deployment).and_then(|c| c.reason.clone());
    if reason.as_deref() == Some(TIMED_OUT) {
        return;
    }
    let was_paused = reason.as_deref() == Some(PAUSED);
    let (reason, message) = match (facts::is_paused(deployment), was_paused) {
        (true, false) => (PAUSED, "Deployment is paused"),
        (false, true) => ("DeploymentResumed", "Deployment is resumed"),
        _ => return,
    };
    set_on(deployment, condition(PROGRESSING, "Unknown", reason, message.to_owned(), now));
}

/// Begins to report progress when the set with the current template is there already.
pub(super) fn note_new_set(deployment: &mut Deployment, new: Option<&ReplicaSet>, now: Timestamp) {
    let Some(new) = new else { return };
    if facts::progress_deadline(deployment).is_some() && progressing(deployment).is_none() {
        let message = format!("Found new replica set \"{}\"", new.nm());
        set_on(deployment, condition(PROGRESSING, "True", "FoundNewReplicaSet", message, now));
    }
}

/// Reports that a set with the current template is made.
pub(super) fn note_created_set(deployment: &mut Deployment, name: &str, now: Timestamp) {
    if facts::progress_deadline(deployment).is_some() {
        let message = format!("Created new replica set \"{name}\"");
        set_on(deployment, condition(PROGRESSING, "True", "NewReplicaSetCreated", message, now));
    }
}

/// The status after the new set could not be made.
pub(super) fn create_failed(
    deployment: &Deployment,
    error: String,
    now: Timestamp,
) -> DeploymentStatus {
    let mut deployment = deployment.clone();
    if facts::progress_deadline(&deployment).is_some() {
        set_on(
            &mut deployment,
            condition(PROGRESSING, "False", "ReplicaSetCreateError", error, now),
        );
    }
    deployment.status.unwrap_or_default()
}

/// Counts and the Available condition; the other conditions as they are.
pub(super) fn basic_status(
    deployment: &Deployment,
    sets: &Sets,
    now: Timestamp,
) -> DeploymentStatus {
    let all = || sets.all();
    let available_count = sum(all(), available);
    let terminating: Option<Vec<i32>> =
        all().map(|s| s.status.as_ref().map_or(Some(0), |s| s.terminating_replicas)).collect();
    let mut conditions = conditions(deployment).to_vec();
    let enough = facts::replicas(deployment) - facts::max_unavailable(deployment);
    let availability = if available_count >= enough {
        let message = "Deployment has minimum availability.".to_owned();
        condition(AVAILABLE, "True", "MinimumReplicasAvailable", message, now)
    } else {
        let message = "Deployment does not have minimum availability.".to_owned();
        condition(AVAILABLE, "False", "MinimumReplicasUnavailable", message, now)
    };
    set(&mut conditions, availability);
    DeploymentStatus {
        observed_generation: Some(deployment.generation()),
        replicas: Some(sum(all(), actual)),
        updated_replicas: Some(sum(&sets.new, actual)),
        ready_replicas: Some(sum(all(), ready)),
        available_replicas: Some(available_count),
        unavailable_replicas: Some((sum(all(), size) - available_count).max(0)),
        terminating_replicas: terminating.map(|t| t.iter().sum()),
        collision_count: deployment.status.as_ref().and_then(|s| s.collision_count),
        conditions: Some(conditions),
    }
}

/// The status with Progressing and ReplicaFailure, as of a rollout.
pub(super) fn rollout_status(
    deployment: &Deployment,
    sets: &Sets,
    now: Timestamp,
) -> DeploymentStatus {
    let mut status = basic_status(deployment, sets, now);
    let mut conditions = status.conditions.take().unwrap_or_default();
    match facts::progress_deadline(deployment) {
        None => conditions.retain(|c| c.type_ != PROGRESSING),
        Some(deadline) => {
            let current = find(&conditions, PROGRESSING).cloned();
            let was_complete = status.replicas == status.updated_replicas
                && current.as_ref().and_then(|c| c.reason.as_deref()) == Some(NEW_SET_AVAILABLE);
            if !was_complete {
                report_progress(deployment, sets, &status, &mut conditions, current, deadline, now);
            }
        }
    }
    match failure(sets) {
        Some(failure) => set(&mut conditions, failure),
        None => conditions.retain(|c| c.type_ != REPLICA_FAILURE),
    }
    status.conditions = Some(conditions);
    status
}

fn report_progress(
    deployment: &Deployment,
    sets: &Sets,
    status: &DeploymentStatus,
    conditions: &mut Conditions,
    current: Option<DeploymentCondition>,
    deadline: i32,
    now: Timestamp,
) {
    let subject = match &sets.new {
        Some(new) => format!("ReplicaSet \"{}\"", new.nm()),
        None => format!("Deployment \"{}\"", deployment.nm()),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set(conditions, condition(PROGRESSING, "True", NEW_SET_AVAILABLE, message, now));
    } else if has_progressed(deployment, status) {
        let message = format!("{subject} is progressing.");
        let mut new = condition(PROGRESSING, "True", "ReplicaSetUpdated", message, now);
        // Each step of progress restarts the clock, so the condition is replaced even by an
        // equal one.
        if let Some(current) = current.filter(|c| c.status == "True") {
            new.last_transition_time = current.last_transition_time;
        }
        conditions.retain(|c| c.type_ != PROGRESSING);
        conditions.push(new);
    } else if timed_out(current.as_ref(), deadline, now) {
        let message = format!("{subject} has timed out progressing.");
        set(conditions, condition(PROGRESSING, "False", TIMED_OUT, message, now));
    }
}

/// Whether every Pod is of the new template and available.
pub(super) fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let desired = Some(facts::replicas(deployment));
    status.updated_replicas == desired
        && status.replicas == desired
        && status.available_replicas == desired
        && status.observed_generation.unwrap_or(0) >= deployment.generation()
}

fn has_progressed(deployment: &Deployment, new: &DeploymentStatus) -> bool {
    let old = deployment.status.clone().unwrap_or_default();
    let old_ones = |s: &DeploymentStatus| s.replicas.unwrap_or(0) - s.updated_replicas.unwrap_or(0);
    new.updated_replicas.unwrap_or(0) > old.updated_replicas.unwrap_or(0)
        || old_ones(new) < old_ones(&old)
        || new.ready_replicas.unwrap_or(0) > old.ready_replicas.unwrap_or(0)
        || new.available_replicas.unwrap_or(0) > old.available_replicas.unwrap_or(0)
}

fn timed_out(current: Option<&DeploymentCondition>, deadline: i32, now: Timestamp) -> bool {
    let Some(current) = current else { return false };
    match current.reason.as_deref() {
        Some(NEW_SET_AVAILABLE) => false,
        Some(TIMED_OUT) => true,
        _ => {
            let updated = current.last_update_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
            updated + SignedDuration::from_secs(deadline.into()) < now
        }
    }
}

/// The failure of the new set, else of any.
fn failure(sets: &Sets) -> Option<DeploymentCondition> {
    let of = |set: &ReplicaSet| {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        let failure = conditions.iter().find(|c| c.type_ == REPLICA_FAILURE)?;
        Some(DeploymentCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: failure.status.clone(),
            reason: failure.reason.clone(),
            message: failure.message.clone(),
            last_transition_time: failure.last_transition_time.clone(),
            last_update_time: failure.last_transition_time.clone(),
        })
    };
    sets.new.as_ref().and_then(of).or_else(|| sets.old.iter().find_map(of))
}

/// The status if it is another than the stored one.
pub(super) fn changed(
    deployment: &Deployment,
    status: DeploymentStatus,
) -> Option<DeploymentStatus> {
    let mut stored = deployment.status.clone().unwrap_or_default();
    // What is left out when written reads back as absent.
    for count in [
        &mut stored.replicas,
        &mut stored.updated_replicas,
        &mut stored.ready_replicas,
        &mut stored.available_replicas,
        &mut stored.unavailable_replicas,
    ] {
        count.get_or_insert(0);
    }
    stored.conditions.get_or_insert_default();
    (stored != status).then_some(status)
}

/// When to look again whether the deadline has passed.
pub(super) fn next_check(deployment: &Deployment, now: Timestamp) -> Option<Duration> {
    let deadline = facts::progress_deadline(deployment)?;
    let current = progressing(deployment)?;
    let reason = current.reason.as_deref();
    let complete = deployment.status.as_ref().is_some_and(|s| is_complete(deployment, s));
    if complete || matches!(reason, Some(TIMED_OUT | NEW_SET_AVAILABLE | PAUSED)) {
        return None;
    }
    let updated = current.last_update_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let due = updated + SignedDuration::from_secs(i64::from(deadline) + 1);
    Some(
        Duration::try_from(due.duration_since(now)).unwrap_or_default().max(Duration::from_secs(1)),
    )
}
