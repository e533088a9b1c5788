//! The journal: where a batch is durable before redb has it.
//!
//! A commit of redb writes some ten pages here and there. A record of the journal is one write to
//! blocks that exist already, so it is durable in a fraction of the time. The [`super::filler`]
//! takes many of them into redb with one commit, which also notes up to where the journal is in it
//! (its [`Mark`]). Only what lies before a durable mark is written over.
//!
//! The file is a block that names the journal and a ring of records, each at the beginning of a
//! sector. Places are counted on from one round to the next, and a record says what its place is
//! and whose journal it belongs to, so one of an earlier round, or of an earlier journal, is never
//! taken for one of this. What comes after the mark is read by [`replay`].

mod file;
pub(super) mod replay;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flate2::Crc;
use redb::StorageBackend;

use super::change::Change;
use crate::metrics;

pub(super) use self::file::JournalFile;

/// Bytes before the ring.
const BLOCK: u64 = 4096;
/// Records begin at multiples of this, so none is in a sector that is written again for another.
const SECTOR: u64 = 512;
/// No record takes more than this part of the ring, and so much of it may wait before redb is
/// brought up to date.
const SHARE: u64 = 4;
/// Bytes kept for the next record.
const BUFFER: usize = 64 << 10;
/// Time between attempts to make the file.
const PAUSE: Duration = Duration::from_secs(1);

const FILE_MAGIC: [u8; 8] = *b"irnjrnl1";
/// Magic, checksum, number of the journal, bytes of the ring.
const FILE_HEADER: usize = 8 + 4 + 8 + 8;
const MAGIC: [u8; 4] = [0xfe, b'j', b'n', b'l'];
/// Magic, checksum, length of everything, number of the journal, place.
const HEADER: usize = 4 + 4 + 4 + 8 + 8;

/// Which journal continues a file, and from which place on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) id: u64,
    pub(super) at: u64,
}

impl Mark {
    /// All there is is in the file.
    pub(super) const NONE: Self = Self { id: 0, at: 0 };

    pub(super) fn is_none(self) -> bool {
        self.id == 0
    }
}

/// The journal as the writer has it.
pub(super) struct Journal {
    file: Arc<dyn StorageBackend>,
    id: u64,
    /// Bytes of the ring.
    ring: u64,
    /// The place of the next record.
    head: u64,
    /// What lies before this is in redb.
    settled: Arc<AtomicU64>,
    state: State,
    /// The file was made, so redb may have a mark in it, even if it said that it has not.
    is_made: bool,
    buffer: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was written since the store was opened; making the file failed at that time.
    Unused(Option<Instant>),
    Ready,
    /// A record failed, and may be there all the same. Nothing may come after it before redb has
    /// noted a place behind it.
    Broken,
}

impl Journal {
    pub(super) fn new(file: Arc<dyn StorageBackend>, ring: u64, settled: Arc<AtomicU64>) -> Self {
        let ring = ring.next_multiple_of(SECTOR * SHARE);
        let (id, state) = (rand::random::<u64>().max(1), State::Unused(None));
        Self { file, id, ring, head: 0, settled, state, is_made: false, buffer: Vec::new() }
    }

    /// Bytes of records that may wait before redb is brought up to date.
    pub(super) fn enough(&self) -> u64 {
        self.ring / SHARE
    }

    /// What redb has to note along with all changes so far.
    pub(super) fn mark(&self) -> Mark {
        match self.state {
            State::Unused(_) => Mark::NONE,
            State::Ready | State::Broken => Mark { id: self.id, at: self.head },
        }
    }

    /// Makes the file if that is to be done. The result is what redb has to note before
    /// [`Journal::begin`].
    pub(super) fn prepare(&mut self) -> Option<Mark> {
        let State::Unused(failed) = self.state else { return None };
        if failed.is_some_and(|failed| failed.elapsed() < PAUSE) {
            return None;
        }
        self.state = State::Unused(Some(Instant::now()));
        match make(&*self.file, self.id, self.ring) {
            Ok(()) => {
                self.is_made = true;
                Some(Mark { id: self.id, at: self.head })
            }
            Err(error) => {
                tracing::warn!(%error, "there is no room for the store's journal");
                if !self.is_made {
                    // What it takes may be all the room that the store itself still has.
                    self.end();
                }
                None
            }
        }
    }

    /// From now on the journal is used.
    pub(super) fn begin(&mut self) {
        self.state = State::Ready;
    }

    /// Makes a change durable; the result is how many bytes of the ring it takes. `None` when it
    /// has to go to redb by itself, after all that waits.
    pub(super) fn append(&mut self, change: &Change) -> io::Result<Option<u64>> {
        let room = ((HEADER + change.encoded_len()) as u64).next_multiple_of(SECTOR);
        if self.state != State::Ready || room > self.ring / SHARE {
            return Ok(None);
        }
        let left = self.ring - self.head % self.ring;
        let at = if left < room { self.head + left } else { self.head };
        if at + room > self.settled.load(Ordering::Acquire) + self.ring {
            return Ok(None);
        }
        let timer = metrics::JOURNAL.start_timer();
        encode(self.id, at, change, &mut self.buffer);
        let written = self.file.write(BLOCK + at % self.ring, &self.buffer);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER);
        self.head = at + room;
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            self.state = State::Broken;
            return Err(error);
        }
        timer.observe_duration();
        Ok(Some(room))
    }

    /// Redb has noted the mark.
    pub(super) fn passed(&mut self) {
        if self.state == State::Broken {
            self.state = State::Ready;
        }
    }

    /// Removes the file, in which there is nothing that redb has not.
    pub(super) fn end(&self) {
        if let Err(error) = self.file.set_len(0) {
            // It is known to be of no use any more.
            tracing::warn!(%error, "the store's journal cannot be removed");
        }
    }
}

/// Makes the file with all its blocks, or takes one that is there.
fn make(file: &dyn StorageBackend, id: u64, ring: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    // One with a header has its blocks.
    if replay::header(file)?.is_none_or(|(_, there)| there != ring) {
        let end = BLOCK + ring;
        file.set_len(end)?;
        for at in (0..end).step_by(ZEROS.len()) {
            let piece = (end - at).min(ZEROS.len() as u64);
            file.write(at, &ZEROS[..usize::try_from(piece).unwrap_or(ZEROS.len())])?;
        }
        file.sync_data()?;
    }
    let mut header = Vec::with_capacity(FILE_HEADER);
    header.extend_from_slice(&FILE_MAGIC);
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&id.to_le_bytes());
    header.extend_from_slice(&ring.to_le_bytes());
    let sum = checksum(&header[12..]);
    header[8..12].copy_from_slice(&sum.to_le_bytes());
    header.resize(usize::try_from(BLOCK).unwrap_or(FILE_HEADER), 0);
    file.write(0, &header)?;
    file.sync_data()
}

fn encode(id: u64, at: u64, change: &Change, out: &mut Vec<u8>) {
    let length = HEADER + change.encoded_len();
    out.clear();
    out.reserve(length);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    let length = u32::try_from(length).expect("a record is a part of the ring");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    out.extend_from_slice(&at.to_le_bytes());
    change.encode(out);
    let sum = checksum(&out[8..]);
    out[4..8].copy_from_slice(&sum.to_le_bytes());
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
