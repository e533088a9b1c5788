//! Exponential back-off per key, with upstream's meaning: the wait counts from the event (a
//! container's end), and a key that was quiet for twice the maximum starts over.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// First wait.
pub const INITIAL: Duration = Duration::from_secs(10);
/// Longest wait.
pub const MAX: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug)]
struct Entry {
    wait: Duration,
    updated: Timestamp,
}

/// Waits by key.
#[derive(Clone, Debug)]
pub struct Backoff {
    entries: HashMap<String, Entry>,
    initial: Duration,
    max: Duration,
}

// === impl Backoff ===

impl Default for Backoff {
    fn default() -> Self {
        Self::new(INITIAL, MAX)
    }
}

impl Backoff {
    /// A back-off from `initial`, doubling up to `max`.
    pub fn new(initial: Duration, max: Duration) -> Self {
        Self { entries: HashMap::new(), initial, max }
    }

    /// If `key` must still wait after the event at `event`: the length of its wait and its end.
    pub fn waiting(
        &self,
        key: &str,
        event: Timestamp,
        now: Timestamp,
    ) -> Option<(Duration, Timestamp)> {
        let entry = self.entries.get(key)?;
        // An event in the far future is one of before the clock was set back: nothing says how
        // long ago it was, and to wait until it comes would be for ever.
        if self.expired(entry, event) || event > later(now, self.max) {
            return None;
        }
        let until = later(event, entry.wait);
        (now < until).then_some((entry.wait, until))
    }

    /// The same, counted from the last failure instead of an event.
    pub fn waiting_since_failure(
        &self,
        key: &str,
        now: Timestamp,
    ) -> Option<(Duration, Timestamp)> {
        let updated = self.entries.get(key)?.updated;
        self.waiting(key, updated, now)
    }

    /// Notes another attempt after the event at `event`: the wait starts or doubles.
    pub fn next(&mut self, key: &str, event: Timestamp, now: Timestamp) {
        let wait = match self.entries.get(key) {
            Some(entry) if !self.expired(entry, event) => (entry.wait * 2).min(self.max),
            _ => self.initial,
        };
        self.entries.insert(key.to_owned(), Entry { wait, updated: now });
    }

    /// Forgets `key` after a success.
    pub fn reset(&mut self, key: &str) {
        self.entries.remove(key);
    }

    fn expired(&self, entry: &Entry, event: Timestamp) -> bool {
        event > later(entry.updated, self.max * 2)
    }
}

/// `moment` plus `wait`.
pub fn later(moment: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    moment.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// Whole seconds as Go prints a duration: `10s`, `1m20s`, `5m0s`.
pub fn go_text(wait: Duration) -> String {
    let seconds = wait.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn first_restart_is_immediate_then_waits_double_up_to_five_minutes() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.waiting("c", at(0), at(0)), None);
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..8 {
            backoff.next("c", at(now), at(now));
            let event = at(now);
            let (wait, until) = backoff.waiting("c", event, event).unwrap();
            waits.push(go_text(wait));
            now += i64::try_from(wait.as_secs()).unwrap();
            assert_eq!(until, at(now));
            assert_eq!(backoff.waiting("c", event, until), None);
        }
        assert_eq!(waits, ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s", "5m0s"]);
    }

    #[test]
    fn ten_quiet_minutes_start_over() {
        let mut backoff = Backoff::default();
        backoff.next("c", at(0), at(0));
        backoff.next("c", at(20), at(20));
        assert_eq!(backoff.waiting("c", at(621), at(621)), None);
        // The clock was set back by an hour, and by a second.
        assert_eq!(backoff.waiting("c", at(20), at(20 - 3600)), None);
        assert!(backoff.waiting("c", at(20), at(19)).is_some());
        backoff.next("c", at(621), at(621));
        assert_eq!(backoff.waiting("c", at(621), at(621)).unwrap().0, INITIAL);
    }
}
