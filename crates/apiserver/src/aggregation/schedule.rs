//! When servers are asked next.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Who was asked when, and about what: two outlines that are not equal are two servers.
pub(super) struct Schedule<O> {
    /// How often somebody is asked again who answered.
    every: Duration,
    /// After the first failure in a row; doubles with each.
    retry: Duration,
    /// The longest time after a failure.
    longest: Duration,
    asked: BTreeMap<String, Asked<O>>,
}

struct Asked<O> {
    outline: O,
    failures: u32,
    /// None if only a change of the outline is a reason to ask again.
    again: Option<Instant>,
}

/// What came of asking.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    Failed,
    /// The server has nothing to say.
    Nothing,
}

impl<O: PartialEq> Schedule<O> {
    /// A schedule of nobody, see the fields.
    pub(super) fn new(every: Duration, retry: Duration, longest: Duration) -> Self {
        Self { every, retry, longest, asked: BTreeMap::new() }
    }

    /// Forgets all others.
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.asked.retain(|name, _| keep(name));
    }

    /// Whether a server is to be asked: it was not asked yet, it is another than before (`outline`
    /// tells), or its time has come.
    pub(super) fn is_due(&self, name: &str, outline: &O, now: Instant) -> bool {
        self.asked.get(name).is_none_or(|asked| {
            asked.outline != *outline || asked.again.is_some_and(|again| again <= now)
        })
    }

    /// Notes what came of asking.
    pub(super) fn note(&mut self, name: String, outline: O, outcome: Outcome, now: Instant) {
        let before = self.asked.get(&name).filter(|asked| asked.outline == outline);
        let failures = match outcome {
            Outcome::Failed => before.map_or(0, |asked| asked.failures) + 1,
            _ => 0,
        };
        let wait = match outcome {
            Outcome::Answered => Some(self.every),
            Outcome::Failed => {
                let doubled = self.retry.saturating_mul(2_u32.saturating_pow(failures.min(16) - 1));
                Some(doubled.min(self.longest))
            }
            Outcome::Nothing => None,
        };
        let again = wait.map(|wait| now + wait);
        self.asked.insert(name, Asked { outline, failures, again });
    }

    /// When somebody is due next, if time alone makes them.
    pub(super) fn next(&self) -> Option<Instant> {
        self.asked.values().filter_map(|asked| asked.again).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_repeated_ever_later() {
        let [every, retry, longest] = [600, 60, 3600].map(Duration::from_secs);
        let mut schedule = Schedule::new(every, retry, longest);
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(schedule.is_due("a", &1, start));
        for wait in [60, 120, 240, 480, 960, 1920, 3600, 3600] {
            schedule.note("a".to_owned(), 1, Outcome::Failed, start);
            assert_eq!(schedule.next(), Some(at(wait)));
        }
        assert!(!schedule.is_due("a", &1, at(3599)));
        assert!(schedule.is_due("a", &1, at(3600)));
        assert!(schedule.is_due("a", &2, start), "it is another");

        schedule.note("a".to_owned(), 2, Outcome::Failed, start);
        assert_eq!(schedule.next(), Some(at(60)), "nobody failed there yet");
        schedule.note("a".to_owned(), 2, Outcome::Answered, start);
        assert_eq!(schedule.next(), Some(at(600)));
        schedule.note("a".to_owned(), 2, Outcome::Nothing, start);
        assert_eq!(schedule.next(), None);
        assert!(!schedule.is_due("a", &2, at(1_000_000)));
        schedule.retain(|_| false);
        assert!(schedule.is_due("a", &2, start));
    }
}
