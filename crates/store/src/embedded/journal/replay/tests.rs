use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;
use redb::backends::InMemoryBackend;

use super::super::super::change::tests::change;
use super::super::Journal;
use super::*;

/// Bytes of the ring: sixteen sectors.
const RING: u64 = 8192;

struct Fixture {
    file: Arc<InMemoryBackend>,
    journal: Journal,
    settled: Arc<AtomicU64>,
    /// Changes that are in the journal and not settled.
    waiting: Vec<Change>,
    next: u64,
    mark: Mark,
}

impl Fixture {
    fn new() -> Self {
        Self::on(Arc::new(InMemoryBackend::new()))
    }

    fn on(file: Arc<InMemoryBackend>) -> Self {
        let settled = Arc::new(AtomicU64::new(0));
        let mut journal = Journal::new(file.clone(), RING, settled.clone());
        let mark = journal.prepare().unwrap();
        journal.begin();
        Self { file, journal, settled, waiting: Vec::new(), next: 1, mark }
    }

    /// Whether the journal took a change with a value of so many bytes.
    fn append(&mut self, length: usize) -> bool {
        let change = change(self.next, length);
        let taken = self.journal.append(&change).unwrap().is_some();
        if taken {
            self.next += 1;
            self.waiting.push(change);
        }
        taken
    }

    /// As if redb had noted all of it.
    fn settle(&mut self) {
        self.mark = self.journal.mark();
        self.settled.store(self.mark.at, Ordering::Release);
        self.waiting.clear();
    }

    fn read(&self) -> Result<Vec<Change>, Error> {
        Ok(read(&*self.file, self.mark)?.into_iter().map(|found| found.change).collect())
    }

    fn check(&self) {
        assert_eq!(self.read().unwrap(), self.waiting);
    }

    fn damage(&self, at: u64) {
        let mut byte = [0];
        StorageBackend::read(&*self.file, at, &mut byte).unwrap();
        self.file.write(at, &[byte[0] ^ 4]).unwrap();
    }
}

#[test]
fn what_comes_after_the_mark_is_read_in_every_round() {
    let mut fixture = Fixture::new();
    fixture.check();
    // Of all lengths, so that records end everywhere in the ring.
    for step in 0..400 {
        if !fixture.append(step * 37 % 1500) {
            fixture.check();
            fixture.settle();
            assert!(fixture.append(step * 37 % 1500), "there is room at {step}");
        }
        fixture.check();
    }
    assert!(fixture.mark.at > 20 * RING, "{:?}", fixture.mark);
}

#[test]
fn nothing_is_written_over_before_it_is_settled() {
    let mut fixture = Fixture::new();
    while fixture.append(1000) {}
    assert!(fixture.waiting.len() > 3);
    fixture.check();
    let first = fixture.waiting.remove(0);
    let length = (HEADER + first.encoded_len()) as u64;
    fixture.mark.at = length.next_multiple_of(SECTOR);
    fixture.settled.store(fixture.mark.at, Ordering::Release);
    assert!(fixture.append(1000), "the place of one is free");
    fixture.check();
    assert!(!fixture.append(1000));
    assert!(!fixture.append(2048), "what is large is not taken at all");
}

#[test]
fn a_record_that_was_never_whole_is_the_end() {
    let mut fixture = Fixture::new();
    assert!(fixture.append(100) && fixture.append(700));
    let last = read(&*fixture.file, fixture.mark).unwrap().pop().unwrap();
    let torn = fixture.waiting.pop().unwrap();
    let start = last.offset - HEADER as u64;
    for at in start..last.offset + torn.encoded_len() as u64 {
        fixture.damage(at);
        fixture.check();
        fixture.damage(at);
    }
    // Its second sector is the old one.
    fixture.file.write(start + SECTOR, &[0; SECTOR as usize]).unwrap();
    fixture.check();
}

#[test]
fn damage_before_the_end_is_no_end() {
    let mut fixture = Fixture::new();
    assert!((0..4).all(|_| fixture.append(600)));
    fixture.settle();
    assert!((0..4).all(|_| fixture.append(600)), "they go around");
    fixture.check();
    let found = read(&*fixture.file, fixture.mark).unwrap();
    for (n, found) in found.iter().take(3).enumerate() {
        fixture.damage(found.offset + 100);
        let error = fixture.read().unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{n}: {error}");
        fixture.damage(found.offset + 100);
    }
    fixture.check();
}

#[test]
fn another_journal_is_not_read() {
    let mut old = Fixture::new();
    assert!((0..5).all(|_| old.append(300)));
    let mut new = Fixture::on(old.file.clone());
    assert!(matches!(old.read(), Err(Error::Damaged(_))), "its header is gone");
    new.check();
    assert!(new.append(300));
    // The others of the old one are still there.
    new.check();
    new.damage(3);
    assert!(matches!(new.read(), Err(Error::Damaged(_))));
    new.file.set_len(0).unwrap();
    assert!(matches!(new.read(), Err(Error::Damaged(_))));
}
