//! The single writer: drains its queue, decides, makes the batch durable, then acknowledges and
//! publishes.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, sync_channel};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use redb::ReadableDatabase;
use tokio::sync::oneshot;

use super::Clock;
use super::change::Change;
use super::filler::Job;
use super::handle::Handle;
use super::index::{Index, read, write};
use super::journal::{Journal, Mark};
use super::plan::Plan;
use super::room::Room;
use super::tables::{LAST_LEASE, META, engine_error, number};
use super::watch::Feed;
use crate::metrics;
use crate::types::{Error, LeaseId, Txn, TxnResult};

/// Transactions in one batch, at most.
const MAX_BATCH: usize = 1024;

/// Time between attempts of the store's own work while commits fail.
pub(super) const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// A change waits for no longer than this before it is in redb too.
const BEHIND: Duration = Duration::from_secs(5);

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
    pub(super) database: Arc<Handle>,
    pub(super) index: Arc<RwLock<Index>>,
    pub(super) feed: Arc<Feed>,
    pub(super) room: Arc<Room>,
    pub(super) queue: Receiver<Command>,
    pub(super) clock: Clock,
    pub(super) journal: Journal,
    pub(super) filler: Sender<Job>,
    pub(super) state: State,
}

/// What the writer keeps in mind.
#[derive(Default)]
pub(super) struct State {
    last_lease: u64,
    /// Changes that the filler has not been given yet.
    waiting: Vec<Change>,
    /// Bytes that they take in the journal.
    bytes: u64,
    /// When the first of them was made.
    since: Option<Instant>,
    /// The last batch failed: leases that ran out are tried again after a pause only.
    failing: bool,
}

impl Writer {
    /// Works until it is told to stop, or the filler has died. What was asked before is finished,
    /// except for compactions, which may stop after any step.
    pub(super) fn run(mut self) {
        self.state.last_lease = self.stored_last_lease().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read the newest lease");
            0
        });
        let mut batch = Vec::new();
        loop {
            let open = self.fill(&mut batch);
            self.process(std::mem::take(&mut batch));
            if !open {
                return self.end();
            }
            let is_due = self.state.since.is_some_and(|since| since.elapsed() >= BEHIND);
            if is_due || self.state.bytes >= self.journal.enough() {
                self.hand_over();
            }
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

    /// How long to wait for commands; `None` is for ever.
    fn patience(&self) -> Option<Duration> {
        let expiry = read(&self.index)
            .next_expiry()
            .map(|expiry| expiry.duration_since((self.clock)()).unwrap_or_default())
            .map(|wait| if self.state.failing { wait.max(FAILURE_PAUSE) } else { wait });
        let behind = self.state.since.map(|since| BEHIND.saturating_sub(since.elapsed()));
        expiry.into_iter().chain(behind).min()
    }

    /// Waits for commands and takes all that are there. False once no more are to be done.
    fn fill(&mut self, batch: &mut Vec<Command>) -> bool {
        let first = match self.patience() {
            None => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(wait) => self.queue.recv_timeout(wait),
        };
        match first {
            Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => return false,
            Ok(command) => batch.push(command),
            Err(RecvTimeoutError::Timeout) => {}
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
            let mut plan = Plan::new(&index, &self.room, self.state.last_lease, (self.clock)());
            for command in batch {
                plan.take(command);
            }
            plan.expire();
            plan.finish()
        };
        if plan.exceeded {
            self.room.look(read(&self.index).bytes, true);
        }
        if let Some(change) = plan.change() {
            let kept = self.keep(change);
            self.state.failing = kept.is_err();
            if let Err(error) = kept {
                tracing::error!(%error, "a batch was not made");
                for answer in plan.answers {
                    answer.fail(&error);
                }
                return;
            }
        }
        self.state.last_lease = plan.last_lease;
        let tips: Vec<_> =
            plan.writes.iter().map(|(record, tip)| (record.key.clone(), *tip)).collect();
        // First, so that whoever finds a position in the index finds the pair too.
        self.feed.add(
            plan.writes.into_iter().map(|(record, tip)| record.into_event(tip.position.revision)),
        );
        {
            let mut index = write(&self.index);
            for (id, lease) in plan.granted {
                index.leases.insert(id, lease);
            }
            for (key, tip) in &tips {
                index.apply(key, *tip);
            }
            for id in plan.ended {
                index.leases.remove(&id);
            }
            metrics::set(&metrics::KEYS, index.live_keys as u64);
        }
        if !tips.is_empty() {
            metrics::set(&metrics::REVISION, plan.revision);
            self.feed.publish(plan.revision);
        }
        for answer in plan.answers {
            answer.send(&self.database, &self.feed);
        }
        for (revision, reply) in plan.compactions {
            self.compact(revision, reply);
        }
        for reply in plan.defragmentations {
            self.hand_over();
            // Without a filler the asker is told by the reply that is dropped.
            self.filler.send(Job::Defragment { reply }).ok();
        }
    }

    /// Makes a change durable: in the journal, with one fsync, or where that cannot be in redb, with
    /// all that waits.
    fn keep(&mut self, change: Change) -> Result<(), Error> {
        if let Some(mark) = self.journal.prepare() {
            match self.commit(None, mark) {
                Ok(()) => self.journal.begin(),
                Err(error) => tracing::warn!(%error, "the store's journal cannot be begun"),
            }
        }
        match self.journal.append(&change) {
            Ok(Some(bytes)) => {
                self.state.waiting.push(change);
                self.state.bytes += bytes;
                self.state.since.get_or_insert_with(Instant::now);
                return Ok(());
            }
            Ok(None) => {}
            Err(error) => tracing::error!(%error, "the store's journal failed"),
        }
        self.commit(Some(change), self.journal.mark())?;
        self.journal.passed();
        Ok(())
    }

    /// Waits until redb has all changes so far, and `last`.
    fn commit(&mut self, last: Option<Change>, mark: Mark) -> Result<(), Error> {
        let (reply, answer) = sync_channel(1);
        let changes = self.take_waiting();
        let sent = self.filler.send(Job::Commit { changes, last, mark, reply });
        sent.map_err(|_| Error::Closed)?;
        answer.recv().unwrap_or(Err(Error::Closed))
    }

    /// Gives what waits to the filler.
    fn hand_over(&mut self) {
        let changes = self.take_waiting();
        if !changes.is_empty() {
            // Without a filler all of it is in the journal, and the store is about to end.
            self.filler.send(Job::Settle { changes, mark: self.journal.mark() }).ok();
        }
    }

    fn take_waiting(&mut self) -> Vec<Change> {
        (self.state.bytes, self.state.since) = (0, None);
        std::mem::take(&mut self.state.waiting)
    }

    fn compact(&mut self, revision: u64, reply: Reply<()>) {
        let current = read(&self.index).revision;
        if revision > current {
            let error = Error::FutureRevision { requested: revision, current };
            reply.send(Err(error)).ok(); // the asker may be gone
            return;
        }
        self.hand_over();
        // Without a filler the asker is told by the reply that is dropped.
        self.filler.send(Job::Compact { revision, reply }).ok();
    }

    /// Leaves everything in redb and no journal.
    fn end(&mut self) {
        match self.commit(None, Mark::NONE) {
            Ok(()) => self.journal.end(),
            Err(error) => tracing::warn!(%error, "what came last is left in the store's journal"),
        }
    }
}

impl Drop for Writer {
    /// Without it nothing changes any more, so watches end, even when it panicked.
    fn drop(&mut self) {
        self.feed.close();
    }
}
