//! The conditions `PodResizePending` and `PodResizeInProgress`.

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::pod::conditions::whole_seconds;

/// A resize waits to be granted.
pub const PENDING: &str = "PodResizePending";
/// A resize was granted and is not carried out yet.
pub const IN_PROGRESS: &str = "PodResizeInProgress";
/// Reason of a granted resize that went wrong.
const ERROR: &str = "Error";

/// What is told of a Pod's resize.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResizeConditions {
    pending: Option<PodCondition>,
    progress: Option<PodCondition>,
}

// === impl ResizeConditions ===

impl ResizeConditions {
    /// As they were told last, for a kubelet that has just started.
    pub fn of(status: Option<&PodStatus>) -> Self {
        let find = |type_: &str| {
            let all = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
            all.into_iter().find(|c| c.type_ == type_ && c.status == "True").cloned()
        };
        Self { pending: find(PENDING), progress: find(IN_PROGRESS) }
    }

    /// For the Pod's status.
    pub fn list(&self) -> Vec<PodCondition> {
        self.pending.iter().chain(&self.progress).cloned().collect()
    }

    /// Since when a resize waits.
    pub fn pending_since(&self) -> Option<Timestamp> {
        Some(self.pending.as_ref()?.last_transition_time.as_ref()?.0)
    }

    /// Why a resize waits, if one does.
    pub fn pending_reason(&self) -> Option<&str> {
        self.pending.as_ref()?.reason.as_deref()
    }

    /// Whether a granted resize is under way.
    pub fn is_in_progress(&self) -> bool {
        self.progress.is_some()
    }

    /// The resize of `generation` has to wait; says whether that is news.
    pub fn refused(
        &mut self,
        reason: &str,
        message: &str,
        generation: Option<i64>,
        now: Timestamp,
    ) -> bool {
        set(&mut self.pending, PENDING, reason, message, generation, now)
    }

    /// Nothing waits any more; says whether that is news.
    pub fn nothing_waits(&mut self) -> bool {
        self.pending.take().is_some()
    }

    /// The resize of `generation` was granted.
    pub fn granted(&mut self, generation: Option<i64>, now: Timestamp) {
        self.pending = None;
        self.progress = None;
        set(&mut self.progress, IN_PROGRESS, "", "", generation, now);
    }

    /// What was granted is not carried out yet; what is known of it stays.
    pub fn under_way(&mut self, generation: Option<i64>, now: Timestamp) {
        if self.progress.is_none() {
            set(&mut self.progress, IN_PROGRESS, "", "", generation, now);
        }
    }

    /// What was granted could not be carried out; says whether that is news.
    pub fn failed(&mut self, message: &str, generation: Option<i64>, now: Timestamp) -> bool {
        let begun = self.progress.as_ref().and_then(|progress| progress.observed_generation);
        set(&mut self.progress, IN_PROGRESS, ERROR, message, begun.or(generation), now)
    }

    /// What was granted is carried out; returns the generation if one was.
    pub fn done(&mut self) -> Option<Option<i64>> {
        Some(self.progress.take()?.observed_generation)
    }
}

fn set(
    slot: &mut Option<PodCondition>,
    type_: &str,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) -> bool {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (reason, message) = (text(reason), text(message));
    let now = Some(Time(whole_seconds(now)));
    let same_reason = slot.as_ref().filter(|old| old.reason == reason);
    if same_reason
        .is_some_and(|old| old.message == message && old.observed_generation == generation)
    {
        return false;
    }
    let since = same_reason.and_then(|old| old.last_transition_time.clone());
    *slot = Some(PodCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason,
        message,
        observed_generation: generation,
        last_probe_time: now.clone(),
        last_transition_time: since.or(now),
    });
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn texts(conditions: &ResizeConditions) -> Vec<String> {
        let text = |c: PodCondition| {
            let (reason, message) = (c.reason.unwrap_or_default(), c.message.unwrap_or_default());
            let since = c.last_transition_time.unwrap().0.as_second();
            format!("{} {reason} {message} {:?} {since}", c.type_, c.observed_generation.unwrap())
        };
        conditions.list().into_iter().map(text).collect()
    }

    #[test]
    fn a_resize_waits_fails_and_succeeds() {
        let mut conditions = ResizeConditions::default();
        assert!(conditions.refused("Deferred", "no room", Some(2), at(1)));
        assert!(!conditions.refused("Deferred", "no room", Some(2), at(2)));
        assert!(conditions.refused("Deferred", "still none", Some(2), at(3)));
        assert_eq!(texts(&conditions), ["PodResizePending Deferred still none 2 1"]);
        let status = PodStatus { conditions: Some(conditions.list()), ..Default::default() };
        assert_eq!(ResizeConditions::of(Some(&status)), conditions, "after a restart");

        conditions.granted(Some(3), at(4));
        conditions.under_way(Some(4), at(5));
        assert_eq!(texts(&conditions), ["PodResizeInProgress   3 4"]);
        assert!(conditions.failed("in use", Some(4), at(6)));
        assert!(!conditions.failed("in use", Some(4), at(7)));
        conditions.under_way(Some(4), at(8));
        assert!(conditions.refused("Infeasible", "too much", Some(4), at(9)));
        assert_eq!(
            texts(&conditions),
            ["PodResizePending Infeasible too much 4 9", "PodResizeInProgress Error in use 3 6"]
        );
        assert!(conditions.nothing_waits());
        assert_eq!(conditions.done(), Some(Some(3)));
        assert_eq!(conditions.done(), None);
        assert!(conditions.list().is_empty());
    }
}
