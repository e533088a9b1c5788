//! Recreate: the old Pods end before the new ones begin.

use k8s_openapi::api::apps::v1::Deployment;

use super::facts::{self, size};
use super::plan::{Plan, Sets, Snapshot, create_new, resize};

/// Plans one stage of a recreation.
pub(super) fn stage(
    snapshot: &Snapshot<'_>,
    noted: &mut Deployment,
    sets: &mut Sets,
    plan: &mut Plan,
) {
    let deployment = snapshot.deployment;
    let before = plan.steps.len();
    for set in sets.old.iter_mut().filter(|set| size(set) > 0) {
        plan.steps.extend(resize(deployment, set, 0));
    }
    if plan.steps.len() > before || snapshot.old_pods_run {
        return;
    }
    let desired = facts::replicas(deployment);
    match &mut sets.new {
        None => create_new(noted, sets, desired, plan, snapshot.now),
        Some(new) if size(new) != desired => plan.steps.extend(resize(deployment, new, desired)),
        Some(_) => {}
    }
}
