//! What a controller has asked for and not yet seen in its informer.
//!
//! A controller that created three Pods must not look at a cache that knows one of them and
//! create two more. It notes what it expects, informer handlers check it off, and the
//! controller waits until nothing is outstanding or the note is too old to be believed.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Upstream's ExpectationsTimeout: an event that has not come by then never will.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Outstanding creations and deletions by controller key.
#[derive(Debug, Default)]
pub struct Expectations {
    pending: Mutex<HashMap<String, Pending>>,
}

#[derive(Debug)]
struct Pending {
    creations: i64,
    deletions: HashSet<String>,
    since: Instant,
}

impl Expectations {
    /// No expectations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, act: impl FnOnce(&mut HashMap<String, Pending>) -> T) -> T {
        act(&mut self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes that so many objects are about to be created and those with these UIDs deleted.
    ///
    /// It takes the place of what was noted before: a controller only acts when that is
    /// satisfied, and a miscount of the past must not carry over.
    pub fn expect(
        &self,
        controller: &str,
        creations: usize,
        deletions: impl IntoIterator<Item = String>,
    ) {
        let noted = Pending {
            creations: i64::try_from(creations).unwrap_or(i64::MAX),
            deletions: deletions.into_iter().collect(),
            since: Instant::now(),
        };
        self.with(|pending| pending.insert(controller.to_owned(), noted));
    }

    /// Checks one creation off: it was seen, or it failed and will never be.
    pub fn creation_observed(&self, controller: &str) {
        self.with(|pending| {
            if let Some(entry) = pending.get_mut(controller) {
                entry.creations -= 1;
            }
        });
    }

    /// Checks one deletion off: it was seen (a deletion timestamp suffices), or it failed.
    pub fn deletion_observed(&self, controller: &str, uid: &str) {
        self.with(|pending| {
            if let Some(entry) = pending.get_mut(controller) {
                entry.deletions.remove(uid);
            }
        });
    }

    /// Whether the controller may trust its informer.
    #[must_use]
    pub fn satisfied(&self, controller: &str) -> bool {
        self.with(|pending| {
            pending.get(controller).is_none_or(|p| {
                (p.creations <= 0 && p.deletions.is_empty()) || p.since.elapsed() > TIMEOUT
            })
        })
    }

    /// Forgets a controller that is gone.
    pub fn forget(&self, controller: &str) {
        self.with(|pending| pending.remove(controller));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn outstanding_work_blocks_until_seen_or_too_old() {
        let e = Expectations::new();
        assert!(e.satisfied("a"));
        e.expect("a", 2, []);
        e.creation_observed("a");
        assert!(!e.satisfied("a"));
        e.creation_observed("a");
        assert!(e.satisfied("a"));
        e.creation_observed("a");
        e.expect("a", 0, ["u1".to_owned(), "u2".to_owned()]);
        e.deletion_observed("a", "u1");
        e.deletion_observed("a", "u1");
        assert!(!e.satisfied("a"), "a deletion seen twice counts once");
        tokio::time::advance(TIMEOUT + Duration::from_secs(1)).await;
        assert!(e.satisfied("a"));
        e.expect("a", 1, []);
        e.forget("a");
        assert!(e.satisfied("a"));
    }
}
