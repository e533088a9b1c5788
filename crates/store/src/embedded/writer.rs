//! The single writer: drains its queue, decides, commits once, then acknowledges and publishes.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use redb::{Database, ReadableDatabase};
use tokio::sync::oneshot;

use super::Options;
use super::compaction::{self, Compaction};
use super::handle::Handle;
use super::index::{Index, read, write};
use super::plan::{Decided, Plan};
use super::room::Room;
use super::tables::{LAST_LEASE, LEASES, LOG, META, engine_error, millis, number};
use super::watch::Feed;
use crate::metrics;
use crate::types::{Error, LeaseId, Txn, TxnResult};

/// Transactions in one commit, at most.
const MAX_BATCH: usize = 1024;

/// Time between attempts of the writer's own work while commits fail.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked to do.
pub(super) enum Command {
    Txn {
        txn: Txn,
        reply: Reply<TxnResult>,
    },
    Grant {
        ttl: Duration,
        reply: Reply<LeaseId>,
    },
    Revoke {
        lease: LeaseId,
        reply: Reply<()>,
    },
    Expire {
        reply: Reply<()>,
    },
    Compact {
        revision: u64,
        reply: Reply<()>,
    },
    Defragment {
        reply: Reply<()>,
    },
    /// Nothing that comes later is done.
    Close,
}

pub(super) struct Writer {
    database: Arc<Handle>,
    index: Arc<RwLock<Index>>,
    feed: Arc<Feed>,
    room: Arc<Room>,
    queue: Receiver<Command>,
    options: Options,
    last_lease: u64,
    compaction: Option<Compaction>,
    /// The last commit failed. Until one succeeds, what it left in the file may have to be taken
    /// back, and leases that ran out are tried again after a pause only.
    failing: bool,
}

impl Writer {
    pub(super) fn new(
        database: Arc<Handle>,
        index: Arc<RwLock<Index>>,
        feed: Arc<Feed>,
        room: Arc<Room>,
        queue: Receiver<Command>,
        options: Options,
    ) -> Self {
        Self {
            database,
            index,
            feed,
            room,
            queue,
            options,
            last_lease: 0,
            compaction: None,
            failing: false,
        }
    }

    /// Works until it is told to stop. What was asked before is finished, except for compactions,
    /// which may stop after any step.
    pub(super) fn run(mut self) {
        self.last_lease = self.stored_last_lease().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the newest lease");
            0
        });
        let mut batch = Vec::new();
        loop {
            let open = self.fill(&mut batch);
            self.process(std::mem::take(&mut batch));
            if !open {
                return;
            }
            self.compaction_step();
            let used = read(&self.index).bytes;
            metrics::set(&metrics::USED, used);
            self.room.look(used, false);
        }
    }

    fn stored_last_lease(&self) -> Result<u64, Error> {
        self.database.read(|database| {
            let snapshot = database.begin_read().map_err(engine_error)?;
            number(&snapshot.open_table(META).map_err(engine_error)?, LAST_LEASE)
        })
    }

    /// Waits for commands and takes all that are there. False once no more are to be done.
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
                Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(command) => batch.push(command),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        for command in self.queue.try_iter().take(MAX_BATCH) {
            match command {
                Command::Close => return false,
                command => batch.push(command),
            }
        }
        true
    }

    fn process(&mut self, batch: Vec<Command>) {
        let index = self.index.clone();
        let plan = {
            let index = read(&index);
            let now = (self.options.clock)();
            let mut plan = Plan::new(&index, &self.room, self.last_lease, now);
            for command in batch {
                plan.take(command);
            }
            plan.expire();
            plan.finish()
        };
        if plan.exceeded {
            self.room.look(read(&self.index).bytes, true);
        }
        if let Err(error) = self.commit(&plan) {
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
            metrics::set(&metrics::KEYS, index.live_keys as u64);
        }
        if !plan.writes.is_empty() {
            metrics::set(&metrics::REVISION, revision);
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
        for reply in plan.defragmentations {
            reply.send(self.defragment()).ok(); // the asker may be gone
        }
    }

    fn defragment(&self) -> Result<(), Error> {
        let timer = metrics::DEFRAGMENTATION.start_timer();
        self.database.exclusive(|database| database.compact().map_err(engine_error))?;
        timer.observe_duration();
        Ok(())
    }

    /// Makes the plan durable with one fsync; a plan that changes nothing costs none.
    fn commit(&mut self, plan: &Decided) -> Result<(), Error> {
        if plan.writes.is_empty() && plan.granted.is_empty() && plan.ended.is_empty() {
            return Ok(());
        }
        let timer = metrics::COMMIT.start_timer();
        // Whether a commit that failed is in the file is not known; its callers were told no.
        let undo = self.failing.then(|| read(&self.index).revision);
        let committed = self.database.write(|database| write_plan(database, plan, undo));
        self.failing = committed.is_err();
        committed?;
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
        let target = compaction.target;
        let done =
            self.database.write(|database| compaction::step(database, &self.index, target, chunk));
        if let Ok(false) = done {
            return;
        }
        let compaction = self.compaction.take().expect("it was there above");
        for reply in compaction.replies {
            reply.send(done.clone().map(|_| ())).ok(); // the asker may be gone
        }
    }
}

impl Drop for Writer {
    /// Without it nothing changes any more, so watches end, even when it panicked.
    fn drop(&mut self) {
        self.feed.close();
    }
}

/// Makes the plan durable, and takes back whatever stands behind the revision `undo`.
fn write_plan(database: &Database, plan: &Decided, undo: Option<u64>) -> Result<(), Error> {
    let txn = database.begin_write().map_err(engine_error)?;
    if let Some(revision) = undo {
        let mut log = txn.open_table(LOG).map_err(engine_error)?;
        log.retain_in((revision + 1, 0).., |_, _| false).map_err(engine_error)?;
    }
    if !plan.writes.is_empty() {
        let mut log = txn.open_table(LOG).map_err(engine_error)?;
        let mut bytes = Vec::new();
        for (record, tip) in &plan.writes {
            let at = (tip.position.revision, tip.position.sub);
            record.encode(at, &mut bytes);
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
    txn.commit().map_err(engine_error)
}
