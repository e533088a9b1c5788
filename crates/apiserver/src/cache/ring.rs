//! The recent changes of one resource, for watchers that come late and for states of the past.
//!
//! They are kept for a while, as upstream does, and the newest for however long; never so many that
//! they weigh too much.

use std::collections::VecDeque;
use std::sync::Arc;

use super::watch::Change;

/// Newest changes that stay whatever their age, and whose encoded events are kept for the watchers
/// that are about to send them.
const FRESH: usize = 128;
/// Changes at most.
pub(super) const CAPACITY: usize = 4096;
/// Bytes of the objects in those changes, beyond the newest [`FRESH`].
const BYTES: usize = 64 << 20;
/// Looks for which a change is kept, five seconds apart: upstream's 75 seconds.
const LOOKS: usize = 15;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ring {
    changes: VecDeque<Arc<Change>>,
    /// What they weigh.
    bytes: usize,
    /// All changes after this revision are here.
    from: u64,
    /// The newest revision at each of the last looks.
    looks: VecDeque<u64>,
}

impl Ring {
    /// Forgets all changes; there are none after `revision`.
    pub(super) fn restart(&mut self, revision: u64) {
        *self = Self { from: revision, ..Self::default() };
    }

    /// All changes after this revision are here.
    pub(super) fn from(&self) -> u64 {
        self.from
    }

    /// The changes after `revision`, unless some of them are gone.
    pub(super) fn since(&self, revision: u64) -> Option<impl Iterator<Item = &Arc<Change>>> {
        let first = self.changes.partition_point(|change| change.revision <= revision);
        (revision >= self.from).then(|| self.changes.range(first..))
    }

    /// Takes in the newest change.
    pub(super) fn push(&mut self, change: Arc<Change>) {
        self.bytes += change.weight();
        self.changes.push_back(change);
        if let Some(aged) = self.changes.len().checked_sub(FRESH) {
            self.changes[aged].forget_lines();
        }
        while self.changes.len() > CAPACITY || (self.bytes > BYTES && self.changes.len() > FRESH) {
            self.drop_oldest();
        }
    }

    /// Gives up what is too old. The result is what may take a while to drop.
    pub(super) fn look(&mut self) -> Vec<Arc<Change>> {
        let newest = self.changes.back().map_or(self.from, |change| change.revision);
        let sent = self.looks.back().copied().unwrap_or(0);
        let fresh = self.changes.iter().rev().take(FRESH);
        fresh.filter(|change| change.revision <= sent).for_each(|change| change.forget_lines());
        self.looks.push_back(newest);
        let mut dropped = Vec::new();
        if self.looks.len() > LOOKS
            && let Some(aged) = self.looks.pop_front()
        {
            while self.changes.len() > FRESH
                && self.changes.front().is_some_and(|change| change.revision <= aged)
            {
                dropped.extend(self.drop_oldest());
            }
            if self.changes.capacity() > 4 * self.changes.len().max(FRESH) {
                self.changes.shrink_to_fit();
            }
        }
        dropped
    }

    fn drop_oldest(&mut self) -> Option<Arc<Change>> {
        let oldest = self.changes.pop_front()?;
        self.bytes -= oldest.weight();
        self.from = oldest.revision;
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(revisions: std::ops::RangeInclusive<u64>) -> Ring {
        let mut ring = Ring::default();
        revisions.for_each(|revision| ring.push(Arc::new(Change::new(revision, None, None))));
        ring
    }

    #[test]
    fn changes_are_kept_for_a_while_and_the_newest_for_ever() {
        let mut ring = ring(1..=1000);
        for look in 0..LOOKS {
            assert!(ring.look().is_empty(), "{look}");
        }
        (1001..=1500).for_each(|revision| ring.push(Arc::new(Change::new(revision, None, None))));
        assert_eq!(ring.look().len(), 1000);
        assert_eq!((ring.from(), ring.since(1000).unwrap().count()), (1000, 500));
        assert!(ring.since(999).is_none());
        (0..2 * LOOKS).for_each(|_| drop(ring.look()));
        assert_eq!(ring.since(1500 - FRESH as u64).unwrap().count(), FRESH);
        assert!(ring.since(1499 - FRESH as u64).is_none());
    }

    #[test]
    fn there_are_never_too_many() {
        let ring = ring(1..=5000);
        let from = 5000 - CAPACITY as u64;
        assert_eq!((ring.from(), ring.since(from).unwrap().count()), (from, CAPACITY));
        assert_eq!(ring.since(4990).unwrap().count(), 10);
    }
}
