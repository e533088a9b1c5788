//! The next member of a StatefulSet to create or delete, and its status. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::identity::{ordinal, start};
use crate::deployment::facts::scaled;
use crate::history::REVISION_LABEL;
use crate::object::Meta;
use crate::pods;

/// All that a plan depends on.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) set: &'a StatefulSet,
    pub(super) pods: &'a [Arc<Pod>],
    /// Names of the revisions that members have and are to have.
    pub(super) current: &'a str,
    pub(super) update: &'a str,
    pub(super) now: Timestamp,
}

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Step {
    /// Make the member with this ordinal, of this revision.
    Create {
        ordinal: i32,
        revision: String,
    },
    Delete(Arc<Pod>),
}

pub(super) fn replicas(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

fn min_ready(set: &StatefulSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

fn is_parallel(set: &StatefulSet) -> bool {
    set.spec.as_ref().and_then(|s| s.pod_management_policy.as_deref()) == Some("Parallel")
}

fn is_on_delete(set: &StatefulSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete")
}

/// So many members, the first ones, keep their revision.
fn partition(set: &StatefulSet) -> i32 {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    strategy.and_then(|s| s.rolling_update.as_ref()?.partition).unwrap_or(0)
}

fn max_unavailable(set: &StatefulSet) -> usize {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    let value = strategy.and_then(|s| s.rolling_update.as_ref()?.max_unavailable.as_ref());
    let count = value.map_or(1, |v| scaled(Some(v), replicas(set), true));
    usize::try_from(count).unwrap_or(1).max(1)
}

fn revision(pod: &Pod) -> &str {
    pod.label(REVISION_LABEL).unwrap_or_default()
}

fn members(snapshot: &Snapshot<'_>) -> (BTreeMap<i32, Arc<Pod>>, BTreeMap<i32, Arc<Pod>>) {
    let first = start(snapshot.set);
    let wanted = first..first + replicas(snapshot.set);
    let numbered =
        snapshot.pods.iter().filter_map(|pod| Some((ordinal(snapshot.set, pod)?, Arc::clone(pod))));
    numbered.partition(|(ordinal, _)| wanted.contains(ordinal))
}

impl Snapshot<'_> {
    fn is_available(&self, pod: &Pod) -> bool {
        !pod.is_deleting() && pods::is_available(pod, min_ready(self.set), self.now)
    }

    /// The revision that a new member gets: those that are held back come back as they were. What
    /// the status counts is no guide, which may be older than the last deletion.
    fn revision_for(&self, ordinal: i32) -> &str {
        let is_held_back = ordinal < start(self.set) + partition(self.set);
        if is_held_back && !is_on_delete(self.set) { self.current } else { self.update }
    }
}

/// Plans the next steps: one with ordered management, all that are possible with parallel.
pub(super) fn plan(snapshot: &Snapshot<'_>) -> Vec<Step> {
    let set = snapshot.set;
    if set.is_deleting() {
        return Vec::new();
    }
    let one_by_one = !is_parallel(set);
    let (present, condemned) = members(snapshot);
    let mut steps = Vec::new();
    let first = start(set);
    for ordinal in first..first + replicas(set) {
        let settled = match present.get(&ordinal) {
            None => {
                let revision = snapshot.revision_for(ordinal).to_owned();
                steps.push(Step::Create { ordinal, revision });
                false
            }
            Some(pod) if pod.is_deleting() => false,
            Some(pod) if pods::is_terminal(pod) => {
                steps.push(Step::Delete(Arc::clone(pod)));
                false
            }
            Some(pod) => snapshot.is_available(pod),
        };
        if one_by_one && !settled {
            return steps;
        }
    }
    // With ordered management nothing goes while one before it is down; the lowest that is down may.
    let lowest_down = condemned.values().find(|pod| !snapshot.is_available(pod));
    for pod in condemned.values().rev() {
        let is_down = !snapshot.is_available(pod);
        if one_by_one && is_down && lowest_down.is_some_and(|lowest| !Arc::ptr_eq(lowest, pod)) {
            return steps;
        }
        if !pod.is_deleting() {
            steps.push(Step::Delete(Arc::clone(pod)));
        }
        if one_by_one {
            return steps;
        }
    }
    if steps.is_empty() && !is_on_delete(set) {
        roll(snapshot, &present, &mut steps);
    }
    steps
}

/// Replaces members of old revisions from the last to the first, waiting for each.
fn roll(snapshot: &Snapshot<'_>, present: &BTreeMap<i32, Arc<Pod>>, steps: &mut Vec<Step>) {
    let lowest = start(snapshot.set) + partition(snapshot.set);
    let down = present.values().filter(|pod| !snapshot.is_available(pod)).count();
    let mut room = max_unavailable(snapshot.set).saturating_sub(down);
    for (ordinal, pod) in present.iter().rev() {
        if *ordinal < lowest {
            return;
        }
        let old = revision(pod) != snapshot.update;
        if !old || pod.is_deleting() {
            continue;
        }
        // A member that is down already can be replaced without loss, if it is its turn.
        let is_down = !snapshot.is_available(pod);
        if !is_down && room == 0 {
            return;
        }
        steps.push(Step::Delete(Arc::clone(pod)));
        if !is_down {
            room -= 1;
        }
        if room == 0 {
            return;
        }
    }
}

/// The status to report.
pub(super) fn status(snapshot: &Snapshot<'_>, collisions: Option<i32>) -> StatefulSetStatus {
    let old = snapshot.set.status.clone().unwrap_or_default();
    let count = |test: &dyn Fn(&Pod) -> bool| {
        let living = snapshot.pods.iter().filter(|p| ordinal(snapshot.set, p).is_some());
        i32::try_from(living.filter(|pod| test(pod)).count()).unwrap_or(i32::MAX)
    };
    let living = |pod: &Pod, name: &str| !pod.is_deleting() && revision(pod) == name;
    let ready = count(&|pod| !pod.is_deleting() && pods::is_ready(pod));
    let updated = count(&|pod| living(pod, snapshot.update));
    let wanted = replicas(snapshot.set);
    let complete = !is_on_delete(snapshot.set) && updated == wanted && ready == wanted;
    let current = if complete { snapshot.update } else { snapshot.current };
    let current_count = count(&|pod| living(pod, current));
    let some = |n: i32| (n != 0).then_some(n);
    StatefulSetStatus {
        observed_generation: Some(snapshot.set.generation()),
        replicas: count(&|_| true),
        ready_replicas: some(ready),
        available_replicas: Some(count(&|pod| snapshot.is_available(pod))),
        current_replicas: some(current_count),
        updated_replicas: some(updated),
        current_revision: Some(current.to_owned()),
        update_revision: Some(snapshot.update.to_owned()),
        collision_count: Some(collisions.or(old.collision_count).unwrap_or(0)),
        conditions: old.conditions,
    }
}

/// When the next member becomes available by the mere passing of time.
pub(super) fn next_availability(snapshot: &Snapshot<'_>) -> Option<Duration> {
    let wait = SignedDuration::from_secs(min_ready(snapshot.set).into());
    if wait.is_zero() {
        return None;
    }
    let times = snapshot.pods.iter().filter_map(|pod| pods::ready_since(pod)).map(|at| at + wait);
    let next = times.filter(|at| *at > snapshot.now).min()?;
    Duration::try_from(next.duration_since(snapshot.now)).ok()
}
