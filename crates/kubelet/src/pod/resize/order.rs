//! In which order resizes that wait are looked at when there may be room.

use std::cmp::Reverse;

use k8s_openapi::jiff::Timestamp;

use crate::seam::PodUid;

/// A resize that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Whose it is.
    pub uid: PodUid,
    /// Whether the Pod would request more than it has.
    pub increases: bool,
    /// Priority of the Pod.
    pub priority: i32,
    /// Whether the Pod is of the class Guaranteed.
    pub guaranteed: bool,
    /// Since when it is known to wait.
    pub since: Option<Timestamp>,
}

/// Those that only give something back first, then by priority, class, and who waits longest.
pub fn sort(waiting: &mut [Waiting]) {
    waiting.sort_by_key(|one| {
        let newest = one.since.is_none();
        (one.increases, Reverse(one.priority), !one.guaranteed, newest, one.since)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_upstreams() {
        let one = |name: &str, increases, priority, guaranteed, since: Option<i64>| Waiting {
            uid: PodUid(name.into()),
            increases,
            priority,
            guaranteed,
            since: since.map(|second| Timestamp::from_second(second).unwrap()),
        };
        let mut all = [
            one("new", true, 5, false, None),
            one("late", true, 5, false, Some(9)),
            one("early", true, 5, false, Some(3)),
            one("guaranteed", true, 5, true, Some(9)),
            one("important", true, 7, false, Some(9)),
            one("less", false, 0, false, Some(9)),
        ];
        sort(&mut all);
        let names: Vec<&str> = all.iter().map(|one| one.uid.0.as_str()).collect();
        assert_eq!(names, ["less", "important", "guaranteed", "early", "late", "new"]);
    }
}
