//! A thread of the store's that dies: whoever asks is told, nothing hangs, and what was
//! acknowledged is there when the store is opened again.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use redb::StorageBackend;
use store::embedded::{Options, open, open_with_backends};
use store::{Error, RangeRequest, Store, Txn};

use crate::power::Machine;

/// A device whose next write panics, if that is wished.
#[derive(Debug)]
struct Trap<B> {
    device: B,
    armed: Arc<AtomicBool>,
}

impl<B: StorageBackend> StorageBackend for Trap<B> {
    fn len(&self) -> Result<u64, io::Error> {
        self.device.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.device.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.device.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.device.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        assert!(!self.armed.swap(false, Ordering::Relaxed), "the test wants it so");
        self.device.write(offset, data)
    }
}

/// Options with which the writer dies when it is told to, and how to tell it.
fn mortal(options: Options) -> (Options, Arc<AtomicBool>) {
    let armed = Arc::new(AtomicBool::new(false));
    let (trap, clock) = (armed.clone(), options.clock.clone());
    let clock = Arc::new(move || {
        assert!(!trap.swap(false, Ordering::Relaxed), "the test wants it so");
        clock()
    });
    (Options { clock, ..options }, armed)
}

/// Does `work` on the store in the file `path` and leaves that as a crash does: with a journal.
pub(crate) async fn with_a_crash<T>(
    path: &Path,
    options: Options,
    work: impl AsyncFnOnce(&Store) -> T,
) -> T {
    let (options, armed) = mortal(options);
    let store = open(path, options).unwrap();
    let result = work(&store).await;
    armed.store(true, Ordering::Relaxed);
    store.txn(Txn::default()).await.unwrap_err();
    store.close().await.unwrap_err();
    result
}

async fn create(store: &Store, number: u64) -> Result<(), Error> {
    let txn = Txn::create(format!("/{number:03}"), vec![b'x'; 100], None);
    let made = tokio::time::timeout(Duration::from_secs(60), store.txn(txn)).await;
    made.expect("it is answered").map(|_| ())
}

/// Writes until that fails; how many were made.
async fn write_until_it_fails(store: &Store, from: u64) -> u64 {
    for number in from.. {
        if let Err(error) = create(store, number).await {
            assert_eq!(error, Error::Closed);
            return number;
        }
    }
    unreachable!("numbers do not end")
}

async fn dies(machine: &Machine, armed: &Arc<AtomicBool>, store: Store, who: &str) {
    let mut watch = store.watch("/", 0);
    for number in 0..3 {
        create(&store, number).await.unwrap();
    }
    store.health().await.unwrap();
    armed.store(true, Ordering::Relaxed);
    let made = write_until_it_fails(&store, 3).await;
    assert!(!armed.load(Ordering::Relaxed), "it was another one that failed");

    assert_eq!(store.health().await, Err(Error::Closed));
    assert_eq!(create(&store, made).await, Err(Error::Closed));
    assert_eq!(store.compact(2).await, Err(Error::Closed));
    assert_eq!(store.lease_grant(Duration::from_secs(9)).await, Err(Error::Closed));
    let end = async { while watch.next().await.is_some_and(|item| item.is_ok()) {} };
    tokio::time::timeout(Duration::from_secs(60), end).await.expect("watches end");
    let error = store.close().await.unwrap_err();
    assert_eq!(error, Error::Engine(format!("the store's {who} panicked")));

    let store = machine.start();
    let found = store.range(RangeRequest::prefix("/")).await.unwrap().kvs.len() as u64;
    // Whether the last one was made is not known: its outcome was lost with the thread.
    assert!((made..=made + 1).contains(&found), "{found} of {made}");
    create(&store, 900).await.unwrap();
}

#[tokio::test]
async fn the_store_ends_with_its_writer() {
    let machine = Machine::default();
    let (options, armed) = mortal(Machine::options());
    let [file, journal] = machine.devices();
    let store = open_with_backends(file, journal, options).unwrap();
    dies(&machine, &armed, store, "writer").await;
}

#[tokio::test]
async fn the_store_ends_with_its_filler() {
    let machine = Machine::default();
    let armed = Arc::new(AtomicBool::new(false));
    let [file, journal] = machine.devices();
    let file = Trap { device: file, armed: armed.clone() };
    let store = open_with_backends(file, journal, Machine::options()).unwrap();
    dies(&machine, &armed, store, "filler").await;
}
