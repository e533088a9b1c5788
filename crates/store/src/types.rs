//! Requests, results and errors shared by all engines.

use std::time::Duration;

use bytes::Bytes;

/// Identifies a lease; never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub u64);

/// A key with its value as of some revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// The value; empty in a [`EventKind::Delete`] event.
    pub value: Bytes,
    /// Revision of the put that created the key (since it was last absent).
    pub create_revision: u64,
    /// Revision of the last put; in a delete event, of the deletion.
    pub mod_revision: u64,
    /// Number of puts since creation, from 1; 0 in a delete event.
    pub version: u64,
    /// The lease whose end removes the key.
    pub lease: Option<LeaseId>,
}

/// What a transaction requires of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The key does not exist.
    Absent,
    /// The key exists and was last put at this revision.
    ModRevision(u64),
}

/// A precondition on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: Bytes,
    /// What must hold for it.
    pub expect: Expect,
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Set the value; without a lease a former binding ends.
    Put {
        /// The key.
        key: Bytes,
        /// The new value.
        value: Bytes,
        /// The lease to bind the key to.
        lease: Option<LeaseId>,
    },
    /// Remove the key; nothing happens when it is absent.
    Delete {
        /// The key.
        key: Bytes,
    },
}

impl Op {
    /// The key that is changed.
    pub fn key(&self) -> &Bytes {
        match self {
            Op::Put { key, .. } | Op::Delete { key } => key,
        }
    }
}

/// Preconditions and the changes made, all at one revision, when every one of them holds.
/// A key may be changed only once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compare: Vec<Compare>,
    /// Made in order.
    pub ops: Vec<Op>,
}

impl Txn {
    /// Put `value` if `key` is absent.
    pub fn create(key: impl Into<Bytes>, value: impl Into<Bytes>, lease: Option<LeaseId>) -> Self {
        Self::put(key.into(), value.into(), lease, Expect::Absent)
    }

    /// Put `value` if `key` was last put at `mod_revision`.
    pub fn update(
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
        lease: Option<LeaseId>,
        mod_revision: u64,
    ) -> Self {
        Self::put(key.into(), value.into(), lease, Expect::ModRevision(mod_revision))
    }

    /// Remove `key` if it was last put at `mod_revision`.
    pub fn delete(key: impl Into<Bytes>, mod_revision: u64) -> Self {
        let key = key.into();
        Self {
            compare: vec![Compare { key: key.clone(), expect: Expect::ModRevision(mod_revision) }],
            ops: vec![Op::Delete { key }],
        }
    }

    /// Bytes of all keys and values.
    pub(crate) fn size(&self) -> usize {
        let compared: usize = self.compare.iter().map(|compare| compare.key.len()).sum();
        let changed = self.ops.iter().map(|op| match op {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete { key } => key.len(),
        });
        compared + changed.sum::<usize>()
    }

    fn put(key: Bytes, value: Bytes, lease: Option<LeaseId>, expect: Expect) -> Self {
        Self {
            compare: vec![Compare { key: key.clone(), expect }],
            ops: vec![Op::Put { key, value, lease }],
        }
    }
}

/// Outcome of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether the preconditions held and the operations were made.
    pub succeeded: bool,
    /// On success the revision of the changes, otherwise the current one.
    pub revision: u64,
    /// When it failed: the state of each compared key, in the order of the compares.
    pub current: Vec<Option<KeyValue>>,
}

/// Which keys to read, and as of when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// First key.
    pub start: Bytes,
    /// First key past the range; `None` is open.
    pub end: Option<Bytes>,
    /// At most so many keys; 0 is unlimited.
    pub limit: usize,
    /// The state at this revision; `None` is now.
    pub revision: Option<u64>,
}

impl RangeRequest {
    /// All keys with a prefix.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let start = prefix.into();
        let end = prefix_end(&start);
        Self { start, end, limit: 0, revision: None }
    }

    /// Limits the number of keys.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Reads as of `revision`.
    pub fn at(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// Moves the start to the key right after `key`.
    pub fn after(mut self, key: &[u8]) -> Self {
        let mut start = Vec::with_capacity(key.len() + 1);
        start.extend_from_slice(key);
        start.push(0);
        self.start = start.into();
        self
    }
}

/// The least key that is greater than every key with `prefix`; `None` when there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// Keys in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeResult {
    /// The pairs, at most `limit`.
    pub kvs: Vec<KeyValue>,
    /// Number of keys in the whole range.
    pub count: usize,
    /// Whether keys were left out because of the limit.
    pub more: bool,
    /// The revision that the result shows.
    pub revision: u64,
}

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// The key was created or replaced.
    Put,
    /// The key was removed.
    Delete,
}

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The new state.
    pub kv: KeyValue,
}

/// Changes in order. All changes up to `revision` that the watch asked for have been delivered
/// once the batch is; a batch without events only says that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchBatch {
    /// See above.
    pub revision: u64,
    /// The changes; those of one revision are never split over two batches.
    pub events: Vec<Event>,
}

/// What a store suffers from, by etcd's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The quota is used up: what needs room is refused.
    NoSpace,
    /// What members hold differs.
    Corrupt,
}

impl std::fmt::Display for Alarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "NOSPACE",
            Self::Corrupt => "CORRUPT",
        })
    }
}

/// How a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its engine.
    pub engine: &'static str,
    /// The current revision.
    pub revision: u64,
    /// Bytes that it takes on its disk.
    pub allocated_bytes: u64,
    /// Bytes of that which hold something.
    pub used_bytes: u64,
    /// How many may hold something, if that is known here.
    pub quota_bytes: Option<u64>,
    /// What it suffers from.
    pub alarms: Vec<Alarm>,
}

/// One of the servers that keep a store together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its number.
    pub id: u64,
    /// Its name; empty until it has started for the first time.
    pub name: String,
    /// Where the others reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; none until it has started.
    pub client_urls: Vec<String>,
    /// Whether it is still learning what the others hold, and has no vote.
    pub learner: bool,
}

/// What a member holds, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The member.
    pub member: String,
    /// The revision at which all were asked.
    pub revision: u64,
    /// The oldest revision that it keeps the state of.
    pub compacted: u64,
    /// A checksum of all between both.
    pub hash: u32,
}

/// A change of a store's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberChange {
    /// One more at this URL, which first learns what the others hold.
    Add(String),
    /// One that has learned gets a vote.
    Promote(u64),
    /// One less.
    Remove(u64),
}

/// Why a request was not served.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The revision asked for is gone.
    #[error("required revision {requested} has been compacted (oldest is {compacted})")]
    Compacted {
        /// What was asked for.
        requested: u64,
        /// The oldest revision whose state is kept.
        compacted: u64,
    },
    /// The revision asked for does not exist yet.
    #[error("required revision {requested} is a future revision (current is {current})")]
    FutureRevision {
        /// What was asked for.
        requested: u64,
        /// The newest.
        current: u64,
    },
    /// No such lease, or it ran out.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// A transaction changes one key twice.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// A transaction takes more bytes than the store accepts at once. It was not made.
    #[error("etcdserver: request is too large")]
    TooLarge,
    /// The disk is full, or the quota is used up; reads go on.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// The store does not answer. A write may have been made or not.
    #[error("{0}")]
    Unavailable(String),
    /// The store's server refused the request, in its own words. A write was not made.
    #[error("{0}")]
    Refused(String),
    /// What is stored is not as it was written. Reads elsewhere may go on.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The store was closed, or what it runs on has died.
    #[error("store is closed")]
    Closed,
    /// The engine failed; the transaction was not made.
    #[error("storage engine: {0}")]
    Engine(String),
}

impl Error {
    /// What the system said about a file.
    pub(crate) fn from_io(path: &std::path::Path, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::NoSpace,
            // It names the file by itself.
            std::io::ErrorKind::ResourceBusy => Self::Engine(error.to_string()),
            _ => Self::Engine(format!("{}: {error}", path.display())),
        }
    }
}

/// A lease's time to live must be at least this.
pub(crate) const MIN_LEASE: Duration = Duration::from_secs(1);
