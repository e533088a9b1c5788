//! Whether a node still reports, and what its conditions must say when it does not. Pure.

use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::object::Meta;

/// The conditions that a kubelet reports.
const KUBELET_CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// What the Ready condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    True,
    False,
    Unknown,
    /// There is no such condition.
    Absent,
}

/// The last sign of life of a node, by a clock of this process that nobody sets.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sign {
    heartbeat: Option<Timestamp>,
    renewed: Option<Timestamp>,
    readiness: Readiness,
    pub(super) seen: Timestamp,
}

/// The time, by a clock that nobody sets and by that of the API's objects.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) steady: Timestamp,
    pub(super) wall: Timestamp,
}

impl From<Timestamp> for Now {
    fn from(both: Timestamp) -> Self {
        Self { steady: both, wall: both }
    }
}

pub(super) fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|c| c.type_ == type_)
}

pub(super) fn readiness(node: &Node) -> Readiness {
    match condition(node, "Ready").map(|c| c.status.as_str()) {
        None => Readiness::Absent,
        Some("True") => Readiness::True,
        Some("False") => Readiness::False,
        Some(_) => Readiness::Unknown,
    }
}

/// The sign of life after looking at node and lease: a new one when anything has moved.
/// A kubelet that reports nothing at all has until its startup grace from creation on.
pub(super) fn observe(
    node: &Node,
    renewed: Option<Timestamp>,
    before: Option<&Sign>,
    now: impl Into<Now>,
) -> Sign {
    let Now { steady: now, wall } = now.into();
    let ready = condition(node, "Ready");
    let heartbeat = ready.and_then(|c| c.last_heartbeat_time.as_ref()).map(|t| t.0);
    let readiness = readiness(node);
    let seen = match before {
        Some(before) => {
            // A status of Unknown is this controller's own work and no sign of life.
            let reported = before.heartbeat != heartbeat
                || (before.readiness != readiness && readiness != Readiness::Unknown);
            // Nor does it matter which of two times is later: the node's clock may have been set.
            if reported || before.renewed != renewed { now } else { before.seen }
        }
        // After a restart everyone gets the full grace period again.
        None if ready.is_some() || renewed.is_some() => now,
        None => now - wall.duration_since(node.created()),
    };
    Sign { heartbeat, renewed, readiness, seen }
}

/// Whether the node has been silent for too long.
pub(super) fn is_silent(
    node: &Node,
    sign: &Sign,
    grace: SignedDuration,
    startup_grace: SignedDuration,
    now: Timestamp,
) -> bool {
    let grace = if condition(node, "Ready").is_some() { grace } else { startup_grace };
    now > sign.seen + grace
}

/// The conditions of a silent node, if they do not say so already.
pub(super) fn unknown_conditions(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let mut conditions =
        node.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let mut changed = false;
    for type_ in KUBELET_CONDITIONS {
        match conditions.iter_mut().find(|c| c.type_ == type_) {
            None => {
                conditions.push(NodeCondition {
                    type_: type_.to_owned(),
                    status: "Unknown".to_owned(),
                    reason: Some("NodeStatusNeverUpdated".to_owned()),
                    message: Some("Kubelet never posted node status.".to_owned()),
                    last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                    last_transition_time: Some(Time(now)),
                });
                changed = true;
            }
            Some(condition) if condition.status != "Unknown" => {
                "Unknown".clone_into(&mut condition.status);
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(Time(now));
                changed = true;
            }
            Some(_) => {}
        }
    }
    changed.then_some(conditions)
}
