//! Power failure: a device that forgets what was not synced, or keeps any part of it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::StorageBackend;
use store::embedded::{Options, open_with_backend};
use store::{RangeRequest, Store, Txn};

/// Bytes that are safe, and writes since the last sync in order.
#[derive(Debug, Clone, Default)]
struct Disk {
    safe: Vec<u8>,
    pending: Vec<Write>,
    syncs: u64,
}

#[derive(Debug, Clone)]
enum Write {
    Data(usize, Vec<u8>),
    Length(usize),
}

fn apply(bytes: &mut Vec<u8>, write: &Write) {
    match write {
        Write::Data(at, data) => {
            if bytes.len() < at + data.len() {
                bytes.resize(at + data.len(), 0);
            }
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
        Write::Length(length) => bytes.resize(*length, 0),
    }
}

impl Disk {
    fn seen(&self) -> Vec<u8> {
        let mut bytes = self.safe.clone();
        self.pending.iter().for_each(|write| apply(&mut bytes, write));
        bytes
    }

    /// What is left when the power goes: unsynced writes may be there or not, each on its own.
    fn after_failure(&self, random: &mut StdRng) -> Disk {
        let mut safe = self.safe.clone();
        for write in &self.pending {
            if random.random_bool(0.5) {
                apply(&mut safe, write);
            }
        }
        Disk { safe, pending: Vec::new(), syncs: 0 }
    }
}

#[derive(Debug, Clone, Default)]
struct Device {
    disk: Arc<Mutex<Disk>>,
    /// Cached view, so that reads need not replay.
    seen: Arc<Mutex<Vec<u8>>>,
    /// The next sync says that it failed, after which nobody knows what is safe.
    failing: Arc<AtomicBool>,
}

impl Device {
    fn new(disk: Disk) -> Self {
        let seen = disk.seen();
        let (disk, seen) = (Arc::new(Mutex::new(disk)), Arc::new(Mutex::new(seen)));
        Self { disk, seen, failing: Arc::default() }
    }

    fn write(&self, write: Write) {
        apply(&mut self.seen.lock().unwrap(), &write);
        self.disk.lock().unwrap().pending.push(write);
    }
}

impl StorageBackend for Device {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.seen.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let (at, seen) = (offset as usize, self.seen.lock().unwrap());
        let bytes = seen.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.write(Write::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut disk = self.disk.lock().unwrap();
        let pending = std::mem::take(&mut disk.pending);
        pending.iter().for_each(|write| apply(&mut disk.safe, write));
        disk.syncs += 1;
        if self.failing.swap(false, Ordering::Relaxed) {
            return Err(io::Error::other("the disk is unwell"));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.write(Write::Data(offset as usize, data.to_vec()));
        Ok(())
    }
}

fn start(device: Device) -> Store {
    open_with_backend(device, Options { compaction_chunk: 4, ..Options::default() }).unwrap()
}

#[tokio::test]
async fn acknowledged_writes_survive_a_power_failure() {
    let mut random = StdRng::seed_from_u64(7);
    let mut device = Device::default();
    let mut written = 0u64;
    for round in 0..12 {
        let store = start(device.clone());
        for _ in 0..random.random_range(1..15) {
            let key = format!("/{written:05}");
            let made = store.txn(Txn::create(key, vec![b'x'; 700], None)).await.unwrap();
            assert!(made.succeeded, "round {round}");
            written += 1;
            if random.random_bool(0.1) {
                store.compact(made.revision - 1).await.unwrap();
            }
        }
        let revision = store.revision().await.unwrap();
        // Taken while the store is open, so nothing is tidied up by closing it.
        let left = device.disk.lock().unwrap().after_failure(&mut random);
        drop(store);
        device = Device::new(left);
        let store = start(device.clone());
        let found = store.range(RangeRequest::prefix("/")).await.unwrap();
        assert_eq!(found.kvs.len() as u64, written, "round {round}");
        assert_eq!(found.revision, revision, "round {round}");
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_commit_that_was_reported_as_failed() {
    let device = Device::default();
    let store = start(device.clone());
    assert!(store.txn(Txn::create("/one", "v", None)).await.unwrap().succeeded);
    let mut both = Txn::create("/a", "v", None);
    both.ops.extend(Txn::create("/b", "v", None).ops);
    device.failing.store(true, Ordering::Relaxed);
    store.txn(both).await.unwrap_err();
    // Commits nothing, so what is to be taken back is still there.
    assert!(!store.txn(Txn::create("/one", "v", None)).await.unwrap().succeeded);
    let made = store.txn(Txn::create("/c", "v", None)).await.unwrap();
    assert!(made.succeeded);
    drop(store);
    let store = start(device);
    let found = store.range(RangeRequest::prefix("/")).await.unwrap();
    let keys: Vec<_> = found.kvs.iter().map(|kv| &kv.key[..]).collect();
    assert_eq!(keys, [&b"/c"[..], b"/one"]);
    assert_eq!(found.revision, made.revision);
}

#[tokio::test]
async fn one_sync_serves_a_batch() {
    let device = Device::default();
    let store = start(device.clone());
    let syncs = || device.disk.lock().unwrap().syncs;
    let before = syncs();
    store.txn(Txn::create("/one", "v", None)).await.unwrap();
    let for_one = syncs() - before;
    assert!(for_one > 0, "not durable at all");
    let before = syncs();
    let writes = (0..64).map(|i| store.txn(Txn::create(format!("/{i}"), "v", None)));
    let results = futures::future::join_all(writes).await;
    assert!(results.into_iter().all(|result| result.unwrap().succeeded));
    // The first may be committed alone while the others queue up.
    assert!(syncs() - before <= 8 * for_one, "{} syncs for 64 writes", syncs() - before);

    let before = syncs();
    store.txn(Txn::create("/one", "v", None)).await.unwrap();
    assert_eq!(syncs(), before, "a refused transaction costs no sync");
}
