//! The trait that engines implement and the handle that callers hold.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::snapshot::Lease;
use crate::types::{
    Digest, Error, KeyValue, LeaseId, Member, MemberChange, RangeRequest, RangeResult, Status, Txn,
    TxnResult, WatchBatch,
};

/// Changes from a revision on, see [`Store::watch`].
pub type WatchStream = BoxStream<'static, Result<WatchBatch, Error>>;

/// How long a health check waits, as upstream's `--etcd-healthcheck-timeout`.
const HEALTH: Duration = Duration::from_secs(2);

type Reply<'a, T> = BoxFuture<'a, Result<T, Error>>;

/// What an engine does. [`Store`] documents each request.
#[allow(missing_docs)]
pub trait Engine: Send + Sync + 'static {
    fn get(&self, key: Bytes) -> Reply<'_, Option<KeyValue>>;
    fn range(&self, request: RangeRequest) -> Reply<'_, RangeResult>;
    fn txn(&self, txn: Txn) -> Reply<'_, TxnResult>;
    fn watch(&self, prefix: Bytes, from_revision: u64) -> WatchStream;
    fn revision(&self) -> Reply<'_, u64>;
    fn compact(&self, revision: u64) -> Reply<'_, ()>;
    fn compacted(&self) -> Reply<'_, u64>;
    fn lease_grant(&self, ttl: Duration) -> Reply<'_, LeaseId>;
    fn lease_revoke(&self, lease: LeaseId) -> Reply<'_, ()>;
    fn leases(&self, ids: Vec<LeaseId>) -> Reply<'_, Vec<Lease>>;
    fn expire_leases(&self) -> Reply<'_, ()>;
    fn status(&self) -> Reply<'_, Status>;
    fn defragment(&self) -> Reply<'_, ()>;
    fn health(&self) -> Reply<'_, ()>;
    fn is_shared(&self) -> bool;
    fn members(&self, change: Option<MemberChange>) -> Reply<'_, Vec<Member>>;
    fn digests(&self) -> Reply<'_, Vec<Digest>>;
    fn close(&self) -> Reply<'_, ()>;
}

/// Handle on a store; clones share it.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<dyn Engine>);

impl Store {
    /// A handle on an engine.
    pub fn new(engine: impl Engine) -> Self {
        Self(Arc::new(engine))
    }

    /// The current state of a key.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Option<KeyValue>, Error> {
        self.0.get(key.into()).await
    }

    /// Keys in a range, now or at an older revision that is not compacted.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResult, Error> {
        self.0.range(request).await
    }

    /// Makes all changes of `txn` durably if all its preconditions hold. A transaction that
    /// changes nothing (its deletes meet absent keys) uses no revision.
    pub async fn txn(&self, txn: Txn) -> Result<TxnResult, Error> {
        self.0.txn(txn).await
    }

    /// All changes of keys with `prefix` at `from_revision` and later (0: later than now), without
    /// end. Once changes that are still to be delivered have been forgotten by compaction, the
    /// stream ends with [`Error::Compacted`]. A slow reader costs the others nothing.
    pub fn watch(&self, prefix: impl Into<Bytes>, from_revision: u64) -> WatchStream {
        self.0.watch(prefix.into(), from_revision)
    }

    /// The current revision; an empty store has 1.
    pub async fn revision(&self) -> Result<u64, Error> {
        self.0.revision().await
    }

    /// Forgets the states before `revision`. What holds at it stays.
    pub async fn compact(&self, revision: u64) -> Result<(), Error> {
        self.0.compact(revision).await
    }

    /// The oldest revision whose state is kept; 0 when none was forgotten.
    pub async fn compacted(&self) -> Result<u64, Error> {
        self.0.compacted().await
    }

    /// A new lease. Its time to live is rounded up to whole seconds.
    pub async fn lease_grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        self.0.lease_grant(ttl).await
    }

    /// Ends a lease and removes its keys.
    pub async fn lease_revoke(&self, lease: LeaseId) -> Result<(), Error> {
        self.0.lease_revoke(lease).await
    }

    /// What is left of leases. Those that there are not any more are left out.
    pub async fn leases(&self, ids: Vec<LeaseId>) -> Result<Vec<Lease>, Error> {
        self.0.leases(ids).await
    }

    /// Looks at the clock and removes the keys of leases that have run out. The engine does so by
    /// itself too; this is for callers that cannot wait, such as tests with a clock of their own.
    pub async fn expire_leases(&self) -> Result<(), Error> {
        self.0.expire_leases().await
    }

    /// How much room the store takes, and what it suffers from.
    pub async fn status(&self) -> Result<Status, Error> {
        self.0.status().await
    }

    /// Gives room back that nothing takes any more. Nobody else is served for a part of the time.
    pub async fn defragment(&self) -> Result<(), Error> {
        self.0.defragment().await
    }

    /// Whether requests would be served now: reads that need a quorum, and writes as far as that
    /// can be told without making one. Who does not answer in two seconds is not well.
    pub async fn health(&self) -> Result<(), Error> {
        let late = || Err(Error::Unavailable("context deadline exceeded".to_owned()));
        tokio::time::timeout(HEALTH, self.0.health()).await.unwrap_or_else(|_| late())
    }

    /// Whether others may write to the same store, so that what this process has seen of it may be
    /// behind what they were told.
    pub fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    /// The servers that keep a store together, after `change` if there is one.
    ///
    /// # Errors
    /// [`Error::Refused`] when there are no such servers, or they do not agree to the change.
    pub async fn members(&self, change: Option<MemberChange>) -> Result<Vec<Member>, Error> {
        self.0.members(change).await
    }

    /// What each member holds at one revision; all of it should be the same.
    ///
    /// # Errors
    /// [`Error::Refused`] when there are no members, [`Error::Unavailable`] when one does not answer.
    pub async fn digests(&self) -> Result<Vec<Digest>, Error> {
        self.0.digests().await
    }

    /// Closes the store, whoever else still holds a handle: watches end, requests get
    /// [`Error::Closed`] from now on, and everything outside the process (a lock on a file,
    /// connections) is let go once this returns. What was asked before is finished, except by a
    /// shared engine, which goes without its answer. Closing twice does no harm.
    ///
    /// # Errors
    /// When it could not be done in full.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }
}
