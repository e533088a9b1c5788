//! Changes as watchers see them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use machinery::codec::protobuf;
use machinery::status::Status;
use machinery::{Value, meta};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

use super::dispatch::Progress;
use super::list::Selection;
use super::object::{Object, Presentation};

/// Events that may wait for a watcher's reader; one that lags further is dropped.
pub(super) const QUEUE: usize = 1024;
/// About how often a watcher without events hears how far it is.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// On the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// The type of a watch event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// The object is new to the watcher.
    Added,
    /// The object changed.
    Modified,
    /// The object is gone for the watcher.
    Deleted,
    /// Nothing happened up to a revision.
    Bookmark,
    /// The watch failed.
    Error,
}

impl EventType {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            EventType::Added => "ADDED",
            EventType::Modified => "MODIFIED",
            EventType::Deleted => "DELETED",
            EventType::Bookmark => "BOOKMARK",
            EventType::Error => "ERROR",
        }
    }
}

/// One change of one object, shared by the ring and all watchers.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) revision: u64,
    /// The object after the change; `None` when it was deleted.
    pub(super) new: Option<Arc<Object>>,
    /// The object before the change; `None` when it was created.
    pub(super) old: Option<Arc<Object>>,
    /// The old object as of `revision`, for those to whom it is gone.
    gone: OnceLock<Arc<Object>>,
    /// Encoded events in JSON and in protobuf, while watchers are likely to ask for them.
    lines: Mutex<[Option<Bytes>; 6]>,
}

impl Change {
    pub(super) fn new(revision: u64, new: Option<Arc<Object>>, old: Option<Arc<Object>>) -> Self {
        Self { revision, new, old, gone: OnceLock::new(), lines: Mutex::default() }
    }

    /// What the change is to a watcher with a selection.
    pub(super) fn seen_by(&self, selection: &Selection) -> Option<EventType> {
        let matches = |object: &Option<Arc<Object>>| {
            object.as_ref().is_some_and(|object| selection.matches(object))
        };
        match (matches(&self.old), matches(&self.new)) {
            (false, true) => Some(EventType::Added),
            (true, true) => Some(EventType::Modified),
            (true, false) => Some(EventType::Deleted),
            (false, false) => None,
        }
    }

    fn object(&self, kind: EventType) -> Arc<Object> {
        match (kind, &self.new, &self.old) {
            (EventType::Deleted, _, Some(old)) => {
                self.gone.get_or_init(|| Arc::new(old.at_revision(self.revision))).clone()
            }
            (_, Some(new), _) => new.clone(),
            (_, None, Some(old)) => old.clone(),
            (_, None, None) => unreachable!("a change has an object"),
        }
    }

    fn line(&self, kind: EventType) -> Bytes {
        self.encoded(position(kind), || line(kind, &self.object(kind).json()))
    }

    fn frame(&self, kind: EventType) -> Bytes {
        self.encoded(3 + position(kind), || object_frame(kind, &self.object(kind)))
    }

    fn encoded(&self, at: usize, encode: impl FnOnce() -> Bytes) -> Bytes {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines[at].get_or_insert_with(encode).clone()
    }

    /// Gives up the encoded events; they are made again if somebody asks after all.
    pub(super) fn forget_lines(&self) {
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
    }
}

/// The place of an event among the encoded ones of a change.
fn position(kind: EventType) -> usize {
    match kind {
        EventType::Added => 0,
        EventType::Modified => 1,
        _ => 2,
    }
}

/// An event as a protobuf frame.
fn object_frame(kind: EventType, object: &Object) -> Bytes {
    let message = object.protobuf().map(|message| &message[..]);
    protobuf::watch_event(kind.as_str(), message.unwrap_or_default()).into()
}

/// An event with a tree as a protobuf frame.
pub(crate) fn value_frame(kind: EventType, value: &Value) -> Bytes {
    let message = protobuf::encode_builtin(value).unwrap_or_default();
    protobuf::watch_event(kind.as_str(), &message).into()
}

fn line(kind: EventType, json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(json.len() + 36);
    out.extend_from_slice(br#"{"type":""#);
    out.extend_from_slice(kind.as_str().as_bytes());
    out.extend_from_slice(br#"","object":"#);
    out.extend_from_slice(json);
    out.extend_from_slice(b"}\n");
    out.into()
}

#[derive(Debug, Clone)]
enum Content {
    Change(Arc<Change>),
    Object(Arc<Object>),
    Value(Arc<Value>),
}

/// One event of a watch.
#[derive(Debug, Clone)]
pub struct WatchItem {
    kind: EventType,
    content: Content,
}

impl WatchItem {
    pub(super) fn change(kind: EventType, change: Arc<Change>) -> Self {
        Self { kind, content: Content::Change(change) }
    }

    /// The type of the event.
    pub fn kind(&self) -> EventType {
        self.kind
    }

    /// The object of an ADDED, MODIFIED or DELETED event.
    pub fn object(&self) -> Option<Arc<Object>> {
        match &self.content {
            Content::Change(change) => Some(change.object(self.kind)),
            Content::Object(object) => Some(object.clone()),
            Content::Value(_) => None,
        }
    }

    /// The object of any event, as a tree.
    pub fn value(&self) -> Value {
        match &self.content {
            Content::Value(value) => (**value).clone(),
            _ => self.object().map_or(Value::Null, |object| object.value()),
        }
    }

    /// The event as a line of JSON, the same bytes for every watcher.
    pub fn json(&self) -> Bytes {
        match &self.content {
            Content::Change(change) => change.line(self.kind),
            Content::Object(object) => line(self.kind, &object.json()),
            Content::Value(value) => line(self.kind, value.to_string().as_bytes()),
        }
    }

    /// The event as a protobuf frame, the same bytes for every watcher. Only for kinds that have
    /// that form.
    pub fn protobuf(&self) -> Bytes {
        match &self.content {
            Content::Change(change) => change.frame(self.kind),
            Content::Object(object) => object_frame(self.kind, object),
            Content::Value(value) => value_frame(self.kind, value),
        }
    }

    fn presented(self, presentation: &Presentation) -> Self {
        match self.object() {
            Some(object) => {
                let content = Content::Object(object.presented(presentation));
                Self { kind: self.kind, content }
            }
            None => self,
        }
    }

    fn error(status: &Status) -> Self {
        Self { kind: EventType::Error, content: Content::Value(Arc::new(status.to_value())) }
    }
}

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
    pub(crate) presentation: Option<Presentation>,
}

/// A reader's end of a watch.
pub struct Watcher {
    initial: VecDeque<WatchItem>,
    /// The revision to announce once the initial events are out.
    announce_end: Option<u64>,
    queue: mpsc::Receiver<WatchItem>,
    progress: Progress,
    manner: Manner,
    bookmark: std::pin::Pin<Box<Sleep>>,
}

impl Watcher {
    pub(super) fn new(
        initial: Initial,
        queue: mpsc::Receiver<WatchItem>,
        progress: Progress,
        manner: Manner,
    ) -> Self {
        Self {
            initial: initial.items,
            announce_end: initial.announce_end,
            queue,
            progress,
            manner,
            bookmark: Box::pin(tokio::time::sleep(BOOKMARK_INTERVAL)),
        }
    }

    /// A watch that only says why it cannot be.
    pub(super) fn failed(status: &Status, progress: Progress, manner: Manner) -> Self {
        let items = VecDeque::from([WatchItem::error(status)]);
        let (_, queue) = mpsc::channel(1);
        Self::new(Initial { items, announce_end: None }, queue, progress, manner)
    }

    /// The next event; `None` when the watch has ended, because the server stops or the reader
    /// was too slow. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<WatchItem> {
        let item = self.next_stored().await?;
        Some(match &self.manner.presentation {
            Some(presentation) => item.presented(presentation),
            None => item,
        })
    }

    async fn next_stored(&mut self) -> Option<WatchItem> {
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
        self.bookmark.as_mut().reset(Instant::now() + BOOKMARK_INTERVAL);
        // Read before the queue is found empty: what was applied by then has been taken out.
        let applied = self.progress.applied();
        match self.queue.try_recv() {
            Ok(item) => Some(item),
            Err(mpsc::error::TryRecvError::Disconnected) => None,
            Err(mpsc::error::TryRecvError::Empty) => Some(self.bookmark(applied, false)),
        }
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
        WatchItem { kind: EventType::Bookmark, content: Content::Value(Arc::new(object)) }
    }
}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Watcher({})", self.manner.kind)
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
        let items = objects.map(|object| WatchItem {
            kind: EventType::Added,
            content: Content::Object(object.clone()),
        });
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
