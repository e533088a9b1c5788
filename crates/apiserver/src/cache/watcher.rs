//! A reader's end of a watch: initial events, changes in their order, bookmarks in between.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use futures::stream::{FuturesOrdered, StreamExt as _};
use machinery::meta;
use machinery::status::Status;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::dispatch::Progress;
use super::list::Selection;
use super::object::Object;
use super::presentation::Presentation;
use super::watch::{Change, WatchItem};

/// Events that may wait for a watcher's reader; one that lags further is dropped.
pub(super) const QUEUE: usize = 1024;
/// About how often a watcher without events hears how far it is.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// So long before a watch ends, its reader hears where to go on.
const BEFORE_END: Duration = Duration::from_secs(2);
/// On the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";
/// Conversions of later events that are begun while the first one is waited for.
const AHEAD: usize = 16;
/// Initial events that are converted together.
const BATCH: usize = 500;

/// How events are shown to a watcher.
#[derive(Clone)]
pub(crate) struct Manner {
    /// Of the bookmarks' objects.
    pub(crate) api_version: String,
    /// Of the bookmarks' objects.
    pub(crate) kind: String,
    /// Whether to send bookmarks.
    pub(crate) bookmarks: bool,
    /// The version to show objects in, unless as stored.
    pub(crate) presentation: Option<Arc<Presentation>>,
}

/// See the module.
pub struct Watcher {
    source: Source,
    presenting: Option<Presenting>,
}

/// The events in the version in which they are stored.
struct Source {
    initial: VecDeque<WatchItem>,
    /// The revision to announce once the initial events are out.
    announce_end: Option<u64>,
    queue: mpsc::Receiver<WatchItem>,
    progress: Progress,
    manner: Manner,
    /// When the watch ends by itself.
    end: Option<Instant>,
    bookmark: std::pin::Pin<Box<Sleep>>,
}

/// The events that are on their way into another version.
struct Presenting {
    presentation: Arc<Presentation>,
    selection: Arc<Selection>,
    /// In the order of the events.
    begun: FuturesOrdered<BoxFuture<'static, Result<Vec<WatchItem>, Box<Status>>>>,
    done: VecDeque<WatchItem>,
    source_ended: bool,
}

impl Watcher {
    pub(super) fn new(
        initial: Initial,
        queue: mpsc::Receiver<WatchItem>,
        progress: Progress,
        manner: Manner,
        selection: Arc<Selection>,
    ) -> Self {
        let presenting = manner.presentation.clone().map(|presentation| Presenting {
            presentation,
            selection,
            begun: FuturesOrdered::new(),
            done: VecDeque::new(),
            source_ended: false,
        });
        let source = Source {
            initial: initial.items,
            announce_end: initial.announce_end,
            queue,
            progress,
            manner,
            end: None,
            bookmark: Box::pin(tokio::time::sleep(BOOKMARK_INTERVAL)),
        };
        Self { source, presenting }
    }

    /// A watch that only says why it cannot be.
    pub(super) fn failed(status: &Status, progress: Progress, manner: Manner) -> Self {
        let items = VecDeque::from([WatchItem::error(status)]);
        let (_, queue) = mpsc::channel(1);
        Self::new(Initial { items, announce_end: None }, queue, progress, manner, Arc::default())
    }

    /// Says when the watch will end, so that a bookmark comes just before.
    #[must_use]
    pub(crate) fn until(mut self, end: Instant) -> Self {
        self.source.end = Some(end);
        self.source.await_bookmark();
        self
    }

    /// The next event; `None` when the watch has ended, because the server stops, the reader was
    /// too slow or an object could not be converted, which the event before says. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) -> Option<WatchItem> {
        match &mut self.presenting {
            Some(presenting) => presenting.next(&mut self.source).await,
            None => self.source.next().await,
        }
    }
}

impl Presenting {
    async fn next(&mut self, source: &mut Source) -> Option<WatchItem> {
        loop {
            if let Some(item) = self.done.pop_front() {
                return Some(item);
            }
            let more = !self.source_ended && self.begun.len() < AHEAD;
            tokio::select! {
                biased;
                Some(result) = self.begun.next() => match result {
                    Ok(items) => self.done.extend(items),
                    Err(status) => {
                        self.source_ended = true;
                        self.begun.clear();
                        source.queue.close();
                        return Some(WatchItem::error(&status));
                    }
                },
                item = source.next(), if more => match item {
                    Some(item) => self.begin(item, source),
                    None => self.source_ended = true,
                },
                else => return None,
            }
        }
    }

    /// Initial events go together; changes one by one, since each is shared with other watchers.
    fn begin(&mut self, item: WatchItem, source: &mut Source) {
        let presentation = self.presentation.clone();
        let Some(object) = item.initial() else {
            let conversion = item.present(presentation, &self.selection);
            self.begun.push_back(conversion.map(|item| Ok(Vec::from_iter(item?))).boxed());
            return;
        };
        let mut objects = vec![object.clone()];
        while objects.len() < BATCH
            && let Some(object) = source.initial.front().and_then(WatchItem::initial)
        {
            objects.push(object.clone());
            source.initial.pop_front();
        }
        let selection = self.selection.clone();
        self.begun.push_back(Box::pin(async move {
            let mut shown = presentation.show(objects).await?;
            shown.retain(|object| selection.matches_shown(object));
            Ok(shown.into_iter().map(WatchItem::added).collect())
        }));
    }
}

impl Source {
    /// The next event. Dropping the future loses nothing.
    async fn next(&mut self) -> Option<WatchItem> {
        if let Some(item) = self.initial.pop_front() {
            return Some(item);
        }
        if let Some(revision) = self.announce_end.take() {
            return Some(self.bookmark(revision, true));
        }
        if !self.manner.bookmarks {
            return self.queue.recv().await;
        }
        tokio::select! {
            biased;
            item = self.queue.recv() => return item,
            () = &mut self.bookmark => {}
        }
        self.await_bookmark();
        // Read before the queue is found empty: what was applied by then has been taken out.
        let applied = self.progress.applied();
        match self.queue.try_recv() {
            Ok(item) => Some(item),
            Err(mpsc::error::TryRecvError::Disconnected) => None,
            Err(mpsc::error::TryRecvError::Empty) => Some(self.bookmark(applied, false)),
        }
    }

    /// Sets the time of the next bookmark.
    fn await_bookmark(&mut self) {
        let now = Instant::now();
        let mut next = now + BOOKMARK_INTERVAL;
        if let Some(end) = self.end {
            let last = end.checked_sub(BEFORE_END).filter(|last| *last > now);
            // After the last one there is none before the end.
            next = last.map_or(end + BOOKMARK_INTERVAL, |last| next.min(last));
        }
        self.bookmark.as_mut().reset(next);
    }

    fn bookmark(&self, revision: u64, initial_end: bool) -> WatchItem {
        let mut object = json!({
            "kind": self.manner.kind,
            "apiVersion": self.manner.api_version,
            "metadata": {"resourceVersion": revision.to_string()},
        });
        if initial_end {
            meta::set_annotation(&mut object, INITIAL_EVENTS_END, "true");
        }
        WatchItem::bookmark(object)
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watcher({})", self.source.manner.kind)
    }
}

/// What a watcher gets before the changes to come.
#[derive(Debug, Default)]
pub(super) struct Initial {
    pub(super) items: VecDeque<WatchItem>,
    pub(super) announce_end: Option<u64>,
}

impl Initial {
    pub(super) fn objects<'a>(
        objects: impl Iterator<Item = &'a Arc<Object>>,
        announce_end: Option<u64>,
    ) -> Self {
        let items = objects.map(|object| WatchItem::added(object.clone()));
        Self { items: items.collect(), announce_end }
    }

    pub(super) fn changes<'a>(
        changes: impl Iterator<Item = &'a Arc<Change>>,
        selection: &Selection,
    ) -> Self {
        let items = changes.filter_map(|change| {
            Some(WatchItem::change(change.seen_by(selection)?, change.clone()))
        });
        Self { items: items.collect(), announce_end: None }
    }
}
