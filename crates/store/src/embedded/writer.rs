//! The single writer: drains its queue, decides, commits once, then acknowledges and publishes.

use std::collections::{HashMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use redb::{Database, ReadableDatabase};
use tokio::sync::oneshot;

use super::Options;
use super::compaction::{self, Compaction};
use super::index::{Index, Lease, Live, Position, Tip, read, write};
use super::record::Record;
use super::tables::{LAST_LEASE, LEASES, LOG, META, engine_error, millis, number, read_put};
use super::watch::Feed;
use crate::metrics;
use crate::types::{Compare, Error, Expect, KeyValue, LeaseId, Op, Txn, TxnResult};

/// Transactions in one commit, at most.
const MAX_BATCH: usize = 1024;

/// Time between attempts of the writer's own work while commits fail.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked to do.
pub(super) enum Command {
    Txn { txn: Txn, reply: Reply<TxnResult> },
    Grant { ttl: Duration, reply: Reply<LeaseId> },
    Revoke { lease: LeaseId, reply: Reply<()> },
    Expire { reply: Reply<()> },
    Compact { revision: u64, reply: Reply<()> },
}

pub(super) struct Writer {
    database: Arc<Database>,
    index: Arc<RwLock<Index>>,
    feed: Arc<Feed>,
    queue: Receiver<Command>,
    options: Options,
    last_lease: u64,
    compaction: Option<Compaction>,
    /// The last commit failed: leases that ran out are tried again after a pause only.
    failing: bool,
}

impl Writer {
    pub(super) fn new(
        database: Arc<Database>,
        index: Arc<RwLock<Index>>,
        feed: Arc<Feed>,
        queue: Receiver<Command>,
        options: Options,
    ) -> Self {
        Self {
            database,
            index,
            feed,
            queue,
            options,
            last_lease: 0,
            compaction: None,
            failing: false,
        }
    }

    /// Works until every handle is gone and the queue is empty.
    pub(super) fn run(mut self) {
        self.last_lease = self.stored_last_lease().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the newest lease");
            0
        });
        let mut batch = Vec::new();
        loop {
            let open = self.fill(&mut batch);
            self.process(std::mem::take(&mut batch));
            self.compaction_step();
            if !open && self.compaction.is_none() {
                return;
            }
        }
    }

    fn stored_last_lease(&self) -> Result<u64, Error> {
        let snapshot = self.database.begin_read().map_err(engine_error)?;
        number(&snapshot.open_table(META).map_err(engine_error)?, LAST_LEASE)
    }

    /// Waits for commands and takes all that are there. False once no more can come.
    fn fill(&mut self, batch: &mut Vec<Command>) -> bool {
        if self.compaction.is_none() {
            let wait = read(&self.index)
                .next_expiry()
                .map(|expiry| expiry.duration_since((self.options.clock)()).unwrap_or_default())
                .map(|wait| if self.failing { wait.max(FAILURE_PAUSE) } else { wait });
            let first = match wait {
                None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => self.queue.recv_timeout(wait),
            };
            match first {
                Ok(command) => batch.push(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        batch.extend(self.queue.try_iter().take(MAX_BATCH));
        true
    }

    fn process(&mut self, batch: Vec<Command>) {
        let index = self.index.clone();
        let plan = {
            let index = read(&index);
            let mut plan = Plan::new(&index, self.last_lease, (self.options.clock)());
            for command in batch {
                plan.take(command);
            }
            plan.expire();
            plan.finish()
        };
        let committed = self.commit(&plan);
        self.failing = committed.is_err();
        if let Err(error) = committed {
            tracing::error!(%error, "commit failed");
            for answer in plan.answers {
                answer.fail(&error);
            }
            return;
        }
        self.last_lease = plan.last_lease;
        let revision = plan.revision;
        {
            let mut index = write(&self.index);
            for (id, lease) in plan.granted {
                index.leases.insert(id, lease);
            }
            for (record, tip) in &plan.writes {
                index.apply(&record.key, *tip);
            }
            for id in plan.ended {
                index.leases.remove(&id);
            }
            metrics::KEYS.set(i64::try_from(index.live_keys).unwrap_or(i64::MAX));
        }
        if !plan.writes.is_empty() {
            metrics::REVISION.set(i64::try_from(revision).unwrap_or(i64::MAX));
            let events = plan
                .writes
                .into_iter()
                .map(|(record, tip)| record.into_event(tip.position.revision));
            self.feed.publish(events, revision);
        }
        for answer in plan.answers {
            answer.send(&self.database);
        }
        for (revision, reply) in plan.compactions {
            self.start_compaction(revision, reply);
        }
    }

    /// Makes the plan durable with one fsync; a plan that changes nothing costs none.
    fn commit(&self, plan: &Decided) -> Result<(), Error> {
        if plan.writes.is_empty() && plan.granted.is_empty() && plan.ended.is_empty() {
            return Ok(());
        }
        let timer = metrics::COMMIT.start_timer();
        let txn = self.database.begin_write().map_err(engine_error)?;
        if !plan.writes.is_empty() {
            let mut log = txn.open_table(LOG).map_err(engine_error)?;
            let mut bytes = Vec::new();
            for (record, tip) in &plan.writes {
                record.encode(&mut bytes);
                let at = (tip.position.revision, tip.position.sub);
                log.insert(at, bytes.as_slice()).map_err(engine_error)?;
            }
        }
        if !plan.granted.is_empty() || !plan.ended.is_empty() {
            let mut leases = txn.open_table(LEASES).map_err(engine_error)?;
            for (id, lease) in &plan.granted {
                let ttl = u64::try_from(lease.ttl.as_millis()).unwrap_or(u64::MAX);
                leases.insert(id.0, (ttl, millis(lease.expires))).map_err(engine_error)?;
            }
            for id in &plan.ended {
                leases.remove(id.0).map_err(engine_error)?;
            }
            let mut meta = txn.open_table(META).map_err(engine_error)?;
            meta.insert(LAST_LEASE, plan.last_lease).map_err(engine_error)?;
        }
        txn.commit().map_err(engine_error)?;
        timer.observe_duration();
        Ok(())
    }

    fn start_compaction(&mut self, revision: u64, reply: Reply<()>) {
        let index = read(&self.index);
        if revision > index.revision {
            let error = Error::FutureRevision { requested: revision, current: index.revision };
            reply.send(Err(error)).ok(); // the asker may be gone
            return;
        }
        let compaction = self.compaction.get_or_insert_default();
        compaction.target = compaction.target.max(revision);
        compaction.replies.push(reply);
    }

    fn compaction_step(&mut self) {
        let Some(compaction) = &self.compaction else { return };
        let chunk = self.options.compaction_chunk;
        let done = compaction::step(&self.database, &self.index, compaction.target, chunk);
        if let Ok(false) = done {
            return;
        }
        let compaction = self.compaction.take().expect("it was there above");
        for reply in compaction.replies {
            reply.send(done.clone().map(|_| ())).ok(); // the asker may be gone
        }
    }
}

/// What a batch of commands comes to, before any of it is written.
struct Plan<'a> {
    index: &'a Index,
    now: SystemTime,
    /// Tips of keys changed earlier in the batch.
    overlay: HashMap<Bytes, Tip>,
    /// Changes of lease bindings in the batch: keys bound by it.
    bound: HashMap<LeaseId, HashSet<Bytes>>,
    decided: Decided,
}

struct Decided {
    revision: u64,
    last_lease: u64,
    writes: Vec<(Record, Tip)>,
    granted: HashMap<LeaseId, Lease>,
    ended: HashSet<LeaseId>,
    compactions: Vec<(u64, Reply<()>)>,
    answers: Vec<Answer>,
}

enum Answer {
    Made { revision: u64, reply: Reply<TxnResult> },
    Refused { revision: u64, current: Vec<Option<Position>>, reply: Reply<TxnResult> },
    Invalid { error: Error, reply: Reply<TxnResult> },
    Granted { lease: LeaseId, reply: Reply<LeaseId> },
    Done { result: Result<(), Error>, reply: Reply<()> },
}

impl Answer {
    // In all of these the asker may be gone, which is no concern of ours.
    fn send(self, database: &Database) {
        match self {
            Answer::Made { revision, reply } => {
                let result = TxnResult { succeeded: true, revision, current: Vec::new() };
                reply.send(Ok(result)).ok();
            }
            Answer::Refused { revision, current, reply } => {
                let result = read_current(database, &current).map(|current| TxnResult {
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

    fn fail(self, error: &Error) {
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
    database: &Database,
    positions: &[Option<Position>],
) -> Result<Vec<Option<KeyValue>>, Error> {
    let snapshot = database.begin_read().map_err(engine_error)?;
    positions.iter().map(|at| at.map(|at| read_put(&snapshot, at)).transpose()).collect()
}

impl<'a> Plan<'a> {
    fn new(index: &'a Index, last_lease: u64, now: SystemTime) -> Self {
        let decided = Decided {
            revision: index.revision,
            last_lease,
            writes: Vec::new(),
            granted: HashMap::new(),
            ended: HashSet::new(),
            compactions: Vec::new(),
            answers: Vec::new(),
        };
        Self { index, now, overlay: HashMap::new(), bound: HashMap::new(), decided }
    }

    fn finish(self) -> Decided {
        self.decided
    }

    fn take(&mut self, command: Command) {
        let answer = match command {
            Command::Txn { txn, reply } => self.txn(txn, reply),
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
        };
        self.decided.answers.push(answer);
    }

    fn tip(&self, key: &[u8]) -> Option<Tip> {
        self.overlay
            .get(key)
            .or_else(|| self.index.tip(key))
            .filter(|tip| tip.position.live)
            .copied()
    }

    fn txn(&mut self, txn: Txn, reply: Reply<TxnResult>) -> Answer {
        if let Err(error) = self.check(&txn) {
            return Answer::Invalid { error, reply };
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
            let position = Position { revision, sub, live: record.put.is_some() };
            let tip = Tip { position, live };
            self.overlay.insert(record.key.clone(), tip);
            self.decided.writes.push((record, tip));
            sub += 1;
        }
        if sub > 0 {
            self.decided.revision = revision;
        }
    }

    fn expire(&mut self) {
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
