//! Requests to a store as somebody who counts them sees them, whatever the engine.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::snapshot::Lease;
use crate::types::{
    Digest, Error, Expect, KeyValue, LeaseId, Member, MemberChange, Op, RangeRequest, RangeResult,
    Status,
};
use crate::{Engine, Store, Txn, TxnResult, WatchStream};

/// Is told of requests to a store that have been answered.
pub trait Observer: Send + Sync + 'static {
    /// A `get`, `list`, `create`, `update` or `delete` of this key (a list's first, the first one
    /// that a transaction changes). A precondition that does not hold is no failure.
    fn answered(&self, operation: &'static str, key: &[u8], took: Duration, failed: bool);
}

impl Store {
    /// The same store, with an observer of what is asked of it through this handle.
    #[must_use]
    pub fn observed(self, observer: impl Observer) -> Self {
        Self::new(Observed { engine: self.0, observer: Arc::new(observer) })
    }
}

struct Observed {
    engine: Arc<dyn Engine>,
    observer: Arc<dyn Observer>,
}

type Reply<'a, T> = BoxFuture<'a, Result<T, Error>>;

impl Observed {
    fn watch_over<'a, T>(
        &'a self,
        operation: &'static str,
        key: Bytes,
        request: Reply<'a, T>,
    ) -> Reply<'a, T>
    where
        T: Send + 'a,
    {
        let start = Instant::now();
        async move {
            let answer = request.await;
            self.observer.answered(operation, &key, start.elapsed(), answer.is_err());
            answer
        }
        .boxed()
    }
}

/// What a transaction is, by the first change that it makes.
fn operation(txn: &Txn) -> (&'static str, Bytes) {
    let Some(op) = txn.ops.first() else {
        return ("get", txn.compare.first().map(|compare| compare.key.clone()).unwrap_or_default());
    };
    let is_new = txn
        .compare
        .iter()
        .any(|compare| compare.key == op.key() && compare.expect == Expect::Absent);
    let name = match op {
        Op::Put { .. } if is_new => "create",
        Op::Put { .. } => "update",
        Op::Delete { .. } => "delete",
    };
    (name, op.key().clone())
}

impl Engine for Observed {
    fn get(&self, key: Bytes) -> Reply<'_, Option<KeyValue>> {
        self.watch_over("get", key.clone(), self.engine.get(key))
    }

    fn range(&self, request: RangeRequest) -> Reply<'_, RangeResult> {
        self.watch_over("list", request.start.clone(), self.engine.range(request))
    }

    fn txn(&self, txn: Txn) -> Reply<'_, TxnResult> {
        let (operation, key) = operation(&txn);
        self.watch_over(operation, key, self.engine.txn(txn))
    }

    fn watch(&self, prefix: Bytes, from_revision: u64) -> WatchStream {
        self.engine.watch(prefix, from_revision)
    }

    fn revision(&self) -> Reply<'_, u64> {
        self.engine.revision()
    }

    fn compact(&self, revision: u64) -> Reply<'_, ()> {
        self.engine.compact(revision)
    }

    fn compacted(&self) -> Reply<'_, u64> {
        self.engine.compacted()
    }

    fn lease_grant(&self, ttl: Duration) -> Reply<'_, LeaseId> {
        self.engine.lease_grant(ttl)
    }

    fn lease_revoke(&self, lease: LeaseId) -> Reply<'_, ()> {
        self.engine.lease_revoke(lease)
    }

    fn expire_leases(&self) -> Reply<'_, ()> {
        self.engine.expire_leases()
    }

    fn leases(&self, ids: Vec<LeaseId>) -> Reply<'_, Vec<Lease>> {
        self.engine.leases(ids)
    }

    fn status(&self) -> Reply<'_, Status> {
        self.engine.status()
    }

    fn defragment(&self) -> Reply<'_, ()> {
        self.engine.defragment()
    }

    fn health(&self) -> Reply<'_, ()> {
        self.engine.health()
    }

    fn is_shared(&self) -> bool {
        self.engine.is_shared()
    }

    fn members(&self, change: Option<MemberChange>) -> Reply<'_, Vec<Member>> {
        self.engine.members(change)
    }

    fn digests(&self) -> Reply<'_, Vec<Digest>> {
        self.engine.digests()
    }

    fn close(&self) -> Reply<'_, ()> {
        self.engine.close()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_known_by_their_first_change() {
        let check = |txn: Txn, want: &str| {
            let (name, key) = operation(&txn);
            assert_eq!((name, &key[..]), (want, &b"/a"[..]), "{txn:?}");
        };
        check(Txn::create("/a", "1", None), "create");
        check(Txn::update("/a", "1", None, 3), "update");
        check(Txn::delete("/a", 3), "delete");
        let put = Op::Put { key: "/a".into(), value: "1".into(), lease: None };
        check(Txn { compare: Vec::new(), ops: vec![put] }, "update");
        check(Txn { compare: Txn::delete("/a", 3).compare, ops: Vec::new() }, "get");
    }
}
