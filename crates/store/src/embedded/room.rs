//! How much the store may hold, and the alarm when it wants to hold more.
//!
//! As etcd's: once a write did not fit, everything that takes room is refused, and reads and
//! deletions go on. Unlike etcd's, which somebody has to disarm, the alarm ends by itself when
//! enough has been deleted and compacted.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::metrics;

/// The quota of etcd's `--quota-backend-bytes` when none is given: 2 GiB.
pub const DEFAULT_QUOTA: u64 = 2 << 30;
/// The alarm ends once so much of the quota is free again: a sixteenth.
const RELIEF: u64 = 16;

/// See the module. The writer decides; others only look.
#[derive(Debug)]
pub(super) struct Room {
    quota: Option<u64>,
    exceeded: AtomicBool,
}

impl Room {
    pub(super) fn new(quota: Option<u64>) -> Self {
        metrics::set(&metrics::QUOTA, quota.unwrap_or(0));
        metrics::set(&metrics::NO_SPACE, 0);
        Self { quota, exceeded: AtomicBool::new(false) }
    }

    pub(super) fn quota(&self) -> Option<u64> {
        self.quota
    }

    /// Whether the alarm is on.
    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Acquire)
    }

    /// Whether `more` bytes fit beside `used` ones.
    pub(super) fn has(&self, used: u64, more: u64) -> bool {
        !self.is_exceeded() && self.quota.is_none_or(|quota| used + more <= quota)
    }

    /// Takes note of what is used now, and whether something was `refused` for want of room.
    pub(super) fn look(&self, used: u64, refused: bool) {
        let Some(quota) = self.quota else { return };
        let was = self.is_exceeded();
        let is = if was { used > quota - quota / RELIEF } else { refused };
        if was == is {
            return;
        }
        self.exceeded.store(is, Ordering::Release);
        metrics::set(&metrics::NO_SPACE, u64::from(is));
        if is {
            tracing::error!(used, quota, "alarm NOSPACE: writes are refused until there is room");
        } else {
            tracing::info!(used, quota, "alarm NOSPACE has ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alarm_begins_with_a_refusal_and_ends_with_room() {
        let room = Room::new(Some(1600));
        assert!(room.has(1500, 100) && !room.has(1500, 101));
        room.look(1500, false);
        assert!(!room.is_exceeded());
        room.look(1500, true);
        assert!(room.is_exceeded() && !room.has(1500, 1), "whatever needs room is refused");
        room.look(1501, false);
        assert!(room.is_exceeded());
        room.look(1500, false);
        assert!(!room.is_exceeded() && room.has(1500, 1));
    }

    #[test]
    fn without_a_quota_there_is_always_room() {
        let room = Room::new(None);
        room.look(u64::MAX / 2, true);
        assert!(room.has(u64::MAX / 2, 1));
    }
}
