//! Flow control: how many requests run at once, and who waits.
//!
//! One shared limit with a bounded wait, as upstream's single "global default" level; requests
//! that stay open (watches, streams) do not count.

use std::time::Duration;

use machinery::status::Status;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a request may wait for its turn.
const WAIT: Duration = Duration::from_secs(15);

/// Grants turns.
pub(crate) struct Flow(Semaphore);

impl Flow {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Semaphore::new(limit))
    }

    /// Waits for a turn, which lasts until the permit is dropped.
    pub(crate) async fn enter(&self) -> Result<SemaphorePermit<'_>, Box<Status>> {
        if let Ok(permit) = self.0.try_acquire() {
            return Ok(permit);
        }
        match tokio::time::timeout(WAIT, self.0.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Box::new(Status::too_many_requests(
                "Too many requests, please try again later.",
                1,
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_one_too_many_waits_and_then_is_told_to_come_back() {
        let flow = Flow::new(1);
        let first = flow.enter().await.unwrap();
        let refused = flow.enter().await.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_seconds()), (429, Some(1)));
        drop(first);
        assert!(flow.enter().await.is_ok());
    }
}
