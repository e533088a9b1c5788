//! Scaling while a rollout is under way or paused: every set grows or shrinks in proportion.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::facts::{self, size, sum};
use super::plan::{Sets, Step, resize};
use super::rolling::is_saturated;
use crate::object::Meta;

/// Whether the Deployment's size differs from what its active sets were made for.
pub(super) fn is_scaling(deployment: &Deployment, sets: &Sets) -> bool {
    let desired = facts::replicas(deployment);
    sets.all()
        .filter(|set| size(set) > 0)
        .any(|set| facts::noted(set, facts::DESIRED).is_some_and(|noted| noted != desired))
}

/// The new sizes.
pub(super) fn steps(deployment: &Deployment, sets: &Sets) -> Vec<Step> {
    let desired = facts::replicas(deployment);
    if let Some(only) = active_or_latest(sets) {
        if size(only) == desired {
            return Vec::new();
        }
        return resize(deployment, &mut only.clone(), desired).into_iter().collect();
    }
    if is_saturated(deployment, sets.new.as_ref()) {
        let active = sets.old.iter().filter(|set| size(set) > 0);
        return active.filter_map(|set| resize(deployment, &mut set.clone(), 0)).collect();
    }
    if facts::is_recreate(deployment) {
        return Vec::new();
    }
    proportional(deployment, sets)
}

/// The only active set, or the newest when none is; `None` when several are.
fn active_or_latest(sets: &Sets) -> Option<&ReplicaSet> {
    let mut active = sets.all().filter(|set| size(set) > 0);
    match (active.next(), active.next()) {
        (None, _) => sets.new.as_ref().or_else(|| sets.old.last()),
        (Some(only), None) => Some(only),
        (Some(_), Some(_)) => None,
    }
}

fn proportional(deployment: &Deployment, sets: &Sets) -> Vec<Step> {
    let desired = facts::replicas(deployment);
    let mut active: Vec<ReplicaSet> = sets.all().filter(|set| size(set) > 0).cloned().collect();
    let allowed = if desired > 0 { desired + facts::max_surge(deployment) } else { 0 };
    let to_add = allowed - sum(&active, size);
    // The largest first; of equals the newer one grows and the older one shrinks first.
    active.sort_by(|a, b| {
        let by_age =
            if to_add > 0 { b.created().cmp(&a.created()) } else { a.created().cmp(&b.created()) };
        size(b).cmp(&size(a)).then(by_age).then_with(|| a.nm().cmp(b.nm()))
    });
    let mut added = 0;
    let mut wanted = Vec::with_capacity(active.len());
    for set in &active {
        let share = if to_add == 0 { 0 } else { share(deployment, set, to_add, added) };
        added += share;
        wanted.push(size(set) + share);
    }
    if let Some(first) = wanted.first_mut() {
        *first = (*first + to_add - added).max(0);
    }
    active
        .iter_mut()
        .zip(wanted)
        .filter_map(|(set, wanted)| resize(deployment, set, wanted))
        .collect()
}

/// How many of `to_add` Pods fall to this set, `added` being given to others already.
fn share(deployment: &Deployment, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    let (current, left) = (size(set), to_add - added);
    if current == 0 || left == 0 {
        return 0;
    }
    let fraction = fraction(deployment, set, current);
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

fn fraction(deployment: &Deployment, set: &ReplicaSet, current: i32) -> i32 {
    let desired = facts::replicas(deployment);
    if desired == 0 {
        return -current;
    }
    let after = i64::from(desired + facts::max_surge(deployment));
    let status = deployment.status.as_ref().and_then(|s| s.replicas).unwrap_or(0);
    let before = i64::from(facts::noted(set, facts::MAX).filter(|max| *max > 0).unwrap_or(status));
    if before == 0 {
        return 0;
    }
    let product = i64::from(current) * after;
    let rounded = (product * 2 + before).div_euclid(before * 2);
    i32::try_from(rounded).unwrap_or(i32::MAX) - current
}
