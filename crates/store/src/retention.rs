//! How long old revisions are kept.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{Error, Store, Txn};

/// The interval of kube-apiserver's `--etcd-compaction-interval`.
pub const DEFAULT_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Holds the revision that is compacted next, for all who share the store. Upstream's servers use
/// the same key.
const TURN: &str = "compact_rev_key";

/// Keeps revisions for at least `interval` and at most twice as long, until `shutdown`: each time
/// around, it compacts to the revision that was current the time before. Of those who share a
/// store, whoever gets to change a certain key first does it.
pub async fn retain(store: Store, interval: Duration, shutdown: CancellationToken) {
    let mut turn = Turn::default();
    loop {
        if let Err(error) = turn.take(&store).await {
            tracing::warn!(%error, "compaction failed");
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// What was found the time before.
#[derive(Debug, Default)]
struct Turn {
    revision: Option<u64>,
    /// When the key was changed last; `None` before the first look, 0 when it was absent.
    key: Option<u64>,
}

impl Turn {
    /// Compacts, unless somebody else did since the last time.
    async fn take(&mut self, store: &Store) -> Result<(), Error> {
        let before = self.revision.take();
        if !store.is_shared() {
            self.revision = Some(store.revision().await?);
            return match before {
                Some(before) => store.compact(before).await,
                None => Ok(()),
            };
        }
        let Some(key) = self.key else {
            let found = store.get(TURN).await?;
            self.key = Some(found.map_or(0, |kv| kv.mod_revision));
            self.revision = Some(store.revision().await?);
            return Ok(());
        };
        let value = before.unwrap_or_default().to_string();
        let txn = match key {
            0 => Txn::create(TURN, value, None),
            key => Txn::update(TURN, value, None, key),
        };
        let taken = store.txn(txn).await?;
        self.revision = Some(taken.revision);
        if taken.succeeded {
            self.key = Some(taken.revision);
            return match before {
                Some(before) => store.compact(before).await,
                None => Ok(()),
            };
        }
        let found = taken.current.into_iter().flatten().next();
        self.key = Some(found.map_or(0, |kv| kv.mod_revision));
        Ok(())
    }
}
