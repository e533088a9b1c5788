//! RollingUpdate: scale the new set up and the old ones down within the fence posts.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::facts::{self, available, size, sum};
use super::plan::{Plan, Sets, Snapshot, create_new, resize};

/// Plans one stage of a rolling update.
pub(super) fn stage(
    snapshot: &Snapshot<'_>,
    noted: &mut Deployment,
    sets: &mut Sets,
    plan: &mut Plan,
) {
    let deployment = snapshot.deployment;
    let Some(new) = &sets.new else {
        let first = new_size(deployment, sum(sets.all(), size), 0);
        return create_new(noted, sets, first, plan, snapshot.now);
    };
    let desired = facts::replicas(deployment);
    let current = size(new);
    let wanted = match current {
        n if n == desired => desired,
        n if n > desired => desired,
        n => new_size(deployment, sum(sets.all(), size), n),
    };
    if wanted != current {
        let step = sets.new.as_mut().and_then(|new| resize(deployment, new, wanted));
        plan.steps.extend(step);
        return;
    }
    scale_down_old(deployment, sets, plan);
}

/// How large the new set may be now, being `current` and all sets together `total`.
fn new_size(deployment: &Deployment, total: i32, current: i32) -> i32 {
    let desired = facts::replicas(deployment);
    let room = desired + facts::max_surge(deployment) - total;
    if room <= 0 { current } else { current + room.min(desired - current) }
}

fn scale_down_old(deployment: &Deployment, sets: &mut Sets, plan: &mut Plan) {
    if sum(&sets.old, size) == 0 {
        return;
    }
    let min_available = facts::replicas(deployment) - facts::max_unavailable(deployment);
    let new_unavailable = sets.new.as_ref().map_or(0, |new| size(new) - available(new));
    let most = sum(sets.all(), size) - min_available - new_unavailable;
    if most <= 0 {
        return;
    }
    let mut sizes: Vec<i32> = sets.old.iter().map(size).collect();
    // Pods that are not available cost nothing: they go first.
    let mut left = most;
    for (set, wanted) in sets.old.iter().zip(&mut sizes) {
        let unhealthy = (*wanted - available(set)).clamp(0, left);
        *wanted -= unhealthy;
        left -= unhealthy;
    }
    let mut spare = sum(sets.all(), available) - min_available;
    for wanted in &mut sizes {
        let down = (*wanted).min(spare.max(0));
        *wanted -= down;
        spare -= down;
    }
    for (set, wanted) in sets.old.iter_mut().zip(sizes) {
        if wanted != size(set) {
            plan.steps.extend(resize(deployment, set, wanted));
        }
    }
}

/// Whether a set is at full size and available.
pub(super) fn is_saturated(deployment: &Deployment, set: Option<&ReplicaSet>) -> bool {
    let desired = facts::replicas(deployment);
    set.is_some_and(|set| {
        size(set) == desired
            && facts::noted(set, facts::DESIRED) == Some(desired)
            && available(set) == desired
    })
}
