//! Time where a clock that is set must do no harm.

use std::time::{Duration, Instant, SystemTime};

/// How long a clock that was set goes unnoticed.
const LOOK: Duration = Duration::from_secs(10);

/// A clock that nobody sets: it starts with the time of day and counts on from there, for ages and
/// periods of silence.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    began: SystemTime,
    since: Instant,
}

// === impl Steady ===

impl Steady {
    /// A clock that shows the time of day now.
    #[must_use]
    pub fn start() -> Self {
        Self { began: SystemTime::now(), since: Instant::now() }
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.began + self.since.elapsed()
    }
}

/// Sleeps until the time of day is `due`, also when the clock is set meanwhile.
pub async fn sleep_until(due: SystemTime) {
    sleep_by(due, SystemTime::now).await;
}

async fn sleep_by(due: SystemTime, now: impl Fn() -> SystemTime) {
    loop {
        match due.duration_since(now()) {
            Ok(left) if !left.is_zero() => tokio::time::sleep(left.min(LOOK)).await,
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::atomic::{AtomicU64, Ordering};

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_is_noticed() {
        let epoch = SystemTime::UNIX_EPOCH;
        let start = tokio::time::Instant::now();
        let jump = AtomicU64::new(0);
        let now = || epoch + start.elapsed() + Duration::from_secs(jump.load(Ordering::Relaxed));
        let forward = async {
            tokio::time::sleep(HOUR / 2).await;
            jump.store(3600, Ordering::Relaxed);
        };
        tokio::join!(sleep_by(epoch + HOUR, now), forward);
        let waited = start.elapsed();
        assert!(waited >= HOUR / 2 && waited <= HOUR / 2 + LOOK, "{waited:?}");
        // What is over is not waited for.
        sleep_by(epoch, now).await;
        assert_eq!(start.elapsed(), waited);
    }

    #[test]
    fn a_steady_clock_goes_on() {
        let clock = Steady::start();
        let first = clock.now();
        assert!(clock.now() >= first && first >= clock.began);
    }
}
