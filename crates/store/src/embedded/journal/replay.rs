//! Reading a journal: what is in it that redb does not have yet.

use std::io;

use redb::{Database, StorageBackend};

use super::super::change::Change;
use super::super::tables;
use super::{BLOCK, FILE_HEADER, FILE_MAGIC, HEADER, MAGIC, Mark, SECTOR, checksum};
use crate::types::Error;

/// No journal is longer.
const MAX_RING: u64 = 1 << 30;

/// A change that waits.
pub(in super::super) struct Found {
    pub(in super::super) change: Change,
    /// Where in the file the encoded change begins.
    pub(in super::super) offset: u64,
}

/// Takes what waits in the journal into redb, all of it or nothing. After that there is nothing in
/// the journal.
pub(in super::super) fn replay(
    database: &Database,
    journal: &dyn StorageBackend,
) -> Result<(), Error> {
    let mark = tables::mark(database)?;
    if mark.is_none() {
        return Ok(());
    }
    let found = read(journal, mark)?;
    // A commit that failed may be in the file: what was made after it counts.
    let undo = found.first().map(|found| found.change.before);
    tables::fill(database, found.iter().map(|found| &found.change), Mark::NONE, undo)
}

/// The changes from `mark` on.
///
/// # Errors
/// When it is another's journal, or when a change that was durable is damaged: it is followed by
/// others, which are only written once it is. That the last one is damaged cannot be told from one
/// that never was whole.
pub(in super::super) fn read(
    journal: &dyn StorageBackend,
    mark: Mark,
) -> Result<Vec<Found>, Error> {
    let damaged = |text: &str| Err(Error::Damaged(format!("the journal of the file {text}")));
    let failed = |error: io::Error| Error::Engine(format!("cannot read the journal: {error}"));
    let mut ring = match header(journal).map_err(failed)? {
        Some((id, length)) if id == mark.id => {
            Ring { id, bytes: vec![0; usize::try_from(length).unwrap_or(0)] }
        }
        Some(_) => return damaged("belongs to another one"),
        None => return damaged("is missing or has no header"),
    };
    journal.read(BLOCK, &mut ring.bytes).map_err(failed)?;
    let mut found: Vec<Found> = Vec::new();
    let mut at = mark.at;
    while let Some((place, body)) = ring.at(at).or_else(|| ring.at(ring.next_round(at)?)) {
        let Some(change) = Change::decode(body) else {
            return damaged("has a record that cannot be read");
        };
        if found.last().is_some_and(|last| last.change.revision() != change.before) {
            return damaged("has changes that do not follow each other");
        }
        let offset = BLOCK + place % ring.len() + HEADER as u64;
        found.push(Found { change, offset });
        at = place + ((HEADER + body.len()) as u64).next_multiple_of(SECTOR);
    }
    let mut sectors = (0..ring.len()).step_by(SECTOR as usize);
    if sectors.any(|place| ring.place(place).is_some_and(|later| later > at)) {
        return damaged("has a damaged record before others");
    }
    Ok(found)
}

/// Whether it is known to be the journal of another file, or of another time.
pub(in super::super) fn is_anothers(journal: &dyn StorageBackend, mark: Mark) -> bool {
    header(journal).is_ok_and(|header| header.is_some_and(|(id, _)| id != mark.id))
}

/// The number of the journal and the bytes of its ring; `None` without a header.
pub(super) fn header(journal: &dyn StorageBackend) -> io::Result<Option<(u64, u64)>> {
    let len = journal.len()?;
    if len < BLOCK {
        return Ok(None);
    }
    let mut header = [0; FILE_HEADER];
    journal.read(0, &mut header)?;
    let number = |at: usize| u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7].map(|n| header[at + n]));
    let (id, ring) = (number(12), number(20));
    let is_whole = header[..8] == FILE_MAGIC
        && header[8..12] == checksum(&header[12..]).to_le_bytes()
        && (1..=MAX_RING).contains(&ring)
        && len >= BLOCK + ring;
    Ok(is_whole.then_some((id, ring)))
}

/// The records of a journal.
struct Ring {
    id: u64,
    bytes: Vec<u8>,
}

impl Ring {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The beginning of the round after that of `at`, unless that is `at` itself.
    fn next_round(&self, at: u64) -> Option<u64> {
        let next = at.checked_next_multiple_of(self.len())?;
        (next > at).then_some(next)
    }

    /// The record at the place `at`, and that place.
    fn at(&self, at: u64) -> Option<(u64, &[u8])> {
        let (found, body) = self.record(at % self.len())?;
        (found == at).then_some((at, body))
    }

    /// The place that a record says it has which lies at `offset`.
    fn place(&self, offset: u64) -> Option<u64> {
        self.record(offset).map(|(at, _)| at)
    }

    fn record(&self, offset: u64) -> Option<(u64, &[u8])> {
        let bytes = self.bytes.get(usize::try_from(offset).ok()?..)?;
        let (header, _) = bytes.split_first_chunk::<HEADER>()?;
        if header[..4] != MAGIC || header[12..20] != self.id.to_le_bytes() {
            return None;
        }
        let length = u32::from_le_bytes([8, 9, 10, 11].map(|n| header[n])) as usize;
        let covered = bytes.get(8..length)?;
        if length < HEADER || header[4..8] != checksum(covered).to_le_bytes() {
            return None;
        }
        let at = u64::from_le_bytes([20, 21, 22, 23, 24, 25, 26, 27].map(|n| header[n]));
        (at % self.len() == offset).then_some((at, &bytes[HEADER..length]))
    }
}

#[cfg(test)]
mod tests;
