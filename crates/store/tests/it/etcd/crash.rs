//! kill −9 of etcd under load, again and again on the same data.

use std::collections::BTreeMap;

use rand::Rng;
use store::etcd::connect;
use store::{Op, RangeRequest, Store, Txn};

use super::{EtcdCluster, options};

const WRITERS: u64 = 8;
const ROUNDS: usize = 5;

/// Number by writer on both sides.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Told {
    tried: BTreeMap<u64, u64>,
    acknowledged: BTreeMap<u64, u64>,
    revision: u64,
}

fn pair(writer: u64, number: u64) -> Txn {
    let value: bytes::Bytes = format!("{number:0>900}").into();
    let ops = ["left", "right"].map(|side| Op::Put {
        key: format!("/{side}/{writer}").into(),
        value: value.clone(),
        lease: None,
    });
    Txn { compare: vec![], ops: ops.into() }
}

async fn side(store: &Store, side: &str) -> BTreeMap<u64, u64> {
    let range = store.range(RangeRequest::prefix(format!("/{side}/"))).await.unwrap();
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().parse::<u64>().unwrap();
    let writer = |key: &[u8]| number(key.rsplit(|byte| *byte == b'/').next().unwrap());
    range.kvs.iter().map(|kv| (writer(&kv.key), number(&kv.value))).collect()
}

/// Writes until a write fails.
async fn write(store: Store, writer: u64, from: u64, budget: u64) -> (u64, u64, u64, u64) {
    let (mut acknowledged, mut revision) = (0, 0);
    for number in from + 1.. {
        // The store dies while somebody writes; the test's own thread sees to that.
        match store.txn(pair(writer, number)).await {
            Ok(made) => (acknowledged, revision) = (number, made.revision),
            Err(_) => return (writer, number, acknowledged, revision),
        }
        if number - from > budget {
            return (writer, number, acknowledged, revision);
        }
    }
    unreachable!("there are enough numbers")
}

#[tokio::test]
async fn acknowledged_writes_survive_the_death_of_etcd() {
    let mut cluster = EtcdCluster::start(1, &[], None);
    let mut told = Told::default();
    for _ in 0..ROUNDS {
        let store = connect(&options(&cluster)).await.unwrap();
        let found = side(&store, "left").await;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let from = found.get(&writer).copied().unwrap_or(0);
                tokio::spawn(write(store.clone(), writer, from, 5_000))
            })
            .collect();
        let start = store.revision().await.unwrap();
        let goal = start + rand::rng().random_range(20..300);
        while store.revision().await.unwrap() < goal {
            tokio::task::yield_now().await;
        }
        cluster.kill(0);
        for end in futures::future::join_all(writers).await {
            let (writer, tried, acknowledged, revision) = end.unwrap();
            told.tried.insert(writer, tried);
            if acknowledged > 0 {
                told.acknowledged.insert(writer, acknowledged);
            }
            told.revision = told.revision.max(revision);
        }
        cluster.resume(0);
        let store = connect(&options(&cluster)).await.unwrap();
        let (left, right) = (side(&store, "left").await, side(&store, "right").await);
        assert_eq!(left, right, "a transaction is half there");
        for (writer, number) in &left {
            let acknowledged = told.acknowledged.get(writer).copied().unwrap_or(0);
            assert!(*number >= acknowledged, "lost {acknowledged} of {writer}: {number}");
            assert!(*number <= told.tried[writer], "{number} was never written");
        }
        assert!(left.len() >= told.acknowledged.len());
        let revision = store.revision().await.unwrap();
        assert!(revision >= told.revision, "the revision went back");
        told.revision = revision;
    }
    assert!(told.revision > 100, "hardly anything was written");
}
