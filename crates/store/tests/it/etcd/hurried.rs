//! Leases on a clock that tests move: etcd's own cannot be moved, so leases are granted for long
//! and revoked when their time has come. (That etcd lets leases run out by itself has a test of
//! its own.)

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use store::snapshot::Lease;
use store::{
    Digest, Engine, Error, KeyValue, LeaseId, Member, MemberChange, RangeRequest, RangeResult,
    Status, Store, Txn, TxnResult, WatchStream,
};

/// What the clock shows, and when which lease ends.
#[derive(Debug, Default)]
pub(super) struct Time(Mutex<(Duration, Vec<(LeaseId, Duration)>)>);

impl Time {
    pub(super) async fn advance(&self, by: Duration, store: &Store) {
        let due: Vec<LeaseId> = {
            let (now, leases) = &mut *self.0.lock().unwrap();
            *now += by;
            leases.extract_if(.., |(_, end)| *end <= *now).map(|(lease, _)| lease).collect()
        };
        for lease in due {
            store.lease_revoke(lease).await.unwrap();
        }
    }
}

pub(super) struct Hurried {
    inner: Store,
    time: Arc<Time>,
}

impl Hurried {
    pub(super) fn new(inner: Store, time: Arc<Time>) -> Self {
        Self { inner, time }
    }
}

type Reply<'a, T> = BoxFuture<'a, Result<T, Error>>;

impl Engine for Hurried {
    fn get(&self, key: Bytes) -> Reply<'_, Option<KeyValue>> {
        self.inner.get(key).boxed()
    }
    fn range(&self, request: RangeRequest) -> Reply<'_, RangeResult> {
        self.inner.range(request).boxed()
    }
    fn txn(&self, txn: Txn) -> Reply<'_, TxnResult> {
        self.inner.txn(txn).boxed()
    }
    fn watch(&self, prefix: Bytes, from_revision: u64) -> WatchStream {
        self.inner.watch(prefix, from_revision)
    }
    fn revision(&self) -> Reply<'_, u64> {
        self.inner.revision().boxed()
    }
    fn compact(&self, revision: u64) -> Reply<'_, ()> {
        self.inner.compact(revision).boxed()
    }
    fn compacted(&self) -> Reply<'_, u64> {
        self.inner.compacted().boxed()
    }
    fn lease_grant(&self, ttl: Duration) -> Reply<'_, LeaseId> {
        async move {
            let lease = self.inner.lease_grant(ttl + Duration::from_secs(3600)).await?;
            let (now, leases) = &mut *self.time.0.lock().unwrap();
            leases.push((lease, *now + ttl));
            Ok(lease)
        }
        .boxed()
    }
    fn lease_revoke(&self, lease: LeaseId) -> Reply<'_, ()> {
        self.inner.lease_revoke(lease).boxed()
    }
    fn expire_leases(&self) -> Reply<'_, ()> {
        self.inner.expire_leases().boxed()
    }
    fn leases(&self, ids: Vec<LeaseId>) -> Reply<'_, Vec<Lease>> {
        async move {
            let mut leases = self.inner.leases(ids).await?;
            let (now, ends) = &*self.time.0.lock().unwrap();
            for lease in &mut leases {
                let end = ends.iter().find(|(id, _)| *id == lease.id).unwrap().1;
                lease.remaining = end.saturating_sub(*now);
            }
            Ok(leases)
        }
        .boxed()
    }
    fn status(&self) -> Reply<'_, Status> {
        self.inner.status().boxed()
    }
    fn defragment(&self) -> Reply<'_, ()> {
        self.inner.defragment().boxed()
    }
    fn health(&self) -> Reply<'_, ()> {
        self.inner.health().boxed()
    }
    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
    fn members(&self, change: Option<MemberChange>) -> Reply<'_, Vec<Member>> {
        self.inner.members(change).boxed()
    }
    fn digests(&self) -> Reply<'_, Vec<Digest>> {
        self.inner.digests().boxed()
    }
    fn close(&self) -> Reply<'_, ()> {
        self.inner.close().boxed()
    }
}
