//! What can be saved of a file that redb does not open.
//!
//! The rows of the log that can still be reached from its root ([`Pages`]) are there for certain.
//! For what lies between them, the whole file is searched for records that stand for themselves:
//! pages are copied on write, so records of the past lie about too. One of those counts if `latest`
//! names it, or if it is newer than the last compaction, since when nothing has left the log. Where
//! `latest` is damaged as well, the newest record of a key is taken, and said to be unproven: its
//! object may have been deleted since.
//!
//! What waits in the journal is as certain as what is in the log, if the journal is whole. If not,
//! or if the file does not say what of it waits, it is searched as the file is.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use redb::StorageBackend;

use super::journal::{Mark, replay};
use super::pages::{Gap, Pages};
use super::record::{MAGIC, View, decode_latest};
use super::report::{Lost, Report};
use super::tables::{COMPACTED, JOURNAL, JOURNAL_AT};
use crate::snapshot::Lease;
use crate::types::{Error, KeyValue, LeaseId};

/// Bytes that are searched at once.
const CHUNK: usize = 1 << 20;
/// No record is longer.
const MAX_RECORD: usize = 64 << 20;
/// What a key's lease is taken to be when it is lost: that of events.
const LOST_LEASE: Duration = Duration::from_secs(3600);

type At = (u64, u32);

/// A record and where in the file it lies.
#[derive(Debug, Clone, Copy)]
struct Kept {
    at: At,
    offset: u64,
    length: usize,
    is_put: bool,
}

/// What is known of a damaged file.
pub(super) struct Salvage<'a> {
    bytes: Joined<'a>,
    /// The newest record of each key.
    keys: BTreeMap<Bytes, Kept>,
    leases: HashMap<LeaseId, Lease>,
    pub(super) report: Report,
}

/// What the tables hold.
#[derive(Default)]
struct Tables {
    log: BTreeMap<At, (Bytes, Kept)>,
    log_gaps: Vec<(Option<At>, Option<At>)>,
    /// Records that are there and damaged.
    log_damaged: BTreeSet<At>,
    latest: BTreeMap<Bytes, At>,
    latest_gaps: Vec<Gap>,
    compacted: Option<u64>,
    /// `None` when that cannot be read.
    mark: Option<Mark>,
    leases: HashMap<LeaseId, Lease>,
}

/// A file and its journal, one behind the other.
struct Joined<'a> {
    file: &'a dyn StorageBackend,
    len: u64,
    journal: &'a dyn StorageBackend,
    journal_len: u64,
}

impl<'a> Salvage<'a> {
    /// Looks at a file and its journal without changing them; `now` is in milliseconds since 1970.
    pub(super) fn of(
        file: &'a dyn StorageBackend,
        journal: &'a dyn StorageBackend,
        now: u64,
    ) -> Result<Self, Error> {
        let len = |file: &dyn StorageBackend| {
            file.len().map_err(|error| Error::Engine(error.to_string()))
        };
        let mut bytes = Joined { file, len: len(file)?, journal, journal_len: len(journal)? };
        let mut report = Report { bytes: bytes.len, ..Report::default() };
        let mut tables = match Pages::open(file) {
            Some(pages) => Tables::read(&pages, now, &mut report),
            None => {
                report.damage.push("its header is not that of a store".to_owned());
                Tables {
                    log_gaps: vec![(None, None)],
                    latest_gaps: vec![(None, None)],
                    ..Tables::default()
                }
            }
        };
        tables.take_journal(&mut bytes, now, &mut report);
        let elsewhere = if tables.log_gaps.is_empty() && tables.log_damaged.is_empty() {
            Vec::new()
        } else {
            bytes.search()?
        };
        let keys = tables.judge(elsewhere, &mut report);
        let mut salvage = Self { bytes, keys, leases: tables.leases, report };
        salvage.report.keys = salvage.keys.values().filter(|kept| kept.is_put).count() as u64;
        Ok(salvage)
    }

    /// The pairs that are saved, in order.
    pub(super) fn pairs(&self) -> impl Iterator<Item = Result<KeyValue, Error>> + '_ {
        let puts = self.keys.values().filter(|kept| kept.is_put);
        puts.map(|kept| {
            let bytes = self.bytes.read(kept.offset, kept.length);
            let pair = bytes.as_deref().and_then(|bytes| View::find(bytes)?.to_pair());
            pair.ok_or_else(|| Error::Engine("the file has changed meanwhile".to_owned()))
        })
    }

    /// The leases, those of the pairs among them for certain.
    pub(super) fn leases(&self) -> Result<Vec<Lease>, Error> {
        let mut leases = self.leases.clone();
        for pair in self.pairs() {
            if let Some(id) = pair?.lease {
                let lost = Lease { id, ttl: LOST_LEASE, remaining: LOST_LEASE };
                leases.entry(id).or_insert(lost);
            }
        }
        Ok(leases.into_values().collect())
    }
}

impl Tables {
    fn read(pages: &Pages<'_>, now: u64, report: &mut Report) -> Self {
        let mut tables = Self::default();
        let gaps = pages.table("log", (Some(12), None), &mut |row| {
            let Some(at) = position(row.key) else { return };
            match View::parse(row.value, at) {
                Ok(view) => {
                    let kept = Kept {
                        at,
                        offset: row.offset,
                        length: view.length,
                        is_put: view.put.is_some(),
                    };
                    tables.log.insert(at, (Bytes::copy_from_slice(view.key), kept));
                }
                Err(_) => drop(tables.log_damaged.insert(at)),
            }
        });
        let bound = |key: &Option<Vec<u8>>| key.as_deref().and_then(position);
        tables.log_gaps = gaps.iter().map(|(after, upto)| (bound(after), bound(upto))).collect();

        tables.latest_gaps = pages.table("latest", (None, None), &mut |row| {
            match decode_latest(row.key, row.value) {
                Ok((position, _)) => {
                    let at = (position.revision, position.sub);
                    tables.latest.insert(Bytes::copy_from_slice(row.key), at);
                }
                // Which key it was is as doubtful as the rest.
                Err(_) => report.damage.push("a row of table latest is damaged".to_owned()),
            }
        });
        if !report.damage.is_empty() {
            tables.latest_gaps.push((None, None));
        }
        let (mut id, mut at) = (0, 0);
        let meta_gaps = pages.table("meta", (None, Some(8)), &mut |row| {
            let number = row.value.try_into().map(u64::from_le_bytes).ok();
            match row.key {
                key if key == COMPACTED.as_bytes() => tables.compacted = number,
                key if key == JOURNAL.as_bytes() => id = number.unwrap_or(0),
                key if key == JOURNAL_AT.as_bytes() => at = number.unwrap_or(0),
                _ => {}
            }
        });
        tables.mark = meta_gaps.is_empty().then_some(Mark { id, at });
        let lease_gaps = pages.table("leases", (Some(8), Some(16)), &mut |row| {
            let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or(0);
            let (ttl, end) = row.value.split_at(8);
            tables.grant(LeaseId(number(row.key)), number(ttl), number(end), now);
        });
        for (table, gaps) in [
            ("log", gaps.len()),
            ("latest", tables.latest_gaps.len()),
            ("meta", meta_gaps.len()),
            ("leases", lease_gaps.len()),
        ] {
            if gaps > 0 {
                report.damage.push(format!("{gaps} pages of table {table} cannot be read"));
            }
        }
        if !tables.log_damaged.is_empty() {
            let count = tables.log_damaged.len();
            report.damage.push(format!("{count} records of the log are damaged"));
        }
        tables
    }

    fn grant(&mut self, id: LeaseId, ttl: u64, end: u64, now: u64) {
        let remaining = Duration::from_millis(end.saturating_sub(now).min(ttl));
        self.leases.insert(id, Lease { id, ttl: Duration::from_millis(ttl), remaining });
    }

    /// Takes in what waits in the journal.
    fn take_journal(&mut self, bytes: &mut Joined<'_>, now: u64, report: &mut Report) {
        let changes = match self.mark {
            Some(mark) if mark.is_none() => {
                // What is in it is of another time.
                bytes.journal_len = 0;
                return;
            }
            Some(mark) => {
                if replay::is_anothers(bytes.journal, mark) {
                    bytes.journal_len = 0;
                }
                replay::read(bytes.journal, mark)
            }
            None if bytes.journal_len == 0 => return,
            None => Err(Error::Damaged("it is not known what of the journal counts".to_owned())),
        };
        let changes = match changes {
            Ok(changes) => changes,
            Err(error) => {
                report.damage.push(error.to_string());
                let last = self.log.keys().next_back().copied();
                self.log_gaps.push((last, None));
                return;
            }
        };
        if let Some(first) = changes.first() {
            // A commit that failed may be in the file.
            self.log.split_off(&(first.change.before + 1, 0));
        }
        for found in changes {
            let mut offset = bytes.len + found.offset + found.change.records_offset() as u64;
            for lease in &found.change.granted {
                self.grant(lease.id, lease.ttl, lease.expires, now);
            }
            for id in &found.change.ended {
                self.leases.remove(id);
            }
            for (at, record) in found.change.writes {
                let length = record.encoded_len();
                let kept = Kept { at, offset, length, is_put: record.put.is_some() };
                offset += length as u64;
                self.log.insert(at, (record.key, kept));
            }
        }
    }

    /// Decides which of the records that were found `elsewhere` count. The result is the newest
    /// one of each key.
    fn judge(&self, elsewhere: Vec<(Bytes, Kept)>, report: &mut Report) -> BTreeMap<Bytes, Kept> {
        let mut newest: BTreeMap<Bytes, Kept> = BTreeMap::new();
        let mut take = |key: &Bytes, kept: Kept| {
            let known = newest.entry(key.clone()).or_insert(kept);
            if known.at < kept.at {
                *known = kept;
            }
        };
        let mut revisions: BTreeSet<u64> = BTreeSet::new();
        for (key, kept) in self.log.values() {
            take(key, *kept);
            revisions.insert(kept.at.0);
        }
        let mut unproven = HashSet::new();
        let mut recovered = BTreeSet::new();
        for (key, kept) in &elsewhere {
            if self.log.contains_key(&kept.at) || !self.is_missing(kept.at) {
                continue;
            }
            let is_newer = self.compacted.is_some_and(|compacted| kept.at.0 > compacted);
            if !is_newer && self.latest.get(key) != Some(&kept.at) {
                if self.latest.contains_key(key) || !is_in(&self.latest_gaps, key) {
                    continue;
                }
                unproven.insert((key.clone(), kept.at));
            }
            recovered.insert((key.clone(), kept.at));
            take(key, *kept);
            revisions.insert(kept.at.0);
        }

        for (key, at) in &self.latest {
            if newest.get(key).is_none_or(|kept| kept.at < *at) {
                let key = String::from_utf8_lossy(key).into_owned();
                report.lost.push(Lost { key, revision: at.0 });
            }
        }
        for (key, kept) in newest.iter().filter(|(_, kept)| kept.is_put) {
            let entry = (key.clone(), kept.at);
            let name = || String::from_utf8_lossy(key).into_owned();
            if unproven.contains(&entry) {
                report.unproven.push(name());
            } else if recovered.contains(&entry) {
                report.recovered.push(name());
            }
        }
        report.compacted = self.compacted.unwrap_or(0);
        report.revision = revisions.last().copied().unwrap_or(0).max(report.compacted);
        if let Some(compacted) = self.compacted {
            let mut next = compacted + 1;
            for revision in revisions.range(next..) {
                if next < *revision {
                    report.lost_revisions.push(next..=revision - 1);
                }
                next = revision + 1;
            }
        }
        report.keys_unknown = !self.latest_gaps.is_empty();
        report.open_end = self.log_gaps.iter().any(|(_, upto)| upto.is_none());
        newest
    }

    /// Whether the log may have had a row here that cannot be read.
    fn is_missing(&self, at: At) -> bool {
        self.log_damaged.contains(&at)
            || self.log_gaps.iter().any(|(after, upto)| {
                after.is_none_or(|after| at > after) && upto.is_none_or(|upto| at <= upto)
            })
    }
}

/// Whether a key is where rows may be missing.
fn is_in(gaps: &[Gap], key: &[u8]) -> bool {
    gaps.iter().any(|(after, upto)| {
        after.as_deref().is_none_or(|after| key > after)
            && upto.as_deref().is_none_or(|upto| key <= upto)
    })
}

fn position(key: &[u8]) -> Option<At> {
    let (revision, sub) = key.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*revision), u32::from_le_bytes(sub.try_into().ok()?)))
}

impl Joined<'_> {
    /// All records that lie anywhere, each once.
    fn search(&self) -> Result<Vec<(Bytes, Kept)>, Error> {
        let mut found: HashMap<At, (Bytes, Kept)> = HashMap::new();
        let (mut start, len) = (0, self.len + self.journal_len);
        while start < len {
            let size = usize::try_from(len - start).unwrap_or(usize::MAX).min(CHUNK);
            let Some(chunk) = self.read(start, size) else {
                return Err(Error::Engine(format!("the file cannot be read at {start}")));
            };
            let mut from = 0;
            while let Some(at) = chunk[from..].iter().position(|byte| *byte == MAGIC[0]) {
                let at = from + at;
                from = at + 1;
                if !MAGIC.starts_with(&chunk[at..(at + MAGIC.len()).min(chunk.len())]) {
                    continue;
                }
                let offset = start + at as u64;
                let Some(record) = self.record_at(offset) else { continue };
                let Some(view) = View::find(&record) else { continue };
                let kept =
                    Kept { at: view.at, offset, length: view.length, is_put: view.put.is_some() };
                found.entry(view.at).or_insert_with(|| (Bytes::copy_from_slice(view.key), kept));
                from = (at + view.length).min(chunk.len());
            }
            start += size as u64;
        }
        Ok(found.into_values().collect())
    }

    /// The bytes of what may be a record.
    fn record_at(&self, offset: u64) -> Option<Vec<u8>> {
        let start = self.read(offset, 12)?;
        let length = u32::from_le_bytes(start[8..12].try_into().ok()?) as usize;
        if start[..4] != MAGIC || length > MAX_RECORD {
            return None;
        }
        self.read(offset, length)
    }

    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        if offset.checked_add(length as u64)? > self.len + self.journal_len {
            return None;
        }
        let mut bytes = vec![0; length];
        let there = self.len.saturating_sub(offset).min(length as u64);
        let (here, beyond) = bytes.split_at_mut(usize::try_from(there).ok()?);
        if !here.is_empty() {
            self.file.read(offset, here).ok()?;
        }
        if !beyond.is_empty() {
            self.journal.read(offset.max(self.len) - self.len, beyond).ok()?;
        }
        Some(bytes)
    }
}
