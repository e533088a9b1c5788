//! How long old revisions are kept.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Store;

/// The interval of kube-apiserver's `--etcd-compaction-interval`.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Keeps revisions for at least `interval` and at most twice as long, until `shutdown`: each time
/// around, it compacts to the revision that was current the time before.
pub async fn retain(store: Store, interval: Duration, shutdown: CancellationToken) {
    let mut previous = None;
    loop {
        match store.revision().await {
            Ok(now) => {
                if let Some(revision) = previous.replace(now)
                    && let Err(error) = store.compact(revision).await
                {
                    tracing::warn!(%error, revision, "compaction failed");
                }
            }
            Err(error) => tracing::warn!(%error, "no revision to compact to"),
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}
