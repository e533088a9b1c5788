//! What a batch of commands comes to: decided from the index alone, before anything is written.

use std::collections::{HashMap, HashSet};
use std::time::SystemTime;

use bytes::Bytes;

use super::change::{Change, Granted};
use super::handle::Handle;
use super::index::{Index, Lease, Live, Position, Tip};
use super::record::{HEADER, Record};
use super::room::Room;
use super::tables;
use super::watch::Feed;
use super::writer::{Command, Reply};
use crate::types::{Compare, Error, Expect, KeyValue, LeaseId, Op, Txn, TxnResult};

/// What a batch of commands comes to, before any of it is written.
pub(super) struct Plan<'a> {
    index: &'a Index,
    room: &'a Room,
    now: SystemTime,
    /// Bytes of the log that the batch takes.
    added: u64,
    /// Tips of keys changed earlier in the batch.
    overlay: HashMap<Bytes, Tip>,
    /// Changes of lease bindings in the batch: keys bound by it.
    bound: HashMap<LeaseId, HashSet<Bytes>>,
    decided: Decided,
}

/// The outcome of planning: what to write, and what to answer once it is durable.
pub(super) struct Decided {
    before: u64,
    pub(super) revision: u64,
    pub(super) last_lease: u64,
    pub(super) writes: Vec<(Record, Tip)>,
    pub(super) granted: HashMap<LeaseId, Lease>,
    pub(super) ended: HashSet<LeaseId>,
    pub(super) compactions: Vec<(u64, Reply<()>)>,
    pub(super) defragmentations: Vec<Reply<()>>,
    /// Whether something was refused because it did not fit.
    pub(super) exceeded: bool,
    pub(super) answers: Vec<Answer>,
}

/// What is sent back after the commit.
pub(super) enum Answer {
    Made { revision: u64, reply: Reply<TxnResult> },
    Refused { revision: u64, current: Vec<Option<Position>>, reply: Reply<TxnResult> },
    Invalid { error: Error, reply: Reply<TxnResult> },
    Granted { lease: LeaseId, reply: Reply<LeaseId> },
    Done { result: Result<(), Error>, reply: Reply<()> },
}

impl Answer {
    // In all of these the asker may be gone, which is no concern of ours.
    pub(super) fn send(self, database: &Handle, feed: &Feed) {
        match self {
            Answer::Made { revision, reply } => {
                let result = TxnResult { succeeded: true, revision, current: Vec::new() };
                reply.send(Ok(result)).ok();
            }
            Answer::Refused { revision, current, reply } => {
                let result = read_current(database, feed, &current).map(|current| TxnResult {
                    succeeded: false,
                    revision,
                    current,
                });
                reply.send(result).ok();
            }
            Answer::Invalid { error, reply } => {
                reply.send(Err(error)).ok();
            }
            Answer::Granted { lease, reply } => {
                reply.send(Ok(lease)).ok();
            }
            Answer::Done { result, reply } => {
                reply.send(result).ok();
            }
        }
    }

    pub(super) fn fail(self, error: &Error) {
        match self {
            Answer::Made { reply, .. }
            | Answer::Refused { reply, .. }
            | Answer::Invalid { reply, .. } => {
                reply.send(Err(error.clone())).ok();
            }
            Answer::Granted { reply, .. } => {
                reply.send(Err(error.clone())).ok();
            }
            Answer::Done { reply, .. } => {
                reply.send(Err(error.clone())).ok();
            }
        }
    }
}

fn read_current(
    database: &Handle,
    feed: &Feed,
    positions: &[Option<Position>],
) -> Result<Vec<Option<KeyValue>>, Error> {
    // No compaction has removed any of them: it goes no further than to a revision before the
    // batch, at which they were current, unless they are of the batch itself.
    database.read(|database| {
        let pairs = positions.iter();
        pairs.map(|at| at.map(|at| tables::pair(feed, database, at)).transpose()).collect()
    })
}

impl Decided {
    /// What is to be made durable, if anything.
    pub(super) fn change(&self) -> Option<Change> {
        if self.writes.is_empty() && self.granted.is_empty() && self.ended.is_empty() {
            return None;
        }
        let at = |tip: &Tip| (tip.position.revision, tip.position.sub);
        Some(Change {
            before: self.before,
            last_lease: self.last_lease,
            granted: self.granted.iter().map(|(id, lease)| Granted::new(*id, lease)).collect(),
            ended: self.ended.iter().copied().collect(),
            writes: self.writes.iter().map(|(record, tip)| (at(tip), record.clone())).collect(),
        })
    }
}

impl<'a> Plan<'a> {
    pub(super) fn new(index: &'a Index, room: &'a Room, last_lease: u64, now: SystemTime) -> Self {
        let decided = Decided {
            before: index.revision,
            revision: index.revision,
            last_lease,
            writes: Vec::new(),
            granted: HashMap::new(),
            ended: HashSet::new(),
            compactions: Vec::new(),
            defragmentations: Vec::new(),
            exceeded: false,
            answers: Vec::new(),
        };
        let (overlay, bound) = (HashMap::new(), HashMap::new());
        Self { index, room, now, added: 0, overlay, bound, decided }
    }

    pub(super) fn finish(self) -> Decided {
        self.decided
    }

    pub(super) fn take(&mut self, command: Command) {
        let answer = match command {
            Command::Txn { txn, reply } => self.txn(txn, reply),
            Command::Grant { reply, .. } if !self.fits(0) => {
                reply.send(Err(Error::NoSpace)).ok(); // the asker may be gone
                return;
            }
            Command::Grant { ttl, reply } => {
                self.decided.last_lease += 1;
                let lease = LeaseId(self.decided.last_lease);
                let facts = Lease { ttl, expires: self.now + ttl, keys: HashSet::new() };
                self.decided.granted.insert(lease, facts);
                Answer::Granted { lease, reply }
            }
            Command::Revoke { lease, reply } => {
                let known = self.lease_exists(lease);
                if known {
                    self.end_lease(lease);
                }
                let result = if known { Ok(()) } else { Err(Error::LeaseNotFound) };
                Answer::Done { result, reply }
            }
            Command::Expire { reply } => {
                self.expire();
                Answer::Done { result: Ok(()), reply }
            }
            Command::Compact { revision, reply } => {
                self.decided.compactions.push((revision, reply));
                return;
            }
            Command::Defragment { reply } => {
                self.decided.defragmentations.push(reply);
                return;
            }
            Command::Close => return,
        };
        self.decided.answers.push(answer);
    }

    fn tip(&self, key: &[u8]) -> Option<Tip> {
        self.overlay
            .get(key)
            .or_else(|| self.index.tip(key))
            .filter(|tip| tip.position.is_live())
            .copied()
    }

    fn txn(&mut self, txn: Txn, reply: Reply<TxnResult>) -> Answer {
        if let Err(error) = self.check(&txn) {
            return Answer::Invalid { error, reply };
        }
        if !self.has_room(&txn) {
            return Answer::Invalid { error: Error::NoSpace, reply };
        }
        let holds = |compare: &Compare| match (compare.expect, self.tip(&compare.key)) {
            (Expect::Absent, tip) => tip.is_none(),
            (Expect::ModRevision(want), tip) => tip.is_some_and(|t| t.position.revision == want),
        };
        if !txn.compare.iter().all(holds) {
            let current =
                txn.compare.iter().map(|c| self.tip(&c.key).map(|tip| tip.position)).collect();
            return Answer::Refused { revision: self.decided.revision, current, reply };
        }
        self.write(txn.ops);
        Answer::Made { revision: self.decided.revision, reply }
    }

    fn check(&self, txn: &Txn) -> Result<(), Error> {
        let mut keys = HashSet::new();
        for op in &txn.ops {
            if txn.ops.len() > 1 && !keys.insert(op.key()) {
                return Err(Error::DuplicateKey);
            }
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.lease_exists(*lease)
            {
                return Err(Error::LeaseNotFound);
            }
        }
        Ok(())
    }

    /// Whether there is room for so many bytes more; when not, that is noted.
    fn fits(&mut self, more: u64) -> bool {
        let fits = self.room.has(self.index.bytes + self.added, more);
        self.decided.exceeded |= !fits;
        fits
    }

    /// Whether there is room for a transaction. What removes something may put records that go with
    /// it: room is made by such transactions only.
    fn has_room(&mut self, txn: &Txn) -> bool {
        let removes = |op: &Op| matches!(op, Op::Delete { key } if self.tip(key).is_some());
        if txn.ops.iter().any(removes) {
            return true;
        }
        let bytes = |op: &Op| match op {
            Op::Put { key, value, .. } => (HEADER + key.len() + value.len()) as u64,
            Op::Delete { .. } => 0,
        };
        let more: u64 = txn.ops.iter().map(bytes).sum();
        more == 0 || self.fits(more)
    }

    fn lease_exists(&self, lease: LeaseId) -> bool {
        !self.decided.ended.contains(&lease)
            && (self.decided.granted.contains_key(&lease) || self.index.leases.contains_key(&lease))
    }

    /// Adds operations at the next revision, which is used up only if one has an effect.
    fn write(&mut self, ops: Vec<Op>) {
        let revision = self.decided.revision + 1;
        let mut sub = 0;
        for op in ops {
            let before = self.tip(op.key());
            let (record, live) = match op {
                Op::Put { key, value, lease } => {
                    let live = Live {
                        create_revision: before.map_or(revision, |tip| tip.live.create_revision),
                        version: before.map_or(0, |tip| tip.live.version) + 1,
                        lease,
                    };
                    if let Some(lease) = lease {
                        self.bound.entry(lease).or_default().insert(key.clone());
                    }
                    (Record { key, put: Some((live, value)) }, live)
                }
                Op::Delete { .. } if before.is_none() => continue,
                Op::Delete { key } => (Record { key, put: None }, Live::default()),
            };
            let size = if record.put.is_some() { record.encoded_len() } else { 0 };
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            let position = Position { revision, sub, size };
            let tip = Tip { position, live };
            self.added += position.weight(&record.key);
            self.overlay.insert(record.key.clone(), tip);
            self.decided.writes.push((record, tip));
            sub += 1;
        }
        if sub > 0 {
            self.decided.revision = revision;
        }
    }

    pub(super) fn expire(&mut self) {
        let due: Vec<LeaseId> = self
            .index
            .leases
            .iter()
            .filter(|(id, lease)| lease.expires <= self.now && !self.decided.ended.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for lease in due {
            self.end_lease(lease);
        }
    }

    fn end_lease(&mut self, lease: LeaseId) {
        let stored = self.index.leases.get(&lease).into_iter().flat_map(|facts| &facts.keys);
        let mut keys: HashSet<Bytes> = stored.map(|key| Bytes::copy_from_slice(key)).collect();
        keys.extend(self.bound.remove(&lease).unwrap_or_default());
        let mut keys: Vec<Bytes> = keys
            .into_iter()
            .filter(|key| self.tip(key).is_some_and(|tip| tip.live.lease == Some(lease)))
            .collect();
        keys.sort();
        self.write(keys.into_iter().map(|key| Op::Delete { key }).collect());
        self.decided.granted.remove(&lease);
        self.decided.ended.insert(lease);
    }
}
