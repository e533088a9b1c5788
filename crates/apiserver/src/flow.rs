//! Flow control: how many requests run at once, and who waits.
//!
//! Reads and writes have limits of their own, so that neither can starve the other. Beyond them
//! requests queue for a bounded time and in bounded number, as upstream's priority levels do; who
//! finds the queue full, or waits in vain, is told to come back. Requests that stay open (watches,
//! streams) do not count, nor do those of `system:masters`, who must be able to repair things.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use machinery::status::Status;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a request may wait for its turn.
const WAIT: Duration = Duration::from_secs(15);
/// Requests that may wait, per request that may run.
const QUEUE_FACTOR: usize = 10;
/// What who is refused should wait.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The two kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Changes nothing.
    ReadOnly,
    /// All others.
    Mutating,
}

/// Grants turns.
pub(crate) struct Flow {
    read_only: Level,
    mutating: Level,
}

/// The turns of one kind.
struct Level {
    turns: Option<Semaphore>,
    queue: usize,
    waiting: AtomicUsize,
}

impl Kind {
    /// The word in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "readOnly",
            Self::Mutating => "mutating",
        }
    }
}

impl Flow {
    /// So many reads and writes at once; 0 is no limit.
    pub(crate) fn new(read_only: usize, mutating: usize) -> Self {
        Self { read_only: Level::new(read_only), mutating: Level::new(mutating) }
    }

    /// Waits for a turn, which lasts until the permit is dropped.
    pub(crate) async fn enter(
        &self,
        kind: Kind,
    ) -> Result<Option<SemaphorePermit<'_>>, Box<Status>> {
        let level = match kind {
            Kind::ReadOnly => &self.read_only,
            Kind::Mutating => &self.mutating,
        };
        let Some(turns) = &level.turns else { return Ok(None) };
        if let Ok(permit) = turns.try_acquire() {
            return Ok(Some(permit));
        }
        let Some(_waiting) = level.wait() else { return Err(refusal()) };
        match tokio::time::timeout(WAIT, turns.acquire()).await {
            Ok(Ok(permit)) => Ok(Some(permit)),
            _ => Err(refusal()),
        }
    }
}

fn refusal() -> Box<Status> {
    let text = "Too many requests, please try again later.";
    Box::new(Status::too_many_requests(text, RETRY_AFTER_SECONDS))
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl Level {
    fn new(limit: usize) -> Self {
        let turns = (limit > 0).then(|| Semaphore::new(limit));
        Self { turns, queue: limit * QUEUE_FACTOR, waiting: AtomicUsize::new(0) }
    }

    fn wait(&self) -> Option<Place<'_>> {
        let place = Place(&self.waiting);
        (self.waiting.fetch_add(1, Ordering::Relaxed) < self.queue).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use futures::FutureExt as _;

    #[tokio::test(start_paused = true)]
    async fn the_one_too_many_waits_and_then_is_told_to_come_back() {
        let flow = Flow::new(1, 1);
        let first = flow.enter(Kind::ReadOnly).await.unwrap();
        let refused = flow.enter(Kind::ReadOnly).await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_seconds()), (429, Some(1)));
        // Writes have turns of their own.
        let write = flow.enter(Kind::Mutating).await.unwrap();
        assert!(flow.enter(Kind::Mutating).await.is_err());
        drop((first, write));
        assert!(flow.enter(Kind::ReadOnly).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_at_once() {
        let flow = Flow::new(0, 1);
        let _turn = flow.enter(Kind::Mutating).await.unwrap();
        let mut queue: Vec<_> =
            (0..QUEUE_FACTOR).map(|_| Box::pin(flow.enter(Kind::Mutating))).collect();
        assert!(queue.iter_mut().all(|waiting| waiting.as_mut().now_or_never().is_none()));
        let refused = flow.enter(Kind::Mutating).now_or_never().unwrap().unwrap_err();
        assert_eq!(refused.code, 429);
        // Who gives up makes room.
        queue.pop();
        assert!(flow.enter(Kind::Mutating).now_or_never().is_none());
        // 0 is no limit.
        for _ in 0..1000 {
            assert!(flow.enter(Kind::ReadOnly).now_or_never().unwrap().unwrap().is_none());
        }
    }
}
