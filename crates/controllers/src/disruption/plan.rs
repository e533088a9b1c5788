//! How many Pods of a budget may go now. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::deployment::facts::scaled;
use crate::object::Meta;
use crate::pods;

const DISRUPTION_ALLOWED: &str = "DisruptionAllowed";
/// An eviction that was granted and not carried out by then is forgotten.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// The status, and when an eviction that is under way is to be forgotten.
pub(super) fn status(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    scale: i32,
    now: Timestamp,
) -> (PodDisruptionBudgetStatus, Option<Duration>) {
    let (disrupted, wait) = under_way(budget, pods, now);
    let (expected, desired) = counts(budget, pods, scale);
    let healthy = pods
        .iter()
        .filter(|pod| {
            !pod.is_deleting() && !disrupted.contains_key(pod.nm()) && pods::is_ready(pod)
        })
        .count();
    let healthy = i32::try_from(healthy).unwrap_or(i32::MAX);
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let old = budget.status.clone().unwrap_or_default();
    let status = PodDisruptionBudgetStatus {
        conditions: Some(conditions(budget, old.conditions.unwrap_or_default(), allowed, now)),
        current_healthy: Some(healthy),
        desired_healthy: Some(desired),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: Some(allowed),
        expected_pods: Some(expected),
        observed_generation: Some(budget.generation()),
    };
    (status, wait)
}

/// Evictions that the server granted and that are not visible in the Pods yet.
fn under_way(
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
    now: Timestamp,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let all = budget.status.as_ref().and_then(|s| s.disrupted_pods.clone()).unwrap_or_default();
    let mut wait: Option<Duration> = None;
    let kept = all
        .into_iter()
        .filter(|(name, since)| {
            let left = (since.0 + PATIENCE).duration_since(now);
            let present = pods.iter().any(|pod| pod.nm() == name && !pod.is_deleting());
            if present && left.is_positive() {
                let left = Duration::try_from(left).unwrap_or_default();
                wait = Some(wait.map_or(left, |w| w.min(left)));
                return true;
            }
            false
        })
        .collect();
    (kept, wait)
}

/// How many Pods there should be and how many of them must be healthy. `scale` is what their
/// controllers want.
fn counts(budget: &PodDisruptionBudget, pods: &[Arc<Pod>], scale: i32) -> (i32, i32) {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let spec = budget.spec.clone().unwrap_or_default();
    let present = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => (scale, (scale - scaled(Some(unavailable), scale, true)).max(0)),
        (None, Some(IntOrString::Int(available))) => (present, *available),
        (None, Some(percentage)) => (scale, scaled(Some(percentage), scale, true)),
        (None, None) => (present, 0),
    }
}

fn conditions(
    budget: &PodDisruptionBudget,
    mut conditions: Vec<Condition>,
    allowed: i32,
    now: Timestamp,
) -> Vec<Condition> {
    let (status, reason) =
        if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let generation = Some(budget.generation());
    if let Some(known) = conditions.iter_mut().find(|c| c.type_ == DISRUPTION_ALLOWED) {
        if known.status != status {
            known.last_transition_time = Time(now);
        }
        status.clone_into(&mut known.status);
        reason.clone_into(&mut known.reason);
        known.message.clear();
        known.observed_generation = generation;
    } else {
        conditions.push(Condition {
            type_: DISRUPTION_ALLOWED.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: Time(now),
            observed_generation: generation,
        });
    }
    conditions
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
    use k8s_openapi::api::policy::v1::PodDisruptionBudgetSpec;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    use super::*;

    fn pod(name: &str, ready: bool) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.status = Some(PodStatus {
            conditions: Some(vec![PodCondition {
                type_: "Ready".into(),
                status: if ready { "True" } else { "False" }.into(),
                ..PodCondition::default()
            }]),
            ..PodStatus::default()
        });
        Arc::new(pod)
    }

    fn budget(min: Option<IntOrString>, max: Option<IntOrString>) -> PodDisruptionBudget {
        PodDisruptionBudget {
            spec: Some(PodDisruptionBudgetSpec {
                min_available: min,
                max_unavailable: max,
                ..PodDisruptionBudgetSpec::default()
            }),
            ..PodDisruptionBudget::default()
        }
    }

    fn allowed(budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> (i32, i32, i32) {
        let (status, _) = status(budget, pods, 4, Timestamp::UNIX_EPOCH);
        (
            status.expected_pods.unwrap(),
            status.desired_healthy.unwrap(),
            status.disruptions_allowed.unwrap(),
        )
    }

    #[test]
    fn budgets_count_healthy_pods() {
        let pods = [pod("a", true), pod("b", true), pod("c", true), pod("d", false)];
        let int = |n| Some(IntOrString::Int(n));
        let percent = |t: &str| Some(IntOrString::String(t.into()));
        assert_eq!(allowed(&budget(int(2), None), &pods), (4, 2, 1));
        assert_eq!(allowed(&budget(int(3), None), &pods), (4, 3, 0));
        assert_eq!(allowed(&budget(None, int(2)), &pods), (4, 2, 1));
        assert_eq!(allowed(&budget(percent("50%"), None), &pods), (4, 2, 1));
        assert_eq!(allowed(&budget(None, percent("25%")), &pods), (4, 3, 0));
    }

    #[test]
    fn granted_evictions_count_until_they_are_seen_or_forgotten() {
        let pods = [pod("a", true), pod("b", true)];
        let mut b = budget(Some(IntOrString::Int(1)), None);
        b.status = Some(PodDisruptionBudgetStatus {
            disrupted_pods: Some([("a".to_owned(), Time(Timestamp::UNIX_EPOCH))].into()),
            ..PodDisruptionBudgetStatus::default()
        });
        let (now, wait) = status(&b, &pods, 2, Timestamp::UNIX_EPOCH);
        assert_eq!((now.disruptions_allowed, wait), (Some(0), Some(Duration::from_secs(120))));
        let later = Timestamp::from_second(121).unwrap();
        let (then, wait) = status(&b, &pods, 2, later);
        assert_eq!((then.disruptions_allowed, then.disrupted_pods, wait), (Some(1), None, None));
    }
}
