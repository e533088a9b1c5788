//! Power failure: a machine whose disks forget what was not synced, or keep any sectors of it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use redb::StorageBackend;
use store::embedded::{Options, open_with_backends};
use store::{Error, RangeRequest, Store, Txn};

const SECTOR: usize = 512;
/// What of the machine's devices holds the file and the journal.
const FILE: usize = 0;
const JOURNAL: usize = 1;

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

    /// What is left when the power goes: of unsynced writes each sector may be there or not.
    fn after_failure(&self, random: &mut StdRng) -> Disk {
        let mut safe = self.safe.clone();
        for write in &self.pending {
            match write {
                Write::Data(at, data) => {
                    let mut from = 0;
                    while from < data.len() {
                        let upto = (from + SECTOR - (at + from) % SECTOR).min(data.len());
                        if random.random_bool(0.5) {
                            apply(&mut safe, &Write::Data(at + from, data[from..upto].to_vec()));
                        }
                        from = upto;
                    }
                }
                Write::Length(_) if random.random_bool(0.5) => apply(&mut safe, write),
                Write::Length(_) => {}
            }
        }
        Disk { safe, pending: Vec::new(), syncs: 0 }
    }
}

#[derive(Debug, Default)]
struct State {
    disks: [Disk; 2],
    /// Cached view, so that reads need not replay.
    seen: [Vec<u8>; 2],
    /// So many syncs say that they failed, after which nobody knows what is safe.
    failing: [u32; 2],
    /// Writes and syncs so far.
    operations: u64,
    /// The power goes before this one.
    cut: Option<u64>,
    /// How many writes to the store have been acknowledged.
    acknowledged: u64,
    /// The disks and what was acknowledged when the power went.
    left: Option<([Disk; 2], u64)>,
}

impl State {
    fn operation(&mut self) {
        if self.cut == Some(self.operations) {
            self.left = Some((self.disks.clone(), self.acknowledged));
        }
        self.operations += 1;
    }
}

/// Two disks that fail together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine(Arc<Mutex<State>>);

#[derive(Debug)]
pub(crate) struct Device {
    machine: Machine,
    disk: usize,
}

impl Machine {
    fn new(disks: [Disk; 2], cut: Option<u64>) -> Self {
        let seen = disks.each_ref().map(Disk::seen);
        Self(Arc::new(Mutex::new(State { disks, seen, cut, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn devices(&self) -> [Device; 2] {
        [FILE, JOURNAL].map(|disk| Device { machine: self.clone(), disk })
    }

    /// A small journal, so that it goes around, and redb is brought up to date all the time.
    pub(crate) fn options() -> Options {
        Options { compaction_chunk: 4, journal_bytes: 16 << 10, ..Options::default() }
    }

    pub(crate) fn start(&self) -> Store {
        self.try_start().unwrap()
    }

    fn try_start(&self) -> Result<Store, Error> {
        let [file, journal] = self.devices();
        open_with_backends(file, journal, Self::options())
    }

    fn syncs(&self, disk: usize) -> u64 {
        self.state().disks[disk].syncs
    }

    fn fail_syncs(&self, disks: &[usize]) {
        disks.iter().for_each(|disk| self.state().failing[*disk] += 1);
    }

    /// The machine after a power failure now.
    fn after_failure(&self, random: &mut StdRng) -> Self {
        let disks = self.state().disks.clone();
        Self::new(disks.map(|disk| disk.after_failure(random)), None)
    }
}

impl Device {
    fn write(&self, write: Write) {
        let mut state = self.machine.state();
        state.operation();
        apply(&mut state.seen[self.disk], &write);
        state.disks[self.disk].pending.push(write);
    }
}

impl StorageBackend for Device {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.machine.state().seen[self.disk].len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let (at, state) = (offset as usize, self.machine.state());
        let bytes = state.seen[self.disk].get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.write(Write::Length(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.machine.state();
        state.operation();
        let disk = &mut state.disks[self.disk];
        let pending = std::mem::take(&mut disk.pending);
        pending.iter().for_each(|write| apply(&mut disk.safe, write));
        disk.syncs += 1;
        if let Some(left) = state.failing[self.disk].checked_sub(1) {
            state.failing[self.disk] = left;
            return Err(io::Error::other("the disk is unwell"));
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.write(Write::Data(offset as usize, data.to_vec()));
        Ok(())
    }
}

fn key(number: u64) -> String {
    format!("/{number:05}")
}

/// The numbers that are there, whose values are right.
async fn numbers(store: &Store) -> Vec<u64> {
    let found = store.range(RangeRequest::prefix("/")).await.unwrap();
    let numbers = found.kvs.iter().map(|kv| {
        let number = std::str::from_utf8(&kv.key[1..]).unwrap().parse().unwrap();
        assert_eq!(kv.value, value(number), "{number}");
        number
    });
    numbers.collect()
}

/// Of all lengths: some fit the journal only alone, some not at all.
fn value(number: u64) -> Vec<u8> {
    let length = match number % 11 {
        10 => 6000,
        9 => 3000,
        n => 200 * n,
    };
    vec![number.to_le_bytes()[0]; length as usize]
}

/// Writes until the power goes or all is written; each write says when it was acknowledged.
async fn work(machine: &Machine, store: &Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let made = store.txn(Txn::create(key(number), value(number), None)).await.unwrap();
        assert!(made.succeeded, "{number}");
        machine.state().acknowledged = number + 1;
        if number % 7 == 6 {
            store.compact(made.revision - 1).await.unwrap();
        }
        if number % 5 == 4 {
            let lease = store.lease_grant(Duration::from_secs(600)).await.unwrap();
            store.lease_revoke(lease).await.unwrap();
        }
        if machine.state().left.is_some() {
            return;
        }
    }
}

#[tokio::test]
async fn acknowledged_writes_survive_a_power_failure() {
    let mut random = StdRng::seed_from_u64(7);
    let mut machine = Machine::default();
    let mut written = 0u64;
    for round in 0..12 {
        let store = machine.start();
        let next = written + random.random_range(1..25);
        work(&machine, &store, written..next).await;
        written = next;
        let revision = store.revision().await.unwrap();
        // Taken while the store is open, so nothing is tidied up by closing it.
        let left = machine.after_failure(&mut random);
        drop(store);
        machine = left;
        let store = machine.start();
        assert_eq!(numbers(&store).await, Vec::from_iter(0..written), "round {round}");
        assert_eq!(store.revision().await.unwrap(), revision, "round {round}");
    }
}

#[tokio::test]
async fn the_power_may_go_at_any_moment() {
    const WRITES: u64 = 40;
    let mut random = StdRng::seed_from_u64(11);
    let machine = Machine::default();
    let store = machine.start();
    let opened = machine.state().operations;
    work(&machine, &store, 0..WRITES).await;
    store.close().await.unwrap();
    let all = machine.state().operations;
    assert!(machine.syncs(FILE) > 20 && machine.syncs(JOURNAL) > WRITES / 2);
    // The last ones are those of closing.
    for round in 0..40 {
        let cut = random.random_range(opened..all);
        let what = format!("round {round}, cut at {cut} of {all}");
        let machine = Machine::new(Default::default(), Some(cut));
        let store = machine.start();
        work(&machine, &store, 0..WRITES).await;
        store.close().await.unwrap();
        // How many operations there are depends a little on which thread is faster.
        let left = machine.state().left.take();
        let Some((disks, acknowledged)) = left else { continue };
        let disks = disks.map(|disk| disk.after_failure(&mut random));

        // It goes again while the store is being opened.
        let cut = random.random_range(0..30);
        let machine = Machine::new(disks.clone(), Some(cut));
        drop(machine.try_start().unwrap_or_else(|error| panic!("{what}: {error}")));
        let again = machine.state().left.take();
        let again = again.map(|(disks, _)| disks.map(|disk| disk.after_failure(&mut random)));
        let mut outcomes = Vec::new();
        for disks in [Some(disks), again].into_iter().flatten() {
            let machine = Machine::new(disks, None);
            let store = machine.try_start().unwrap_or_else(|error| panic!("{what}: {error}"));
            let found = numbers(&store).await;
            let next = found.len() as u64;
            assert_eq!(found, Vec::from_iter(0..next), "{what}");
            assert!((acknowledged..=acknowledged + 1).contains(&next), "{what}: {next} are there");
            work(&machine, &store, next..next + 3).await;
            assert_eq!(numbers(&store).await.len() as u64, next + 3, "{what}");
            outcomes.push(next);
        }
        assert!(outcomes.iter().all(|n| *n == outcomes[0]), "{what}: {outcomes:?}");
    }
}

#[tokio::test]
async fn nothing_is_left_of_a_batch_that_was_reported_as_failed() {
    for cut_off in [false, true] {
        let machine = Machine::default();
        let store = machine.start();
        assert!(store.txn(Txn::create("/one", "v", None)).await.unwrap().succeeded);
        let mut both = Txn::create("/a", "v", None);
        both.ops.extend(Txn::create("/b", "v", None).ops);
        machine.fail_syncs(&[FILE, JOURNAL]);
        store.txn(both).await.unwrap_err();
        // Writes nothing, so what is to be taken back is still there.
        assert!(!store.txn(Txn::create("/one", "v", None)).await.unwrap().succeeded);
        let made = store.txn(Txn::create("/c", "v", None)).await.unwrap();
        assert!(made.succeeded);
        let made = store.txn(Txn::create("/d", "v", None)).await.unwrap();
        let left = machine.after_failure(&mut StdRng::seed_from_u64(3));
        drop(store);
        let store = if cut_off { left.start() } else { machine.start() };
        let found = store.range(RangeRequest::prefix("/")).await.unwrap();
        let keys: Vec<_> = found.kvs.iter().map(|kv| &kv.key[..]).collect();
        assert_eq!(keys, [&b"/c"[..], b"/d", b"/one"], "cut off: {cut_off}");
        assert_eq!(found.revision, made.revision);
    }
}

#[tokio::test]
async fn what_the_journal_cannot_take_goes_to_the_file() {
    let machine = Machine::default();
    let store = machine.start();
    assert!(store.txn(Txn::create("/one", "v", None)).await.unwrap().succeeded);
    for number in 0..4 {
        machine.fail_syncs(&[JOURNAL]);
        let before = machine.syncs(FILE);
        let made = store.txn(Txn::create(format!("/{number}"), "v", None)).await.unwrap();
        assert!(made.succeeded && machine.syncs(FILE) > before);
    }
    let (file, journal) = (machine.syncs(FILE), machine.syncs(JOURNAL));
    assert!(store.txn(Txn::create("/two", "v", None)).await.unwrap().succeeded);
    assert_eq!(machine.syncs(JOURNAL), journal + 1, "it is used again");
    assert_eq!(machine.syncs(FILE), file);
    let left = machine.after_failure(&mut StdRng::seed_from_u64(5));
    drop(store);
    let found = left.start().range(RangeRequest::prefix("/")).await.unwrap();
    assert_eq!(found.kvs.len(), 6);
}

#[tokio::test]
async fn a_store_whose_journal_was_not_begun_is_closed_whole() {
    for failures in [&[FILE][..], &[FILE, FILE]] {
        let machine = Machine::default();
        let store = machine.start();
        // First the mark, then the write itself: whether they are in the file is not known.
        machine.fail_syncs(failures);
        let first = store.txn(Txn::create("/one", "v", None)).await;
        store.close().await.unwrap();
        let found = machine.start().range(RangeRequest::prefix("/")).await.unwrap();
        assert_eq!(found.kvs.len(), usize::from(first.is_ok()), "{failures:?}");
    }
}

#[tokio::test]
async fn one_sync_serves_a_batch() {
    let machine = Machine::default();
    let [file, journal] = machine.devices();
    let store = open_with_backends(file, journal, Options::default()).unwrap();
    store.txn(Txn::create("/one", "v", None)).await.unwrap();
    let before = machine.syncs(JOURNAL);
    store.txn(Txn::create("/two", "v", None)).await.unwrap();
    assert_eq!(machine.syncs(JOURNAL), before + 1);
    let before = machine.syncs(JOURNAL);
    let writes = (0..64).map(|i| store.txn(Txn::create(format!("/{i}"), "v", None)));
    let results = futures::future::join_all(writes).await;
    assert!(results.into_iter().all(|result| result.unwrap().succeeded));
    // The first may be written alone while the others queue up.
    let syncs = machine.syncs(JOURNAL) - before;
    assert!(syncs <= 8, "{syncs} syncs for 64 writes");

    let before = machine.syncs(JOURNAL);
    store.txn(Txn::create("/one", "v", None)).await.unwrap();
    assert_eq!(machine.syncs(JOURNAL), before, "a refused transaction costs no sync");
}
