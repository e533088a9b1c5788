//! The state of all keys in memory: where in the log each stands, now and since the compaction, and
//! how much room all of it takes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, SystemTime};

use super::record::{HEADER, LATEST_ROW};
use crate::types::{LeaseId, RangeRequest};

/// Where an operation stands in the log, and what it put there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) revision: u64,
    /// Place among the operations of the transaction.
    pub(super) sub: u32,
    /// Bytes of the record of a put; 0 for a deletion.
    pub(super) size: u32,
}

impl Position {
    /// Whether it was a put.
    pub(super) fn is_live(self) -> bool {
        self.size > 0
    }

    /// Bytes that the row of the log takes.
    pub(super) fn weight(self, key: &[u8]) -> u64 {
        let record = if self.is_live() { u64::from(self.size) } else { key_weight(key, HEADER) };
        record + LOG_ROW
    }
}

/// Bytes of a row of the log besides the record: its key there and the record's length.
const LOG_ROW: u64 = 12 + 4;

fn key_weight(key: &[u8], besides: usize) -> u64 {
    (key.len() + besides) as u64
}

/// What is known of a key that exists, besides its value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) create_revision: u64,
    pub(super) version: u64,
    pub(super) lease: Option<LeaseId>,
}

/// The newest operation on a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tip {
    pub(super) position: Position,
    /// Meaningless for a deletion.
    pub(super) live: Live,
}

#[derive(Debug)]
struct Entry {
    tip: Tip,
    /// Operations before the tip that are still in the log, ascending.
    older: Vec<Position>,
}

#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) ttl: Duration,
    pub(super) expires: SystemTime,
    pub(super) keys: HashSet<Arc<[u8]>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Index {
    keys: BTreeMap<Arc<[u8]>, Entry>,
    pub(super) leases: HashMap<LeaseId, Lease>,
    pub(super) revision: u64,
    pub(super) compacted: u64,
    pub(super) live_keys: usize,
    /// Bytes of all rows in the file: of the log, and of `latest` once it has every key.
    pub(super) bytes: u64,
}

// The index is changed by single statements that do not panic half-way, so a poisoned lock is
// still a consistent index.
pub(super) fn read(index: &RwLock<Index>) -> RwLockReadGuard<'_, Index> {
    index.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write(index: &RwLock<Index>) -> RwLockWriteGuard<'_, Index> {
    index.write().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    pub(super) fn new(compacted: u64) -> Self {
        Self {
            keys: BTreeMap::new(),
            leases: HashMap::new(),
            revision: compacted.max(1),
            compacted,
            live_keys: 0,
            bytes: 0,
        }
    }

    pub(super) fn tip(&self, key: &[u8]) -> Option<&Tip> {
        self.keys.get(key).map(|entry| &entry.tip)
    }

    /// Where the key's current value stands.
    pub(super) fn live(&self, key: &[u8]) -> Option<Position> {
        self.tip(key).map(|tip| tip.position).filter(|position| position.is_live())
    }

    /// Takes in the next operation on a key.
    pub(super) fn apply(&mut self, key: &[u8], tip: Tip) {
        let shared = match self.keys.get_key_value(key) {
            Some((shared, _)) => shared.clone(),
            None => Arc::from(key),
        };
        let before = self.tip(key).copied().filter(|tip| tip.position.is_live());
        if let Some(lease) = before.and_then(|before| before.live.lease)
            && let Some(lease) = self.leases.get_mut(&lease)
        {
            lease.keys.remove(key);
        }
        if let Some(lease) = tip.live.lease
            && tip.position.is_live()
            && let Some(lease) = self.leases.get_mut(&lease)
        {
            lease.keys.insert(shared.clone());
        }
        match (before.is_some(), tip.position.is_live()) {
            (false, true) => self.live_keys += 1,
            (true, false) => self.live_keys -= 1,
            _ => {}
        }
        self.revision = self.revision.max(tip.position.revision);
        self.bytes += tip.position.weight(key);
        match self.keys.get_mut(key) {
            Some(entry) => {
                entry.older.push(entry.tip.position);
                entry.tip = tip;
            }
            None => {
                self.bytes += latest_weight(key);
                self.keys.insert(shared, Entry { tip, older: Vec::new() });
            }
        }
    }

    /// Forgets positions of `key` that compaction removes from the log: those before `revision`,
    /// and that of `revision` itself when it is a deletion.
    pub(super) fn forget(&mut self, key: &[u8], revision: u64) {
        let gone = |position: &Position| {
            position.revision < revision || (position.revision == revision && !position.is_live())
        };
        let Some(entry) = self.keys.get_mut(key) else { return };
        let dropped = entry.older.extract_if(.., |position| gone(position));
        self.bytes -= dropped.map(|position| position.weight(key)).sum::<u64>();
        if entry.older.is_empty() {
            entry.older.shrink_to_fit();
            if gone(&entry.tip.position) {
                self.bytes -= entry.tip.position.weight(key) + latest_weight(key);
                self.keys.remove(key);
            }
        }
    }

    /// Positions of the values in a range as of the revision asked for, at most `limit`, and the
    /// number of keys in the whole range.
    pub(super) fn range(&self, request: &RangeRequest) -> (Vec<Position>, usize) {
        let at = request.revision.unwrap_or(u64::MAX);
        let end = match &request.end {
            Some(end) if end <= &request.start => return (Vec::new(), 0),
            Some(end) => Bound::Excluded(end.as_ref()),
            None => Bound::Unbounded,
        };
        let mut found = Vec::new();
        let mut count = 0;
        for entry in
            self.keys.range::<[u8], _>((Bound::Included(request.start.as_ref()), end)).map(|e| e.1)
        {
            if let Some(position) = entry.at(at) {
                count += 1;
                if request.limit == 0 || found.len() < request.limit {
                    found.push(position);
                }
            }
        }
        (found, count)
    }

    /// The earliest time at which a lease runs out.
    pub(super) fn next_expiry(&self) -> Option<SystemTime> {
        self.leases.values().map(|lease| lease.expires).min()
    }
}

fn latest_weight(key: &[u8]) -> u64 {
    // Both key and row have their length in the page.
    key_weight(key, LATEST_ROW + 8)
}

impl Entry {
    fn at(&self, revision: u64) -> Option<Position> {
        let position = if self.tip.position.revision <= revision {
            self.tip.position
        } else {
            *self.older.iter().rev().find(|position| position.revision <= revision)?
        };
        position.is_live().then_some(position)
    }
}
