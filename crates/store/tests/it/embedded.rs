//! Runs the contract on the embedded engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use store::Store;
use store::embedded::{Options, open};
use store::snapshot::{Snapshot, restore};

use crate::contract::{Fixture, contract_tests};

pub(crate) struct Embedded {
    folder: tempfile::TempDir,
    seconds: Arc<AtomicU64>,
    store: Option<Store>,
}

impl Embedded {
    fn options(&self) -> Options {
        let seconds = self.seconds.clone();
        Options {
            // Small, so that the tests reach the log and more than one step.
            recent_bytes: 2048,
            journal_bytes: 16 << 10,
            compaction_chunk: 3,
            clock: Arc::new(move || {
                UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::Relaxed))
            }),
            ..Options::default()
        }
    }
}

impl Fixture for Embedded {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut fixture =
            Self { folder, seconds: Arc::new(AtomicU64::new(1_000_000)), store: None };
        fixture.reopen().await;
        fixture
    }

    fn store(&self) -> Store {
        self.store.clone().unwrap()
    }

    async fn reopen(&mut self) {
        self.store = None;
        let options = self.options();
        self.store = Some(open(&self.folder.path().join("db"), options).unwrap());
    }

    async fn restored(snapshot: &Snapshot) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut fixture =
            Self { folder, seconds: Arc::new(AtomicU64::new(5_000_000)), store: None };
        let (path, now) = (fixture.folder.path().join("db"), (fixture.options().clock)());
        restore::into_file(snapshot, &path, 1000, now).unwrap();
        fixture.reopen().await;
        fixture
    }

    async fn advance(&self, by: Duration) {
        self.seconds.fetch_add(by.as_secs(), Ordering::Relaxed);
        self.store().expire_leases().await.unwrap();
    }
}

contract_tests!(Embedded);
