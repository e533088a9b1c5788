//! Engine `etcd` against real clusters.

// The harness is testkit's; depending on testkit would build the whole API server for this test.
#[path = "../../../../testkit/src/etcd.rs"]
#[allow(unreachable_pub, reason = "public in testkit")]
mod cluster;
mod crash;
mod encrypted;
mod hurried;
mod members;
mod watches;

use std::sync::Arc;
use std::time::Duration;

use store::Store;
use store::etcd::{Options, connect};
use store::snapshot::{Snapshot, restore};

use self::cluster::EtcdCluster;
use self::hurried::{Hurried, Time};
use crate::contract::{Fixture, contract_tests};

/// Room for the contract's large transactions.
const LARGE: [&str; 4] = ["--max-txn-ops", "10000", "--max-request-bytes", "10000000"];

pub(crate) fn options(cluster: &EtcdCluster) -> Options {
    Options { servers: cluster.servers(), ..Options::default() }
}

pub(crate) struct Etcd {
    cluster: EtcdCluster,
    time: Arc<Time>,
    store: Option<Store>,
}

impl Etcd {
    async fn connect(&mut self) {
        let store = connect(&options(&self.cluster)).await.unwrap();
        self.store = Some(Store::new(Hurried::new(store, self.time.clone())));
    }
}

impl Fixture for Etcd {
    async fn new() -> Self {
        let cluster = EtcdCluster::start(1, &LARGE, None);
        let mut fixture = Self { cluster, time: Arc::default(), store: None };
        fixture.connect().await;
        fixture
    }

    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    async fn reopen(&mut self) {
        self.store = None;
        self.cluster.kill(0);
        self.cluster.resume(0);
        self.connect().await;
    }

    async fn restored(snapshot: &Snapshot) -> Self {
        let fixture = Self::new().await;
        let store = fixture.store();
        restore::into_store(snapshot, &store, "/", 0, |_| {}).await.unwrap();
        fixture
    }

    async fn advance(&self, by: Duration) {
        self.time.advance(by, &self.store()).await;
    }
}

contract_tests!(Etcd);
