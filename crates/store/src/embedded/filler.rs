//! The second thread: it brings the file up to date behind the journal, and does what else takes a
//! while there, so that no write waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TryRecvError};
use std::sync::{Arc, RwLock};

use super::change::Change;
use super::compaction::{self, Compaction};
use super::handle::Handle;
use super::index::{Index, read};
use super::journal::Mark;
use super::room::Room;
use super::tables;
use super::tables::engine_error;
use super::watch::Feed;
use super::writer::{Command, FAILURE_PAUSE, Reply};
use crate::metrics;
use crate::types::Error;

/// What the writer asks for.
pub(super) enum Job {
    /// Take changes into the file, which are durable already.
    Settle {
        changes: Vec<Change>,
        mark: Mark,
    },
    /// Likewise, and make one durable that is not, if there is one, all at once. If that fails, it
    /// is forgotten.
    Commit {
        changes: Vec<Change>,
        last: Option<Change>,
        mark: Mark,
        reply: SyncSender<Result<(), Error>>,
    },
    /// All changes up to the revision were handed over before.
    Compact {
        revision: u64,
        reply: Reply<()>,
    },
    Defragment {
        reply: Reply<()>,
    },
}

pub(super) struct Filler {
    pub(super) database: Arc<Handle>,
    pub(super) index: Arc<RwLock<Index>>,
    pub(super) feed: Arc<Feed>,
    pub(super) room: Arc<Room>,
    pub(super) jobs: Receiver<Job>,
    /// To the writer, which has to end when this does.
    pub(super) writer: Sender<Command>,
    /// What of the journal is in the file.
    pub(super) settled: Arc<AtomicU64>,
    /// Records handled by one step of a compaction.
    pub(super) chunk: usize,
    pub(super) behind: Behind,
}

/// How far the file is behind.
pub(super) struct Behind {
    /// Changes that are durable in the journal only.
    waiting: Vec<Change>,
    /// What goes with them.
    mark: Mark,
    /// What the file says, unless the last commit failed.
    noted: Mark,
    /// The newest revision of the file.
    revision: u64,
    /// The last commit failed: what it left in the file, its mark too, has to be taken back.
    failing: bool,
    compaction: Option<Compaction>,
}

impl Behind {
    /// A file that has everything up to `revision`.
    pub(super) fn nothing(revision: u64) -> Self {
        Self {
            waiting: Vec::new(),
            mark: Mark::NONE,
            noted: Mark::NONE,
            revision,
            failing: false,
            compaction: None,
        }
    }
}

impl Filler {
    /// Works until the writer has ended.
    pub(super) fn run(mut self) {
        loop {
            let job = if self.behind.compaction.is_some() {
                self.jobs.try_recv().map_err(|error| error == TryRecvError::Disconnected)
            } else if self.behind.waiting.is_empty() {
                self.jobs.recv().map_err(|_| true)
            } else {
                let job = self.jobs.recv_timeout(FAILURE_PAUSE);
                job.map_err(|error| error == RecvTimeoutError::Disconnected)
            };
            match job {
                Ok(job) => self.work(job),
                Err(true) => return,
                // What failed may not fail any more.
                Err(false) => self.follow(),
            }
            self.compaction_step();
        }
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Settle { changes, mark } => {
                self.behind.waiting.extend(changes);
                self.behind.mark = mark;
                self.follow();
            }
            Job::Commit { changes, last, mark, reply } => {
                self.behind.waiting.extend(changes);
                self.behind.mark = mark;
                reply.send(self.settle(last.as_ref())).ok(); // the writer may have panicked
            }
            Job::Compact { revision, reply } => {
                let compaction = self.behind.compaction.get_or_insert_default();
                compaction.target = compaction.target.max(revision);
                compaction.replies.push(reply);
            }
            Job::Defragment { reply } => {
                reply.send(self.settle(None).and_then(|()| self.defragment())).ok(); // the asker may be gone
            }
        }
    }

    /// Takes what waits into the file. What fails is tried again after a pause.
    fn follow(&mut self) {
        if let Err(error) = self.settle(None) {
            tracing::error!(%error, "the store's file is behind its journal");
        }
    }

    /// Takes what waits into the file, and `last`, with one commit.
    fn settle(&mut self, last: Option<&Change>) -> Result<(), Error> {
        let behind = &mut self.behind;
        let is_noted = behind.noted == behind.mark && !behind.failing;
        if behind.waiting.is_empty() && last.is_none() && is_noted {
            return Ok(());
        }
        let timer = metrics::COMMIT.start_timer();
        // Whether a commit that failed is in the file is not known; its callers were told no.
        let undo = behind.failing.then_some(behind.revision);
        let changes = || behind.waiting.iter().chain(last);
        let filled =
            self.database.write(|database| tables::fill(database, changes(), behind.mark, undo));
        behind.failing = filled.is_err();
        filled?;
        timer.observe_duration();
        behind.revision = changes().last().map_or(behind.revision, Change::revision);
        behind.noted = behind.mark;
        behind.waiting.clear();
        self.settled.store(behind.mark.at, Ordering::Release);
        self.feed.settle(behind.revision);
        Ok(())
    }

    fn defragment(&self) -> Result<(), Error> {
        let timer = metrics::DEFRAGMENTATION.start_timer();
        self.database.exclusive(|database| database.compact().map_err(engine_error))?;
        timer.observe_duration();
        Ok(())
    }

    fn compaction_step(&mut self) {
        let Some(target) = self.behind.compaction.as_ref().map(|compaction| compaction.target)
        else {
            return;
        };
        let done = self.settle(None).and_then(|()| {
            self.database
                .write(|database| compaction::step(database, &self.index, target, self.chunk))
        });
        let used = read(&self.index).bytes;
        metrics::set(&metrics::USED, used);
        self.room.look(used, false);
        if let Ok(false) = done {
            return;
        }
        let compaction = self.behind.compaction.take().expect("it was there above");
        for reply in compaction.replies {
            reply.send(done.clone().map(|_| ())).ok(); // the asker may be gone
        }
    }
}

impl Drop for Filler {
    /// Without it the journal fills up, so the store ends, even when it panicked.
    fn drop(&mut self) {
        self.writer.send(Command::Close).ok(); // it may have ended before
    }
}
