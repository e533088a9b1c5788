//! The contract: each function checks one promise of [`store::Store`] on any engine.

use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use store::snapshot::Snapshot;
use store::{
    Compare, Error, Event, EventKind, Expect, LeaseId, Op, RangeRequest, Store, Txn, WatchStream,
};

use crate::snapshot;

/// A store to test, with a clock for its leases.
pub(crate) trait Fixture {
    async fn new() -> Self;
    fn store(&self) -> Store;
    /// Closes and opens again.
    async fn reopen(&mut self);
    /// A store of its own that a snapshot was restored into.
    async fn restored(snapshot: &Snapshot) -> Self;
    /// Lets time pass for leases.
    async fn advance(&self, by: Duration);
}

/// Makes a test of each function of the contract.
macro_rules! contract_tests {
    ($fixture:ty) => {
        $crate::contract::contract_tests!($fixture:
            create_update_delete, failed_transactions_show_the_current_state,
            transactions_are_atomic, empty_deletes_use_no_revision, duplicate_keys_are_refused,
            ranges_are_ordered_and_limited, old_revisions_stay_readable,
            future_revisions_are_errors, watch_delivers_in_order_from_now,
            watch_replays_from_a_revision, watch_survives_lagging, watch_filters_by_prefix,
            watch_keeps_transactions_whole, compaction_keeps_the_state,
            compacted_watch_ends, deleted_keys_vanish_with_compaction, leases_remove_their_keys,
            revoked_leases_remove_their_keys, rebinding_leaves_the_lease,
            leases_survive_reopening, everything_survives_reopening, batched_writers_never_share_revisions,
            snapshots_are_whole_stores, leases_go_on_after_a_restore,
            defragmentation_changes_nothing, what_is_too_large_is_refused,
            closing_lets_go_whoever_holds_on);
    };
    ($fixture:ty: $($name:ident),*) => {
        $(#[tokio::test]
        async fn $name() {
            $crate::contract::$name(<$fixture as $crate::contract::Fixture>::new().await).await;
        })*
    };
}
pub(crate) use contract_tests;

async fn put(store: &Store, key: &'static str, value: &'static str) -> u64 {
    let op = Op::Put { key: key.into(), value: value.into(), lease: None };
    let result = store.txn(Txn { compare: vec![], ops: vec![op] }).await.unwrap();
    assert!(result.succeeded);
    result.revision
}

async fn put_leased(store: &Store, key: &'static str, lease: LeaseId) {
    let op = Op::Put { key: key.into(), value: "leased".into(), lease: Some(lease) };
    store.txn(Txn { compare: vec![], ops: vec![op] }).await.unwrap();
}

async fn delete(store: &Store, key: &'static str) -> u64 {
    let txn = Txn { compare: vec![], ops: vec![Op::Delete { key: key.into() }] };
    store.txn(txn).await.unwrap().revision
}

async fn value(store: &Store, key: &'static str) -> Option<Bytes> {
    store.get(key).await.unwrap().map(|kv| kv.value)
}

async fn keys(store: &Store, request: RangeRequest) -> Vec<String> {
    let result = store.range(request).await.unwrap();
    result.kvs.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
}

/// The next `count` events, with a bound on how long a broken engine can hang.
async fn take(watch: &mut WatchStream, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let batch = tokio::time::timeout(Duration::from_secs(60), watch.next());
        events.extend(batch.await.expect("no event came").unwrap().unwrap().events);
    }
    assert_eq!(events.len(), count);
    events
}

fn summary(events: &[Event]) -> Vec<(EventKind, &[u8], u64)> {
    events.iter().map(|e| (e.kind, e.kv.key.as_ref(), e.kv.mod_revision)).collect()
}

pub(crate) async fn create_update_delete(f: impl Fixture) {
    let store = f.store();
    let start = store.revision().await.unwrap();
    assert_eq!(store.get("/a").await.unwrap(), None);

    let created = store.txn(Txn::create("/a", "1", None)).await.unwrap();
    assert!(created.succeeded);
    assert_eq!(created.revision, start + 1);
    let kv = store.get("/a").await.unwrap().unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (start + 1, start + 1, 1));
    assert_eq!((kv.key, kv.value), ("/a".into(), "1".into()));

    let updated = store.txn(Txn::update("/a", "2", None, start + 1)).await.unwrap();
    assert!(updated.succeeded);
    let kv = store.get("/a").await.unwrap().unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (start + 1, start + 2, 2));

    assert!(store.txn(Txn::delete("/a", start + 2)).await.unwrap().succeeded);
    assert_eq!(store.get("/a").await.unwrap(), None);
    assert_eq!(store.revision().await.unwrap(), start + 3);

    store.txn(Txn::create("/a", "3", None)).await.unwrap();
    let kv = store.get("/a").await.unwrap().unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (start + 4, start + 4, 1));
}

pub(crate) async fn failed_transactions_show_the_current_state(f: impl Fixture) {
    let store = f.store();
    let revision = put(&store, "/a", "1").await;

    let refused = store.txn(Txn::create("/a", "2", None)).await.unwrap();
    assert!(!refused.succeeded);
    assert_eq!(refused.revision, revision);
    assert_eq!(refused.current[0].as_ref().unwrap().value, "1");

    let refused = store.txn(Txn::update("/a", "2", None, revision - 1)).await.unwrap();
    assert!(!refused.succeeded);
    assert_eq!(refused.current[0].as_ref().unwrap().mod_revision, revision);

    let refused = store.txn(Txn::delete("/b", 7)).await.unwrap();
    assert!(!refused.succeeded);
    assert_eq!(refused.current, vec![None]);
    assert_eq!(value(&store, "/a").await.unwrap(), "1");
    assert_eq!(store.revision().await.unwrap(), revision);
}

pub(crate) async fn transactions_are_atomic(f: impl Fixture) {
    let store = f.store();
    let revision = put(&store, "/a", "1").await;
    let ops = |value: &'static str| {
        vec![
            Op::Put { key: "/b".into(), value: value.into(), lease: None },
            Op::Delete { key: "/a".into() },
            Op::Put { key: "/c".into(), value: value.into(), lease: None },
        ]
    };
    let compare = |expect| {
        vec![
            Compare { key: "/a".into(), expect: Expect::ModRevision(revision) },
            Compare { key: "/b".into(), expect },
        ]
    };
    let wrong = Txn { compare: compare(Expect::ModRevision(1)), ops: ops("x") };
    assert!(!store.txn(wrong).await.unwrap().succeeded);
    assert_eq!(keys(&store, RangeRequest::prefix("/")).await, ["/a"]);

    let right = Txn { compare: compare(Expect::Absent), ops: ops("y") };
    let made = store.txn(right).await.unwrap();
    assert!(made.succeeded);
    let range = store.range(RangeRequest::prefix("/")).await.unwrap();
    assert_eq!(range.kvs.len(), 2);
    assert!(range.kvs.iter().all(|kv| kv.mod_revision == made.revision && kv.value == "y"));
    assert_eq!(made.revision, revision + 1);
}

pub(crate) async fn empty_deletes_use_no_revision(f: impl Fixture) {
    let store = f.store();
    let revision = put(&store, "/a", "1").await;
    assert_eq!(delete(&store, "/absent").await, revision);
    assert_eq!(put(&store, "/b", "1").await, revision + 1);
}

pub(crate) async fn duplicate_keys_are_refused(f: impl Fixture) {
    let store = f.store();
    let ops = vec![Op::Delete { key: "/a".into() }, Op::Delete { key: "/a".into() }];
    let result = store.txn(Txn { compare: vec![], ops }).await;
    assert!(matches!(result, Err(Error::DuplicateKey)), "{result:?}");
}

pub(crate) async fn ranges_are_ordered_and_limited(f: impl Fixture) {
    let store = f.store();
    for key in ["/p/b", "/p/a", "/q/a", "/p/c", "/p0"] {
        put(&store, key, "v").await;
    }
    assert_eq!(keys(&store, RangeRequest::prefix("/p/")).await, ["/p/a", "/p/b", "/p/c"]);
    let page = store.range(RangeRequest::prefix("/p/").limit(2)).await.unwrap();
    assert_eq!((page.kvs.len(), page.count, page.more), (2, 3, true));
    let rest = RangeRequest::prefix("/p/").after(b"/p/b").limit(2);
    let page = store.range(rest).await.unwrap();
    assert_eq!((page.kvs.len(), page.count, page.more), (1, 1, false));
    assert_eq!(page.kvs[0].key, "/p/c");
    assert_eq!(store.range(RangeRequest::prefix("")).await.unwrap().count, 5);
    assert_eq!(store.range(RangeRequest::prefix("/x")).await.unwrap().count, 0);
}

pub(crate) async fn old_revisions_stay_readable(f: impl Fixture) {
    let store = f.store();
    let first = put(&store, "/a", "1").await;
    put(&store, "/b", "1").await;
    let third = put(&store, "/a", "2").await;
    delete(&store, "/a").await;
    put(&store, "/a", "3").await;

    let at = async |revision| {
        let range = store.range(RangeRequest::prefix("/").at(revision)).await.unwrap();
        assert_eq!(range.revision, revision);
        range
            .kvs
            .iter()
            .map(|kv| format!("{}={}", kv.key.escape_ascii(), kv.value.escape_ascii()))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(at(first).await, "/a=1");
    assert_eq!(at(first + 1).await, "/a=1 /b=1");
    assert_eq!(at(third).await, "/a=2 /b=1");
    assert_eq!(at(third + 1).await, "/b=1");
    assert_eq!(at(third + 2).await, "/a=3 /b=1");
}

pub(crate) async fn future_revisions_are_errors(f: impl Fixture) {
    let store = f.store();
    let now = put(&store, "/a", "1").await;
    let result = store.range(RangeRequest::prefix("/").at(now + 1)).await;
    assert!(
        matches!(result, Err(Error::FutureRevision { requested, .. }) if requested == now + 1),
        "{result:?}"
    );
}

pub(crate) async fn watch_delivers_in_order_from_now(f: impl Fixture) {
    let store = f.store();
    put(&store, "/before", "1").await;
    let mut watch = store.watch("/", 0);
    let first = put(&store, "/a", "1").await;
    put(&store, "/a", "2").await;
    delete(&store, "/a").await;
    let events = take(&mut watch, 3).await;
    assert_eq!(
        summary(&events),
        [
            (EventKind::Put, b"/a".as_slice(), first),
            (EventKind::Put, b"/a", first + 1),
            (EventKind::Delete, b"/a", first + 2),
        ]
    );
    assert_eq!(events[1].kv.value, "2");
    assert_eq!((events[1].kv.create_revision, events[1].kv.version), (first, 2));
}

pub(crate) async fn watch_replays_from_a_revision(mut f: impl Fixture) {
    let store = f.store();
    let first = put(&store, "/a", "1").await;
    put(&store, "/b", "2").await;
    delete(&store, "/a").await;
    drop(store);
    f.reopen().await;
    let store = f.store();
    let mut watch = store.watch("/", first + 1);
    put(&store, "/c", "3").await;
    let events = take(&mut watch, 3).await;
    let keys: Vec<_> = events.iter().map(|event| event.kv.key.as_ref()).collect();
    assert_eq!(keys, [b"/b", b"/a", b"/c"]);
    assert_eq!(events[0].kv.value, "2");
}

pub(crate) async fn watch_survives_lagging(f: impl Fixture) {
    let store = f.store();
    let mut watch = store.watch("/", 0);
    let mut expected = Vec::new();
    for _ in 0..50 {
        expected.push(put(&store, "/a", "a value that takes some room in the memory").await);
        expected.push(put(&store, "/b", "a value that takes some room in the memory").await);
    }
    let events = take(&mut watch, 100).await;
    assert_eq!(events.iter().map(|e| e.kv.mod_revision).collect::<Vec<_>>(), expected);
}

pub(crate) async fn watch_filters_by_prefix(f: impl Fixture) {
    let store = f.store();
    let mut watch = store.watch("/p/", 0);
    put(&store, "/p", "1").await;
    put(&store, "/p/a", "1").await;
    put(&store, "/q/a", "1").await;
    put(&store, "/p/b", "1").await;
    let events = take(&mut watch, 2).await;
    assert_eq!(events[0].kv.key, "/p/a");
    assert_eq!(events[1].kv.key, "/p/b");
}

pub(crate) async fn watch_keeps_transactions_whole(f: impl Fixture) {
    let store = f.store();
    let mut watch = store.watch("/", 0);
    let ops: Vec<Op> = (0..3000)
        .map(|i| Op::Put { key: format!("/{i:04}").into(), value: "v".into(), lease: None })
        .collect();
    store.txn(Txn { compare: vec![], ops }).await.unwrap();
    loop {
        let batch = watch.next().await.unwrap().unwrap();
        if !batch.events.is_empty() {
            assert_eq!(batch.events.len(), 3000);
            break;
        }
    }
}

pub(crate) async fn compaction_keeps_the_state(mut f: impl Fixture) {
    let store = f.store();
    put(&store, "/old", "kept").await;
    put(&store, "/gone", "1").await;
    delete(&store, "/gone").await;
    for _ in 0..10 {
        put(&store, "/a", "x").await;
    }
    let at = put(&store, "/a", "at").await;
    let after = put(&store, "/a", "after").await;
    store.compact(at).await.unwrap();
    drop(store);

    for _ in 0..2 {
        let store = f.store();
        let too_old = store.range(RangeRequest::prefix("/").at(at - 1)).await;
        assert!(
            matches!(too_old, Err(Error::Compacted { requested, .. }) if requested == at - 1),
            "{too_old:?}"
        );
        let range = store.range(RangeRequest::prefix("/").at(at)).await.unwrap();
        let values: Vec<_> = range.kvs.iter().map(|kv| kv.value.as_ref()).collect();
        assert_eq!(values, [&b"at"[..], b"kept"]);
        assert_eq!(value(&store, "/a").await.unwrap(), "after");
        assert_eq!(value(&store, "/old").await.unwrap(), "kept");
        assert_eq!(store.revision().await.unwrap(), after);
        let mut watch = store.watch("/", at + 1);
        assert_eq!(take(&mut watch, 1).await[0].kv.value, "after");
        drop((store, watch));
        f.reopen().await;
    }
    assert!(matches!(f.store().compact(after + 1).await, Err(Error::FutureRevision { .. })));
    f.store().compact(1).await.unwrap();
}

pub(crate) async fn compacted_watch_ends(f: impl Fixture) {
    let store = f.store();
    let first = put(&store, "/a", "1").await;
    for _ in 0..40 {
        put(&store, "/a", "a value that takes some room in the memory").await;
    }
    let mut lagging = store.watch("/", first);
    let now = store.revision().await.unwrap();
    store.compact(now).await.unwrap();
    let mut late = store.watch("/", first);
    for watch in [&mut lagging, &mut late] {
        let item = watch.next().await.unwrap();
        assert!(matches!(item, Err(Error::Compacted { .. })), "{item:?}");
        assert!(watch.next().await.is_none());
    }
}

pub(crate) async fn deleted_keys_vanish_with_compaction(mut f: impl Fixture) {
    let store = f.store();
    put(&store, "/a", "1").await;
    let gone = delete(&store, "/a").await;
    store.compact(gone).await.unwrap();
    assert_eq!(store.range(RangeRequest::prefix("/")).await.unwrap().count, 0);
    drop(store);
    f.reopen().await;
    let store = f.store();
    assert_eq!(store.revision().await.unwrap(), gone, "revisions never go back");
    assert_eq!(put(&store, "/a", "2").await, gone + 1);
    assert_eq!(store.get("/a").await.unwrap().unwrap().version, 1);
}

pub(crate) async fn leases_remove_their_keys(f: impl Fixture) {
    let store = f.store();
    let lease = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let longer = store.lease_grant(Duration::from_secs(3600)).await.unwrap();
    put_leased(&store, "/a", lease).await;
    put_leased(&store, "/b", lease).await;
    put_leased(&store, "/c", longer).await;
    put(&store, "/d", "1").await;
    let mut watch = store.watch("/", 0);
    f.advance(Duration::from_secs(30)).await;
    assert_eq!(store.range(RangeRequest::prefix("/")).await.unwrap().count, 4);
    f.advance(Duration::from_secs(31)).await;
    assert_eq!(keys(&store, RangeRequest::prefix("/")).await, ["/c", "/d"]);
    let events = take(&mut watch, 2).await;
    assert!(events.iter().all(|event| event.kind == EventKind::Delete));

    let op = Op::Put { key: "/e".into(), value: "1".into(), lease: Some(lease) };
    let late = store.txn(Txn { compare: vec![], ops: vec![op] }).await;
    assert!(matches!(late, Err(Error::LeaseNotFound)), "{late:?}");
}

pub(crate) async fn revoked_leases_remove_their_keys(f: impl Fixture) {
    let store = f.store();
    let lease = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    put_leased(&store, "/a", lease).await;
    store.lease_revoke(lease).await.unwrap();
    assert_eq!(store.get("/a").await.unwrap(), None);
    assert!(matches!(store.lease_revoke(lease).await, Err(Error::LeaseNotFound)));
}

pub(crate) async fn rebinding_leaves_the_lease(f: impl Fixture) {
    let store = f.store();
    let lease = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let other = store.lease_grant(Duration::from_secs(600)).await.unwrap();
    put_leased(&store, "/a", lease).await;
    put_leased(&store, "/b", lease).await;
    put(&store, "/a", "free").await;
    put_leased(&store, "/b", other).await;
    f.advance(Duration::from_secs(61)).await;
    assert_eq!(keys(&store, RangeRequest::prefix("/")).await, ["/a", "/b"]);
    f.advance(Duration::from_secs(600)).await;
    assert_eq!(keys(&store, RangeRequest::prefix("/")).await, ["/a"]);
}

pub(crate) async fn leases_survive_reopening(mut f: impl Fixture) {
    let store = f.store();
    let lease = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    put_leased(&store, "/a", lease).await;
    put_leased(&store, "/b", lease).await;
    let now = store.revision().await.unwrap();
    store.compact(now - 1).await.unwrap();
    drop(store);
    f.reopen().await;
    f.advance(Duration::from_secs(30)).await;
    assert_eq!(f.store().range(RangeRequest::prefix("/")).await.unwrap().count, 2);
    let another = f.store().lease_grant(Duration::from_secs(60)).await.unwrap();
    assert_ne!(another, lease, "leases are not given twice");
    f.advance(Duration::from_secs(31)).await;
    assert_eq!(f.store().range(RangeRequest::prefix("/")).await.unwrap().count, 0);
}

pub(crate) async fn everything_survives_reopening(mut f: impl Fixture) {
    let store = f.store();
    let first = put(&store, "/a", "1").await;
    put(&store, "/a", "2").await;
    put(&store, "/b", "1").await;
    let last = delete(&store, "/b").await;
    drop(store);
    f.reopen().await;
    let store = f.store();
    assert_eq!(store.revision().await.unwrap(), last);
    let kv = store.get("/a").await.unwrap().unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (first, first + 1, 2));
    assert_eq!(value(&store, "/b").await, None);
    assert_eq!(keys(&store, RangeRequest::prefix("/").at(last - 1)).await, ["/a", "/b"]);
}

pub(crate) async fn batched_writers_never_share_revisions(f: impl Fixture) {
    let store = f.store();
    let start = store.revision().await.unwrap();
    let writers = (0..16).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut revisions = Vec::new();
            for i in 0..20 {
                let own = Txn::create(format!("/{writer}/{i}"), "v", None);
                revisions.push(store.txn(own).await.unwrap().revision);
                // All compete for this key, and exactly one wins.
                let shared = store.txn(Txn::create(format!("/shared/{i}"), "v", None));
                let shared = shared.await.unwrap();
                if shared.succeeded {
                    revisions.push(shared.revision);
                } else {
                    assert_eq!(shared.current[0].as_ref().unwrap().value, "v");
                }
            }
            revisions
        })
    });
    let mut revisions: Vec<u64> =
        futures::future::join_all(writers).await.into_iter().flat_map(Result::unwrap).collect();
    revisions.sort_unstable();
    let expected: Vec<u64> = (start + 1..=start + 16 * 20 + 20).collect();
    assert_eq!(revisions, expected);
}

pub(crate) async fn snapshots_are_whole_stores<F: Fixture>(f: F) {
    let store = f.store();
    put(&store, "/a", "1").await;
    let at = put(&store, "/a", "2").await;
    put(&store, "/b", "1").await;
    store.compact(at).await.unwrap();
    delete(&store, "/b").await;
    for number in 0..600 {
        store.txn(Txn::create(format!("/c/{number:03}"), "value", None)).await.unwrap();
    }
    put(&store, "elsewhere", "1").await;
    let last = store.revision().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let snapshot = snapshot::save(&store, "/", folder.path(), |store| async move {
        // Of what happens meanwhile, nothing is in it.
        put(&store, "/c/999", "late").await;
        delete(&store, "/c/598").await;
    })
    .await;
    assert_eq!((snapshot.header.revision, snapshot.header.compacted), (last, at));
    assert_eq!((snapshot.records, snapshot.leases), (601, 0));

    let copy = F::restored(&snapshot).await;
    let copy = copy.store();
    let revision = copy.revision().await.unwrap();
    assert!(revision > last, "revisions never go back: {revision}");
    let found = copy.range(RangeRequest::prefix("/")).await.unwrap().kvs;
    let wanted: Vec<_> = snapshot.keys().unwrap().map(Result::unwrap).collect();
    let pairs = |kvs: &[store::KeyValue]| -> Vec<_> {
        kvs.iter().map(|kv| (kv.key.clone(), kv.value.clone())).collect()
    };
    assert_eq!(pairs(&found), pairs(&wanted));
    assert_eq!(value(&copy, "/a").await.unwrap(), "2");
    for past in [2, last, revision - 1] {
        let item = copy.watch("/", past).next().await.unwrap();
        assert!(matches!(item, Err(Error::Compacted { .. })), "{past}: {item:?}");
        let read = copy.range(RangeRequest::prefix("/").at(past)).await;
        assert!(matches!(read, Err(Error::Compacted { .. })), "{past}: {read:?}");
    }
    let mut watch = copy.watch("/", revision + 1);
    assert_eq!(put(&copy, "/a", "3").await, revision + 1);
    assert_eq!(summary(&take(&mut watch, 1).await), [(EventKind::Put, &b"/a"[..], revision + 1)]);
    copy.compact(revision + 1).await.unwrap();
    assert_eq!(keys(&copy, RangeRequest::prefix("/").limit(2)).await, ["/a", "/c/000"]);
}

pub(crate) async fn leases_go_on_after_a_restore<F: Fixture>(f: F) {
    let store = f.store();
    let lease = store.lease_grant(Duration::from_secs(60)).await.unwrap();
    let longer = store.lease_grant(Duration::from_secs(600)).await.unwrap();
    let unused = store.lease_grant(Duration::from_secs(600)).await.unwrap();
    put_leased(&store, "/a", lease).await;
    put_leased(&store, "/b", longer).await;
    put(&store, "/c", "1").await;
    f.advance(Duration::from_secs(20)).await;
    let left = store.leases(vec![longer, unused, LeaseId(4711)]).await.unwrap();
    assert_eq!(left.iter().map(|lease| lease.id).collect::<Vec<_>>(), [longer, unused]);
    let folder = tempfile::tempdir().unwrap();
    let snapshot = snapshot::save(&store, "/", folder.path(), |_| async {}).await;
    assert_eq!((snapshot.records, snapshot.leases), (3, 2));

    let f = F::restored(&snapshot).await;
    f.advance(Duration::from_secs(39)).await;
    assert_eq!(keys(&f.store(), RangeRequest::prefix("/")).await, ["/a", "/b", "/c"]);
    f.advance(Duration::from_secs(2)).await;
    assert_eq!(keys(&f.store(), RangeRequest::prefix("/")).await, ["/b", "/c"]);
    let another = f.store().lease_grant(Duration::from_secs(60)).await.unwrap();
    assert!(![lease, longer].contains(&another), "leases are not given twice");
    f.advance(Duration::from_secs(540)).await;
    assert_eq!(keys(&f.store(), RangeRequest::prefix("/")).await, ["/c"]);
}

pub(crate) async fn defragmentation_changes_nothing(mut f: impl Fixture) {
    let store = f.store();
    let value = "x".repeat(4000);
    for number in 0..300 {
        store.txn(Txn::create(format!("/{number:03}"), value.clone(), None)).await.unwrap();
    }
    let mut watch = store.watch("/", 0);
    for number in 0..290 {
        let found = store.get(format!("/{number:03}")).await.unwrap().unwrap();
        let gone = Txn::delete(found.key, found.mod_revision);
        store.txn(gone).await.unwrap();
    }
    let now = store.revision().await.unwrap();
    assert_eq!(take(&mut watch, 290).await.len(), 290);
    assert_eq!(store.compacted().await.unwrap(), 0);
    store.compact(now - 5).await.unwrap();
    assert_eq!(store.compacted().await.unwrap(), now - 5);
    let before = store.status().await.unwrap();
    assert!(before.allocated_bytes > 1_000_000 && before.alarms.is_empty(), "{before:?}");
    store.defragment().await.unwrap();
    let after = store.status().await.unwrap();
    assert!(after.allocated_bytes * 2 < before.allocated_bytes, "{before:?} {after:?}");
    assert!((50_000..after.allocated_bytes).contains(&after.used_bytes), "{after:?}");
    assert_eq!((before.revision, after.revision), (now, now));

    let range = |at: u64| RangeRequest::prefix("/").at(at);
    assert_eq!(keys(&store, range(now - 5)).await.len(), 15);
    put(&store, "/new", "1").await;
    assert_eq!(summary(&take(&mut watch, 1).await)[0].1, b"/new", "watches go on");
    drop((store, watch));
    f.reopen().await;
    assert_eq!(keys(&f.store(), range(now + 1)).await.len(), 11);
    assert_eq!(keys(&f.store(), range(now - 5)).await.len(), 15);
}

pub(crate) async fn what_is_too_large_is_refused(f: impl Fixture) {
    let store = f.store();
    let revision = put(&store, "/a", "1").await;
    let refused = store.txn(Txn::create("/b", vec![0; 11_000_000], None)).await.unwrap_err();
    assert_eq!(refused, Error::TooLarge);
    assert_eq!(refused.to_string(), "etcdserver: request is too large");
    assert_eq!(store.get("/b").await.unwrap(), None);
    assert!(store.txn(Txn::create("/b", vec![0; 1_000_000], None)).await.unwrap().succeeded);
    assert_eq!(store.revision().await.unwrap(), revision + 1);
}

pub(crate) async fn closing_lets_go_whoever_holds_on(mut f: impl Fixture) {
    let store = f.store();
    let mut watch = store.watch("/", 0);
    let mut behind = store.watch("/", 1);
    let revision = put(&store, "/a", "1").await;
    take(&mut watch, 1).await;
    let writer = store.clone();
    let last = async move { writer.txn(Txn::create("/b", "1", None)).await }.shared();
    last.clone().now_or_never();
    f.store().close().await.unwrap();
    if !store.is_shared() {
        assert!(last.await.unwrap().succeeded, "what was asked before is finished");
    }

    assert_eq!(store.txn(Txn::create("/c", "1", None)).await, Err(Error::Closed));
    assert_eq!(store.txn(Txn::default()).await, Err(Error::Closed));
    assert_eq!(store.get("/a").await, Err(Error::Closed));
    assert_eq!(store.get("/absent").await, Err(Error::Closed));
    assert_eq!(store.range(RangeRequest::prefix("/")).await, Err(Error::Closed));
    assert_eq!(store.revision().await, Err(Error::Closed));
    assert_eq!(store.compact(revision).await, Err(Error::Closed));
    assert_eq!(store.lease_grant(Duration::from_secs(9)).await, Err(Error::Closed));
    assert_eq!(store.lease_revoke(LeaseId(9)).await, Err(Error::Closed));
    assert_eq!(store.health().await, Err(Error::Closed));
    for watch in [&mut watch, &mut behind, &mut store.watch("/", 0), &mut store.watch("/", 1)] {
        let end = tokio::time::timeout(Duration::from_secs(60), async {
            while watch.next().await.is_some_and(|item| item.is_ok()) {}
        });
        end.await.expect("a watch goes on");
    }
    store.close().await.unwrap();

    // The handle and the watches are still held.
    f.reopen().await;
    assert_eq!(value(&f.store(), "/a").await.unwrap(), "1");
    if !store.is_shared() {
        assert_eq!(value(&f.store(), "/b").await.unwrap(), "1");
    }
    drop((store, watch, behind));
    assert!(f.store().revision().await.unwrap() >= revision, "others are not closed");
}
