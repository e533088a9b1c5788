//! Workers that turn queued keys into reconciliations.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use crate::WorkQueue;

/// What is to happen with a key after a successful reconciliation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing until something changes.
    Done,
    /// Look again after this time even if nothing changes.
    RequeueAfter(Duration),
}

/// Works on keys of `queue`, `count` at a time, until `shutdown` is cancelled. An error is
/// logged and the key retried with growing delay; success resets the delay.
pub async fn run_workers<T, F, R, E>(
    queue: WorkQueue<T>,
    count: usize,
    shutdown: CancellationToken,
    reconcile: F,
) where
    T: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    F: Fn(T) -> R,
    R: Future<Output = Result<Action, E>>,
    E: Display,
{
    let stop = async {
        shutdown.cancelled().await;
        queue.shut_down();
        // Let the workers finish what they have in hand.
        std::future::pending::<()>().await;
    };
    let workers: FuturesUnordered<_> =
        (0..count.max(1)).map(|_| work(&queue, &reconcile)).collect();
    tokio::select! {
        () = stop => {}
        () = workers.collect::<()>() => {}
    }
}

async fn work<T, F, R, E>(queue: &WorkQueue<T>, reconcile: &F)
where
    T: Clone + Eq + Hash + Debug + Send + Sync + 'static,
    F: Fn(T) -> R,
    R: Future<Output = Result<Action, E>>,
    E: Display,
{
    while let Some(key) = queue.get().await {
        match reconcile(key.clone()).await {
            Ok(Action::Done) => queue.forget(&key),
            Ok(Action::RequeueAfter(delay)) => {
                queue.forget(&key);
                queue.add_after(key.clone(), delay);
            }
            Err(error) => {
                let retries = queue.num_requeues(&key);
                // The first conflicts and not-founds are everyday races.
                if retries < 3 {
                    tracing::debug!(?key, %error, retries, "reconcile failed, retrying");
                } else {
                    tracing::warn!(?key, %error, retries, "reconcile failed, retrying");
                }
                queue.add_rate_limited(key.clone());
            }
        }
        queue.done(&key);
    }
}
