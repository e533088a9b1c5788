//! Watches: a cursor over recent changes in memory and, behind those, over the log.
//!
//! There is no queue per watch, so a slow reader costs nothing and can block nobody.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use redb::{Database, ReadableDatabase};
use tokio::sync::watch;

use super::handle::Handle;
use super::index::Position;
use super::record::View;
use super::tables::{COMPACTED, LOG, META, engine_error, number};
use crate::WatchStream;
use crate::types::{Error, Event, KeyValue, WatchBatch};

/// Events handed out at once, more or less.
const BATCH: usize = 1024;

/// Recent changes and the news of new ones. What the file does not have yet is among them.
pub(super) struct Feed {
    recent: Mutex<Recent>,
    /// The committed revision; `None` once the store is closed.
    committed: watch::Sender<Option<u64>>,
}

struct Recent {
    events: VecDeque<Event>,
    /// Everything at this revision and later is in `events`.
    complete_from: u64,
    bytes: usize,
    limit: usize,
    /// The file has everything up to this revision.
    settled: u64,
}

impl Feed {
    pub(super) fn new(revision: u64, limit: usize) -> Self {
        let recent = Recent {
            events: VecDeque::new(),
            complete_from: revision + 1,
            bytes: 0,
            limit,
            settled: revision,
        };
        Self { recent: Mutex::new(recent), committed: watch::Sender::new(Some(revision)) }
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in changes that are durable, before the index leads anybody to them.
    pub(super) fn add(&self, events: impl Iterator<Item = Event>) {
        let mut recent = self.recent();
        for event in events {
            recent.bytes += weight(&event);
            recent.events.push_back(event);
        }
        recent.trim();
    }

    /// Makes the changes up to `revision` known to all watches.
    pub(super) fn publish(&self, revision: u64) {
        self.committed.send_replace(Some(revision));
    }

    /// The file has everything up to `revision`.
    pub(super) fn settle(&self, revision: u64) {
        let mut recent = self.recent();
        recent.settled = recent.settled.max(revision);
        recent.trim();
    }

    /// The pair that was put at a position; `None` when that is not recent any more.
    pub(super) fn pair(&self, position: Position) -> Option<KeyValue> {
        self.recent().pair(position)
    }

    /// [`Feed::pair`] of each.
    pub(super) fn pairs(&self, positions: &[Position]) -> Vec<Option<KeyValue>> {
        let recent = self.recent();
        positions.iter().map(|position| recent.pair(*position)).collect()
    }

    /// The newest revision that all watches know of; `None` once the store is closed.
    pub(super) fn revision(&self) -> Option<u64> {
        *self.committed.borrow()
    }

    /// Ends all watches.
    pub(super) fn close(&self) {
        self.committed.send_replace(None);
    }

    /// Changes from `next` on if all of them are still here; when not, up to which revision they
    /// are in the file only.
    fn recent_batch(&self, next: u64, upto: u64, prefix: &[u8]) -> Result<WatchBatch, u64> {
        let recent = self.recent();
        if next < recent.complete_from {
            return Err(recent.complete_from - 1);
        }
        let first = recent.events.partition_point(|event| event.kv.mod_revision < next);
        let mut batch = WatchBatch { revision: upto, events: Vec::new() };
        let mut last = 0;
        for event in recent.events.range(first..) {
            let revision = event.kv.mod_revision;
            if revision > upto {
                break;
            }
            if batch.events.len() >= BATCH && revision != last {
                batch.revision = last;
                break;
            }
            last = revision;
            if event.kv.key.starts_with(prefix) {
                batch.events.push(event.clone());
            }
        }
        Ok(batch)
    }
}

impl Recent {
    /// Drops the oldest revisions until the rest fits, but none that the file does not have.
    fn trim(&mut self) {
        while self.bytes > self.limit
            && let Some(oldest) = self.events.front().map(|event| event.kv.mod_revision)
            && oldest <= self.settled
        {
            while let Some(event) = self.events.front()
                && event.kv.mod_revision == oldest
            {
                self.bytes -= weight(event);
                self.events.pop_front();
            }
            self.complete_from = oldest + 1;
        }
    }

    fn pair(&self, position: Position) -> Option<KeyValue> {
        if position.revision < self.complete_from {
            return None;
        }
        let first = self.events.partition_point(|event| event.kv.mod_revision < position.revision);
        // All of a revision are here, in order.
        let event = self.events.get(first + position.sub as usize)?;
        (event.kv.mod_revision == position.revision).then(|| event.kv.clone())
    }
}

fn weight(event: &Event) -> usize {
    event.kv.key.len() + event.kv.value.len() + size_of::<Event>()
}

/// Changes from `next` on, read from the log.
fn logged_batch(
    database: &Database,
    next: u64,
    upto: u64,
    prefix: &[u8],
) -> Result<WatchBatch, Error> {
    let snapshot = database.begin_read().map_err(engine_error)?;
    let compacted = number(&snapshot.open_table(META).map_err(engine_error)?, COMPACTED)?;
    if next <= compacted {
        return Err(Error::Compacted { requested: next, compacted });
    }
    let log = snapshot.open_table(LOG).map_err(engine_error)?;
    let mut batch = WatchBatch { revision: upto, events: Vec::new() };
    let mut last = 0;
    let rows = log.range((next, 0)..=(upto, u32::MAX)).map_err(engine_error)?;
    for (read, row) in rows.enumerate() {
        let (at, bytes) = row.map_err(engine_error)?;
        let (revision, _) = at.value();
        if read >= BATCH && revision != last {
            batch.revision = last;
            break;
        }
        last = revision;
        let view = View::parse(bytes.value(), at.value())?;
        if view.key.starts_with(prefix) {
            batch.events.push(view.to_record().into_event(revision));
        }
    }
    Ok(batch)
}

struct Cursor {
    database: Arc<Handle>,
    feed: Arc<Feed>,
    committed: watch::Receiver<Option<u64>>,
    prefix: Bytes,
    /// The first revision not handed out yet.
    next: u64,
    ended: bool,
}

pub(super) fn stream(
    database: Arc<Handle>,
    feed: Arc<Feed>,
    prefix: Bytes,
    from_revision: u64,
) -> WatchStream {
    let committed = feed.committed.subscribe();
    let now = feed.revision().unwrap_or(0);
    let next = if from_revision == 0 { now + 1 } else { from_revision };
    let cursor = Cursor { database, feed, committed, prefix, next, ended: false };
    Box::pin(futures::stream::unfold(cursor, |mut cursor| async move {
        if cursor.ended {
            return None;
        }
        let item = cursor.advance().await?;
        cursor.ended = item.is_err();
        Some((item, cursor))
    }))
}

impl Cursor {
    async fn advance(&mut self) -> Option<Result<WatchBatch, Error>> {
        let next = self.next;
        let upto = {
            let news = self.committed.wait_for(|now| now.is_none_or(|now| now >= next)).await;
            (*news.ok()?)?
        };
        let batch = match self.feed.recent_batch(next, upto, &self.prefix) {
            Ok(batch) => batch,
            Err(logged) => {
                let upto = upto.min(logged);
                let (database, prefix) = (self.database.clone(), self.prefix.clone());
                let read =
                    move || database.read(|database| logged_batch(database, next, upto, &prefix));
                match tokio::task::spawn_blocking(read).await {
                    Ok(Ok(batch)) => batch,
                    Ok(Err(error)) => return Some(Err(error)),
                    Err(_) => return Some(Err(Error::Closed)),
                }
            }
        };
        self.next = batch.revision + 1;
        Some(Ok(batch))
    }
}
