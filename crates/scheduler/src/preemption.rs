//! Makes room for a Pod by removing Pods of lower priority. Pure.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/>

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use crate::cluster::{Cluster, NodeInfo};
use crate::cycle::{Filters, by_node};
use crate::framework::{FitError, Plugin, Rejection};
use crate::objects::Pod;

/// The share of nodes, and the least number, for which removal is tried out.
const MIN_CANDIDATES_PERCENTAGE: usize = 10;
const MIN_CANDIDATES: usize = 100;

/// Where room is made, and whom it costs.
#[derive(Clone, Debug)]
pub struct Preemption {
    /// The node's name.
    pub node: String,
    /// The Pods to remove, highest priority first.
    pub victims: Vec<Arc<Pod>>,
}

/// Looks for room after `error`.
///
/// # Errors
/// The text for the event when there is none to be made.
pub fn preempt(
    plugins: &[Box<dyn Plugin>],
    pod: &Pod,
    cluster: &Cluster,
    error: &FitError,
) -> Result<Preemption, String> {
    if !pod.preempts {
        return Err("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    if let Some((_, node)) = pod.nominated_node.as_deref().and_then(|n| cluster.node(n))
        && node.pods.iter().any(|p| p.terminating() && p.priority < pod.priority)
    {
        return Err("not eligible due to a terminating pod on the nominated node.".to_owned());
    }
    let rejections = by_node(error);
    let mut promising: Vec<usize> =
        rejections.iter().filter(|(_, r)| r.resolvable).map(|(at, _)| *at).collect();
    promising.sort_unstable();
    let wanted = (promising.len() * MIN_CANDIDATES_PERCENTAGE / 100).max(MIN_CANDIDATES);

    let filters = Filters::new(plugins, pod, cluster);
    let mut candidates: Vec<Preemption> = Vec::new();
    let mut refused = Vec::new();
    for at in promising {
        let node = &cluster.nodes()[at];
        match victims(&filters, pod, node, cluster) {
            Ok(victims) => {
                candidates.push(Preemption { node: node.name().to_owned(), victims });
                if candidates.len() >= wanted {
                    break;
                }
            }
            Err(rejection) => refused.push((at, rejection)),
        }
    }
    candidates.into_iter().min_by_key(cost).ok_or_else(|| {
        let none = FitError {
            total: error.total,
            rejected: refused,
            absent: Some("Preemption is not helpful for scheduling".to_owned()),
            ..Default::default()
        };
        none.to_string()
    })
}

/// The fewest and least important Pods whose removal lets `pod` onto `node`.
fn victims(
    filters: &Filters<'_>,
    pod: &Pod,
    node: &NodeInfo,
    cluster: &Cluster,
) -> Result<Vec<Arc<Pod>>, Rejection> {
    let mut lower: Vec<Arc<Pod>> =
        node.pods.iter().filter(|p| p.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(Rejection::unresolvable("No preemption victims found for incoming pod"));
    }
    let mut emptied = node.clone();
    let mut what_if = filters.duplicate();
    for victim in &lower {
        emptied.remove(victim.uid());
        what_if.removed(victim, &emptied);
    }
    what_if.check(pod, &emptied, cluster).map_err(|(_, rejection)| rejection)?;
    // Most important first: those that fit back in are spared.
    lower.sort_by_key(|p| (Reverse(p.priority), p.started.unwrap_or(Timestamp::MAX)));
    let mut needed = Vec::new();
    for victim in lower {
        what_if.added(&victim, &emptied);
        emptied.add(Arc::clone(&victim));
        if what_if.check(pod, &emptied, cluster).is_err() {
            emptied.remove(victim.uid());
            what_if.removed(&victim, &emptied);
            needed.push(victim);
        }
    }
    Ok(needed)
}

/// Upstream's order: lowest highest priority, lowest sum, fewest, youngest.
fn cost(candidate: &Preemption) -> (i32, i64, usize, Reverse<Timestamp>) {
    let victims = &candidate.victims;
    let highest = victims.first().map_or(i32::MIN, |p| p.priority);
    let sum = victims.iter().map(|p| i64::from(p.priority) + i64::from(i32::MAX) + 1).sum();
    let oldest = victims
        .iter()
        .filter(|p| p.priority == highest)
        .map(|p| p.started.unwrap_or(Timestamp::MAX))
        .min();
    (highest, sum, victims.len(), Reverse(oldest.unwrap_or(Timestamp::MAX)))
}
