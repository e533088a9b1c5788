//! Which daemons to start and stop, and the status that follows. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::placement::{fit, node_of};
use crate::deployment::facts::scaled;
use crate::history::REVISION_LABEL;
use crate::object::Meta;
use crate::pods;

/// All that a plan depends on.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) set: &'a DaemonSet,
    /// The Pods that the set owns.
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) nodes: &'a [Arc<Node>],
    /// Hash of the current template's revision.
    pub(super) hash: &'a str,
    pub(super) now: Timestamp,
}

/// A daemon that has to go.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Removal {
    pub(super) pod: Arc<Pod>,
    /// Reason and message of the event, when there is more to tell than that it was deleted.
    pub(super) event: Option<(&'static str, String)>,
    /// Whether to wait with growing delay, as for daemons that fail again and again.
    pub(super) failed: bool,
}

/// What to do.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Names of nodes that need a daemon.
    pub(super) create: Vec<String>,
    pub(super) delete: Vec<Removal>,
}

type ByNode<'a> = BTreeMap<&'a str, Vec<&'a Arc<Pod>>>;

fn by_node<'a>(pods: &'a [Arc<Pod>]) -> ByNode<'a> {
    let mut map = ByNode::new();
    for pod in pods {
        if let Some(node) = node_of(pod) {
            map.entry(node).or_default().push(pod);
        }
    }
    map
}

fn is_updated(pod: &Pod, hash: &str) -> bool {
    pod.label(REVISION_LABEL) == Some(hash)
}

fn min_ready(set: &DaemonSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

/// How many daemons may be missing, or in excess, during an update of so many.
fn allowances(set: &DaemonSet, desired: i32) -> (i32, i32) {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    let rolling = strategy.and_then(|s| s.rolling_update.clone()).unwrap_or_default();
    let surge = scaled(rolling.max_surge.as_ref(), desired, true);
    let unavailable = match &rolling.max_unavailable {
        None if surge == 0 => 1,
        value => scaled(value.as_ref(), desired, true),
    };
    if surge == 0 && unavailable == 0 { (1, 0) } else { (unavailable, surge) }
}

fn is_on_delete(set: &DaemonSet) -> bool {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete")
}

/// Plans the daemons: first that each node has what it should have; only when nothing is to be
/// done for that, the next piece of a rolling update.
pub(super) fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let set = snapshot.set;
    let on_node = by_node(snapshot.pods);
    let surge = !is_on_delete(set) && allowances(set, desired(snapshot)).1 > 0;
    let mut plan = Plan::default();
    for node in snapshot.nodes {
        let daemons = on_node.get(node.nm()).map(Vec::as_slice).unwrap_or_default();
        manage_node(snapshot, node, daemons, surge, &mut plan);
    }
    // Daemons of nodes that are gone, unless they still wait for the scheduler.
    for (name, daemons) in &on_node {
        if !snapshot.nodes.iter().any(|n| n.nm() == *name) {
            let lost = daemons.iter().filter(|pod| !pod.is_deleting());
            plan.delete.extend(lost.map(|pod| removal(pod)));
        }
    }
    if plan.create.is_empty() && plan.delete.is_empty() && !is_on_delete(set) {
        roll(snapshot, &on_node, &mut plan);
    }
    plan
}

fn removal(pod: &Arc<Pod>) -> Removal {
    Removal { pod: Arc::clone(pod), event: None, failed: false }
}

fn manage_node(
    snapshot: &Snapshot<'_>,
    node: &Node,
    daemons: &[&Arc<Pod>],
    surge: bool,
    plan: &mut Plan,
) {
    let fit = fit(snapshot.set, node);
    if !fit.may_stay {
        plan.delete.extend(daemons.iter().filter(|p| !p.is_deleting()).map(|pod| removal(pod)));
        return;
    }
    if daemons.is_empty() {
        if fit.should_run {
            plan.create.push(node.nm().to_owned());
        }
        return;
    }
    let mut running: Vec<&Arc<Pod>> = Vec::new();
    for pod in daemons.iter().filter(|pod| !pod.is_deleting()) {
        let told = match pods::phase(pod) {
            "Failed" => Some(("FailedDaemonPod", "failed")),
            "Succeeded" => Some(("SucceededDaemonPod", "succeeded")),
            _ => None,
        };
        match told {
            None => running.push(pod),
            Some((reason, how)) => {
                let text = format!(
                    "Found {how} daemon pod {}/{} on node {}, will try to {} it",
                    pod.ns(),
                    pod.nm(),
                    node.nm(),
                    if how == "failed" { "kill" } else { "delete" },
                );
                plan.delete.push(Removal {
                    pod: Arc::clone(pod),
                    event: Some((reason, text)),
                    failed: how == "failed",
                });
            }
        }
    }
    if running.len() < 2 {
        return;
    }
    // One daemon is enough; during a surge an old and a new one may stand side by side.
    let keep = |pods: &[&Arc<Pod>]| {
        pods.iter()
            .min_by_key(|p| (pods::node_name(p).is_none(), p.created(), p.nm().to_owned()))
            .map(|p| p.nm().to_owned())
    };
    let (new, old): (Vec<_>, Vec<_>) =
        running.iter().copied().partition(|pod| is_updated(pod, snapshot.hash));
    let kept: Vec<String> = if surge && !new.is_empty() && !old.is_empty() {
        keep(&new).into_iter().chain(keep(&old)).collect()
    } else {
        keep(&running).into_iter().collect()
    };
    let surplus = running.into_iter().filter(|pod| !kept.iter().any(|name| name == pod.nm()));
    plan.delete.extend(surplus.map(removal));
}

fn desired(snapshot: &Snapshot<'_>) -> i32 {
    let count = snapshot.nodes.iter().filter(|node| fit(snapshot.set, node).should_run).count();
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The next daemons to replace.
fn roll(snapshot: &Snapshot<'_>, on_node: &ByNode<'_>, plan: &mut Plan) {
    let (max_unavailable, max_surge) = allowances(snapshot.set, desired(snapshot));
    let available = |pod: &Pod| {
        !pod.is_deleting() && pods::is_available(pod, min_ready(snapshot.set), snapshot.now)
    };
    let mut unavailable = 0;
    let mut surging = 0;
    let mut broken: Vec<&Arc<Pod>> = Vec::new();
    let mut candidates: Vec<&Arc<Pod>> = Vec::new();
    let mut superseded: Vec<&Arc<Pod>> = Vec::new();
    let mut to_surge: Vec<&str> = Vec::new();
    for node in snapshot.nodes.iter().filter(|node| fit(snapshot.set, node).should_run) {
        let daemons = on_node.get(node.nm()).map(Vec::as_slice).unwrap_or_default();
        let living = || daemons.iter().copied().filter(|p| !p.is_deleting());
        let new = living().find(|p| is_updated(p, snapshot.hash));
        let old = living().find(|p| !is_updated(p, snapshot.hash));
        match (new, old) {
            (None, None) => unavailable += 1,
            (Some(new), None) => unavailable += i32::from(!available(new)),
            (None, Some(old)) if available(old) => {
                candidates.push(old);
                to_surge.push(node.nm());
            }
            (None, Some(old)) => {
                unavailable += 1;
                broken.push(old);
                to_surge.push(node.nm());
            }
            (Some(new), Some(old)) if available(new) => superseded.push(old),
            (Some(_), Some(old)) => {
                surging += 1;
                if !available(old) {
                    unavailable += 1;
                    broken.push(old);
                }
            }
        }
    }
    if max_surge > 0 {
        let room = usize::try_from(max_surge - surging).unwrap_or(0);
        plan.delete.extend(superseded.into_iter().chain(broken).map(removal));
        plan.create.extend(to_surge.into_iter().take(room).map(str::to_owned));
        return;
    }
    // Replacing what is down already makes nothing worse.
    let room = usize::try_from(max_unavailable - unavailable).unwrap_or(0);
    plan.delete.extend(broken.into_iter().chain(superseded).map(removal));
    plan.delete.extend(candidates.into_iter().take(room).map(removal));
}

/// The status to report.
pub(super) fn status(snapshot: &Snapshot<'_>) -> DaemonSetStatus {
    let on_node = by_node(snapshot.pods);
    let mut status = DaemonSetStatus {
        observed_generation: Some(snapshot.set.generation()),
        collision_count: snapshot.set.status.as_ref().and_then(|s| s.collision_count),
        conditions: snapshot.set.status.as_ref().and_then(|s| s.conditions.clone()),
        ..DaemonSetStatus::default()
    };
    let (mut updated, mut available) = (0, 0);
    for node in snapshot.nodes {
        let daemons = on_node.get(node.nm()).map(Vec::as_slice).unwrap_or_default();
        if !fit(snapshot.set, node).should_run {
            status.number_misscheduled += i32::from(!daemons.is_empty());
            continue;
        }
        status.desired_number_scheduled += 1;
        // Of several the oldest speaks for the node.
        let Some(pod) = daemons.iter().min_by_key(|p| (!pods::is_ready(p), p.created())) else {
            continue;
        };
        status.current_number_scheduled += 1;
        if pods::is_ready(pod) {
            status.number_ready += 1;
            available += i32::from(pods::is_available(pod, min_ready(snapshot.set), snapshot.now));
        }
        updated += i32::from(daemons.iter().any(|p| is_updated(p, snapshot.hash)));
    }
    let unavailable = status.desired_number_scheduled - available;
    // Upstream leaves these out when they are zero.
    status.updated_number_scheduled = (updated != 0).then_some(updated);
    status.number_available = (available != 0).then_some(available);
    status.number_unavailable = (unavailable != 0).then_some(unavailable);
    status
}

/// When the next daemon becomes available by the mere passing of time.
pub(super) fn next_availability(snapshot: &Snapshot<'_>) -> Option<Duration> {
    let wait = SignedDuration::from_secs(min_ready(snapshot.set).into());
    if wait.is_zero() {
        return None;
    }
    let times = snapshot.pods.iter().filter_map(|pod| pods::ready_since(pod)).map(|at| at + wait);
    let next = times.filter(|at| *at > snapshot.now).min()?;
    Duration::try_from(next.duration_since(snapshot.now)).ok()
}
