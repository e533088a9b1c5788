//! What only etcd's watches and leases can get wrong.

use std::time::Duration;

use futures::StreamExt;
use store::etcd::{Options, connect};
use store::{Error, EventKind, Op, RangeRequest, Store, Txn, WatchStream};

use super::{EtcdCluster, LARGE, options};

async fn put(store: &Store, key: &str, value: Vec<u8>) -> u64 {
    let op = Op::Put { key: key.to_owned().into(), value: value.into(), lease: None };
    store.txn(Txn { compare: vec![], ops: vec![op] }).await.unwrap().revision
}

async fn until(watch: &mut WatchStream, revision: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        let batch = watch.next().await.unwrap().unwrap();
        seen.extend(batch.events.iter().map(|event| event.kv.mod_revision));
        if batch.revision >= revision {
            return seen;
        }
    }
}

#[tokio::test]
async fn etcd_lets_leases_run_out() {
    let cluster = EtcdCluster::start(1, &LARGE, None);
    let store = connect(&options(&cluster)).await.unwrap();
    let lease = store.lease_grant(Duration::from_millis(1)).await.unwrap();
    let mut watch = store.watch("/", 0);
    let made = store.txn(Txn::create("/a", "1", Some(lease))).await.unwrap();
    assert!(made.succeeded);
    assert_eq!(until(&mut watch, made.revision).await, [made.revision]);
    let end = watch.next().await.unwrap().unwrap();
    assert_eq!(end.events[0].kind, EventKind::Delete);
    assert!(matches!(store.lease_revoke(lease).await, Err(Error::LeaseNotFound)));
}

#[tokio::test]
async fn parts_of_a_large_response_are_put_together() {
    // Responses of more than a request's size come in parts.
    let cluster = EtcdCluster::start(1, &["--max-request-bytes", "100000"], None);
    let store = connect(&options(&cluster)).await.unwrap();
    let start = store.revision().await.unwrap();
    let mut last = 0;
    for i in 0..60u8 {
        let ops = ["a", "b"].map(|side| Op::Put {
            key: format!("/{side}/{i}").into(),
            value: vec![i; 40_000].into(),
            lease: None,
        });
        last = store.txn(Txn { compare: vec![], ops: ops.into() }).await.unwrap().revision;
    }
    let mut watch = store.watch("/", start + 1);
    let mut seen = Vec::new();
    while seen.len() < 120 {
        let batch = watch.next().await.unwrap().unwrap();
        let revisions: Vec<u64> = batch.events.iter().map(|event| event.kv.mod_revision).collect();
        for revision in &revisions {
            let events = revisions.iter().filter(|other| *other == revision).count();
            assert_eq!(events, 2, "revision {revision} is split");
        }
        assert_eq!(revisions.last(), Some(&batch.revision));
        seen.extend(revisions);
    }
    let expected: Vec<u64> = (start + 1..=last).flat_map(|revision| [revision; 2]).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn a_watch_knows_of_revisions_that_are_none_of_its_business() {
    let cluster = EtcdCluster::start(1, &LARGE, None);
    let store = connect(&options(&cluster)).await.unwrap();
    let other = connect(&options(&cluster)).await.unwrap();
    let mut watch = store.watch("/registry/", 0);
    let first = put(&other, "/registry/a", vec![1]).await;
    let last = put(&other, "/elsewhere", vec![1]).await;
    assert_eq!(store.revision().await.unwrap(), last);
    assert_eq!(until(&mut watch, last).await, [first]);
}

#[tokio::test]
async fn prefixes_keep_stores_apart() {
    let cluster = EtcdCluster::start(1, &LARGE, None);
    let of = async |prefix: &str| {
        let prefix = prefix.to_owned();
        connect(&Options { prefix, ..options(&cluster) }).await.unwrap()
    };
    let (red, blue) = (of("/registry").await, of("/blue").await);
    let mut watch = blue.watch("/registry/", 0);
    put(&red, "/registry/a", b"red".into()).await;
    let last = put(&blue, "/registry/a", b"blue".into()).await;
    assert_eq!(red.get("/registry/a").await.unwrap().unwrap().value, "red");
    let range = blue.range(RangeRequest::prefix("/registry/")).await.unwrap();
    assert_eq!(range.kvs.len(), 1);
    assert_eq!((&*range.kvs[0].key, &*range.kvs[0].value), (&b"/registry/a"[..], &b"blue"[..]));
    assert_eq!(red.get("/blue/a").await.unwrap().unwrap().value, "blue");
    assert_eq!(until(&mut watch, last).await, [last]);
}

#[tokio::test]
async fn a_full_etcd_refuses_writes_and_serves_reads() {
    let cluster = EtcdCluster::start(1, &["--quota-backend-bytes", "4000000"], None);
    let store = connect(&options(&cluster)).await.unwrap();
    put(&store, "/first", vec![1]).await;
    let error = loop {
        let op = Op::Put { key: "/a".into(), value: vec![0; 500_000].into(), lease: None };
        if let Err(error) = store.txn(Txn { compare: vec![], ops: vec![op] }).await {
            break error;
        }
    };
    assert_eq!(error, Error::NoSpace);
    assert_eq!(error.to_string(), "etcdserver: mvcc: database space exceeded");
    assert_eq!(store.get("/first").await.unwrap().unwrap().value, vec![1]);
    store.health().await.unwrap();
    assert!(store.status().await.unwrap().allocated_bytes > 1_000_000);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_in_etcds_words() {
    let cluster = EtcdCluster::start(1, &["--max-request-bytes", "100000"], None);
    let store = connect(&options(&cluster)).await.unwrap();
    let made = store.txn(Txn::create("/a", vec![0; 200_000], None)).await;
    assert_eq!(made, Err(Error::TooLarge));
}
