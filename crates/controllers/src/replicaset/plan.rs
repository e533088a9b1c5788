//! How many Pods to create, which to delete, and what status to report. Pure.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use machinery::selector::LabelSelector;

use crate::object::Meta;
use crate::{pods, selector};

/// Upstream's BurstReplicas: Pods created or deleted in one go.
const BURST: usize = 500;
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// What a ReplicaSet and a ReplicationController have in common.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) replicas: i32,
    pub(crate) min_ready_seconds: i32,
    pub(crate) selector: LabelSelector,
    pub(crate) template: PodTemplateSpec,
    pub(crate) generation: i64,
    pub(crate) deleting: bool,
}

/// The status that both kinds report.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Observed {
    pub(crate) replicas: i32,
    pub(crate) fully_labeled: i32,
    pub(crate) ready: i32,
    pub(crate) available: i32,
    pub(crate) terminating: i32,
    pub(crate) generation: i64,
    pub(crate) failure: Option<Failure>,
}

/// The ReplicaFailure condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: Option<Time>,
}

/// What to do about the number of Pods.
#[derive(Debug, PartialEq)]
pub(crate) enum Plan {
    Nothing,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

/// Compares active Pods with what is desired. `related` are the active Pods of all replica sets
/// of the same owner: a node that has many of them loses some first.
pub(crate) fn plan(
    desired: &Desired,
    active: &[Arc<Pod>],
    related: &[Arc<Pod>],
    now: Timestamp,
) -> Plan {
    if desired.deleting {
        return Plan::Nothing;
    }
    let wanted = usize::try_from(desired.replicas).unwrap_or(0);
    match active.len().cmp(&wanted) {
        Ordering::Equal => Plan::Nothing,
        Ordering::Less => Plan::Create((wanted - active.len()).min(BURST)),
        Ordering::Greater => {
            let surplus = (active.len() - wanted).min(BURST);
            Plan::Delete(victims(active, related, surplus, now))
        }
    }
}

/// The `count` Pods that are missed least.
fn victims(
    active: &[Arc<Pod>],
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related {
        if let Some(node) = pods::node_name(pod) {
            *on_node.entry(node).or_default() += 1;
        }
    }
    let crowd =
        |pod: &Pod| pods::node_name(pod).and_then(|node| on_node.get(node)).copied().unwrap_or(0);
    let mut ranked: Vec<&Arc<Pod>> = active.iter().collect();
    ranked.sort_by(|a, b| dispensability(a, b, crowd(a), crowd(b), now));
    ranked.into_iter().take(count).cloned().collect()
}

/// `Less` when `a` is missed less than `b`.
fn dispensability(a: &Pod, b: &Pod, crowd_a: usize, crowd_b: usize, now: Timestamp) -> Ordering {
    let assigned = |p: &Pod| pods::node_name(p).is_some();
    let phase_rank = |p: &Pod| match pods::phase(p) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost =
        |p: &Pod| p.annotation(DELETION_COST).and_then(|c| c.parse::<i32>().ok()).unwrap_or(0);
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| crowd_b.cmp(&crowd_a))
        .then_with(|| match (pods::ready_since(a), pods::ready_since(b)) {
            (Some(ready_a), Some(ready_b)) => younger_first(a, b, ready_a, ready_b, now),
            _ => Ordering::Equal,
        })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| younger_first(a, b, a.created(), b.created(), now))
}

/// Compares ages by their order of magnitude, so that among Pods of about the same age the
/// choice is by chance (the UID) and not always the youngest, which may be the newest zone's.
fn younger_first(a: &Pod, b: &Pod, at: Timestamp, bt: Timestamp, now: Timestamp) -> Ordering {
    let magnitude = |t: Timestamp| {
        let seconds = now.duration_since(t).as_secs().max(0);
        i64::from(seconds.checked_ilog2().map_or(-1, |log| i32::try_from(log).unwrap_or(i32::MAX)))
    };
    if at == bt {
        return Ordering::Equal;
    }
    magnitude(at).cmp(&magnitude(bt)).then_with(|| a.id().cmp(b.id()))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    statuses.into_iter().flatten().map(|c| c.restart_count).max().unwrap_or(0)
}

/// The outcome of this round's creations and deletions, for the ReplicaFailure condition.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// The status to report.
pub(crate) fn observe(
    desired: &Desired,
    old: &Observed,
    active: &[Arc<Pod>],
    terminating: usize,
    trouble: Option<&Trouble>,
    now: Timestamp,
) -> Observed {
    let count = |test: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX)
    };
    let template_labels = desired.template.metadata.as_ref().and_then(|m| m.labels.as_ref());
    let labeled = LabelSelector::from_set(
        template_labels.into_iter().flatten().map(|(k, v)| (k.as_str(), v.as_str())),
    );
    let failure = match (trouble, &old.failure) {
        (None, _) => None,
        (Some(_), Some(old)) => Some(old.clone()),
        (Some(trouble), None) => Some(Failure {
            reason: trouble.reason.to_owned(),
            message: trouble.message.clone(),
            since: Some(Time(now)),
        }),
    };
    Observed {
        replicas: count(&|_| true),
        fully_labeled: count(&|p| selector::matches(&labeled, p.metadata.labels.as_ref())),
        ready: count(&|p| pods::is_ready(p)),
        available: count(&|p| pods::is_available(p, desired.min_ready_seconds, now)),
        terminating: i32::try_from(terminating).unwrap_or(i32::MAX),
        generation: desired.generation,
        failure,
    }
}

/// When the next Pod becomes available by the mere passing of time.
pub(crate) fn next_availability(
    active: &[Arc<Pod>],
    min_ready_seconds: i32,
    now: Timestamp,
) -> Option<std::time::Duration> {
    if min_ready_seconds <= 0 {
        return None;
    }
    let wait = SignedDuration::from_secs(min_ready_seconds.into());
    active
        .iter()
        .filter_map(|pod| pods::ready_since(pod))
        .map(|since| since + wait)
        .filter(|at| *at > now)
        .min()
        .and_then(|at| std::time::Duration::try_from(at.duration_since(now)).ok())
}
