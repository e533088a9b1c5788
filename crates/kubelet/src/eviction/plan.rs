//! What is to be done about what was observed. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Toleration};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::signals::{Observation, Pressure, Signal, Threshold};
use crate::cgroup::resources::{Qos, is_critical, qos};
use crate::pod::spec;
use crate::pod::status::Doom;

/// What lasts from one round to the next.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When each pressure was last observed.
    pressures: BTreeMap<Pressure, Timestamp>,
    /// Since when less is left than thresholds have it.
    since: Vec<(Threshold, Timestamp)>,
    /// What was to be won back in the last round.
    due: Vec<Threshold>,
}

/// What one round comes to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plan {
    /// What the Node says.
    pub(super) pressures: Vec<Pressure>,
    /// What must be won back, the most urgent of it.
    pub(super) reclaim: Option<Threshold>,
}

/// Plans a round, and notes in `seen` what is observed now. A pressure is over only when it was not
/// observed for `transition`, or the Node would waver. It is told of at once, also when a soft threshold
/// has to wait before anything is won back. What was begun goes on until as much is won back as
/// `evictionMinimumReclaim` has it.
pub(super) fn plan(
    thresholds: &[Threshold],
    observations: &[Observation],
    seen: &mut Seen,
    transition: Duration,
    now: Timestamp,
) -> Plan {
    let is_met = |threshold: &&Threshold| {
        threshold.is_met(observations)
            || seen.due.contains(threshold) && threshold.is_unresolved(observations)
    };
    let mut met: Vec<Threshold> = thresholds.iter().filter(is_met).copied().collect();
    // Hard ones stay before soft ones of the same signal.
    met.sort_by_key(|threshold| threshold.signal);
    seen.since.retain(|(threshold, _)| met.contains(threshold));
    for threshold in &met {
        seen.pressures.insert(threshold.signal.pressure(), now);
        if seen.since.iter().all(|(known, _)| known != threshold) {
            seen.since.push((*threshold, now));
        }
    }
    let transition = signed(transition);
    seen.pressures.retain(|pressure, at| {
        let observed = met.iter().any(|threshold| threshold.signal.pressure() == *pressure);
        observed || now.duration_since(*at) < transition
    });
    met.retain(|threshold| {
        let since = seen.since.iter().find(|(known, _)| known == threshold);
        since.is_some_and(|(_, since)| now.duration_since(*since) >= signed(threshold.grace))
    });
    // Nothing that the kubelet does gives process numbers back but ending Pods.
    let reclaim = met.first().copied();
    seen.due = met;
    Plan { pressures: seen.pressures.keys().copied().collect(), reclaim }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// How long a Pod gets to end that is evicted for `threshold`: what it asks for, up to `most`, if the
/// threshold is a soft one.
pub(super) fn grace(threshold: &Threshold, pod: &Pod, most: Duration) -> Duration {
    /// Most that a Pod gets where there is no time, as upstream.
    const AT_ONCE: Duration = Duration::from_secs(1);
    if !threshold.is_soft() {
        return AT_ONCE;
    }
    let own = spec::spec(pod).termination_grace_period_seconds;
    let own = own.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    own.map_or(most, |own| own.min(most))
}

/// Whether a node under pressure takes a Pod.
///
/// # Errors
/// The reason, as upstream words it.
pub fn admit(pod: &Pod, pressures: &[Pressure]) -> Result<(), Doom> {
    if pressures.is_empty() || is_critical(pod) {
        return Ok(());
    }
    if pressures == [Pressure::Memory] {
        let tolerates = |toleration: &Toleration| {
            let key = toleration.key.as_deref().unwrap_or_default();
            let exists = toleration.operator.as_deref() == Some("Exists");
            let effect = toleration.effect.as_deref().unwrap_or_default();
            (key == "node.kubernetes.io/memory-pressure" || (key.is_empty() && exists))
                && (effect.is_empty() || effect == "NoSchedule")
        };
        let mut tolerations = spec::spec(pod).tolerations.iter().flatten();
        if qos(pod) != Qos::BestEffort || tolerations.any(tolerates) {
            return Ok(());
        }
    }
    let names: Vec<_> = pressures.iter().map(|pressure| pressure.condition()).collect();
    let message = format!("Pod was rejected: The node had condition: [{}]. ", names.join(" "));
    Err(Doom { reason: EVICTED.to_owned(), message, disrupted: false })
}

/// The reason of evicted Pods and of their events.
pub const EVICTED: &str = "Evicted";

/// What a container uses of what runs out, and what it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// The container.
    pub(super) container: String,
    /// Bytes or pieces in use.
    pub(super) used: u64,
    /// Bytes or pieces asked for.
    pub(super) requested: u64,
}

/// What a Pod uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Consumer {
    /// Of the Pod.
    pub(super) priority: i32,
    /// Of the whole Pod, its volumes included.
    pub(super) used: u64,
    /// Of the whole Pod.
    pub(super) requested: u64,
    /// By container.
    pub(super) shares: Vec<Share>,
}

/// Orders Pods, the one to evict first in front: those that use more than they asked for, then the
/// less important, then those that use most beyond what they asked for.
pub(super) fn rank<T>(candidates: &mut [(T, Consumer)], signal: Signal) {
    let counts_requests = signal != Signal::PidAvailable && signal.resource() != "inodes";
    candidates.sort_by_key(|(_, pod)| {
        let modest = counts_requests && pod.used <= pod.requested;
        let excess = i128::from(pod.used) - i128::from(pod.requested);
        (modest, pod.priority, -excess)
    });
}

/// What an evicted Pod and its event say.
pub(super) fn message(
    threshold: &Threshold,
    observation: &Observation,
    consumer: &Consumer,
) -> String {
    use machinery::quantity::Quantity;
    let text =
        |amount: u64| Quantity::from_bytes(i64::try_from(amount).unwrap_or(i64::MAX)).to_string();
    let resource = threshold.signal.resource();
    let mut message = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        text(threshold.quantity(observation.capacity)),
        text(observation.available)
    );
    for share in consumer.shares.iter().filter(|share| share.used > share.requested) {
        message.push_str(&format!(
            "Container {} was using {}, request is {}, has larger consumption of {resource}. ",
            share.container,
            text(share.used),
            text(share.requested)
        ));
    }
    message
}
