//! Changes as watchers see them.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, WeakShared, ready};
use machinery::Value;
use machinery::codec::{cbor, protobuf};
use machinery::status::Status;

use super::encoded::Binary;
use super::list::Selection;
use super::object::Object;
use super::presentation::Presentation;

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
    /// Encoded events in JSON, in protobuf and in CBOR, while watchers are likely to ask for them.
    lines: Mutex<[Option<Bytes>; 9]>,
    /// The change in other versions, for as long.
    presented: Mutex<Vec<Presented>>,
}

/// A change in another version.
#[derive(Debug)]
struct Presented {
    presentation: u64,
    part: Part,
    state: PresentedState,
}

/// What of a change is shown in another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The object after it.
    New,
    /// The object before it, as of its revision.
    Gone,
    /// Both, to be judged by a selection.
    Whole,
}

#[derive(Debug)]
enum PresentedState {
    /// Somebody waits for it. A failure is theirs alone: who comes later tries again.
    Awaited(WeakShared<Conversion>),
    Done(Arc<Change>),
}

type Conversion = BoxFuture<'static, Result<Arc<Change>, Box<Status>>>;

impl Change {
    pub(super) fn new(revision: u64, new: Option<Arc<Object>>, old: Option<Arc<Object>>) -> Self {
        Self {
            revision,
            new,
            old,
            gone: OnceLock::new(),
            lines: Mutex::default(),
            presented: Mutex::default(),
        }
    }

    /// Bytes that are kept for this change: the object before it is there with the one before.
    pub(super) fn weight(&self) -> usize {
        self.new.as_ref().or(self.old.as_ref()).map_or(0, |object| object.json_len())
    }

    /// What the change is to a watcher with a selection, as far as that looks at what is stored.
    pub(super) fn seen_by(&self, selection: &Selection) -> Option<EventType> {
        self.seen(|object| selection.matches(object))
    }

    fn seen(&self, matches: impl Fn(&Object) -> bool) -> Option<EventType> {
        let matches =
            |object: &Option<Arc<Object>>| object.as_ref().is_some_and(|object| matches(object));
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
        let message = || self.object(kind).binary_once(Binary::Protobuf);
        self.encoded(3 + position(kind), || object_frame(kind, &message()))
    }

    fn item(&self, kind: EventType) -> Bytes {
        let item = || self.object(kind).binary_once(Binary::Cbor);
        self.encoded(6 + position(kind), || object_item(kind, &item()))
    }

    fn encoded(&self, at: usize, encode: impl FnOnce() -> Bytes) -> Bytes {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines[at].get_or_insert_with(encode).clone()
    }

    /// Gives up what was made of the change; it is made again if somebody asks after all.
    pub(super) fn forget_lines(&self) {
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = Default::default();
        self.presented().clear();
    }

    fn presented(&self) -> MutexGuard<'_, Vec<Presented>> {
        self.presented.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The change in another version: converted once for all watchers of that version.
    fn present(self: Arc<Self>, part: Part, presentation: Arc<Presentation>) -> Conversion {
        let mut presented = self.presented();
        let known = presented
            .iter()
            .find(|known| known.presentation == presentation.id() && known.part == part);
        match known.map(|known| &known.state) {
            Some(PresentedState::Done(change)) => return ready(Ok(change.clone())).boxed(),
            Some(PresentedState::Awaited(conversion)) => {
                if let Some(conversion) = conversion.upgrade() {
                    return conversion.boxed();
                }
            }
            None => {}
        }
        let change = self.clone();
        let conversion = change.convert(part, presentation.clone()).boxed().shared();
        presented.retain(|known| known.presentation != presentation.id() || known.part != part);
        if let Some(awaited) = conversion.downgrade() {
            let state = PresentedState::Awaited(awaited);
            presented.push(Presented { presentation: presentation.id(), part, state });
        }
        conversion.boxed()
    }

    async fn convert(
        self: Arc<Self>,
        part: Part,
        presentation: Arc<Presentation>,
    ) -> Result<Arc<Self>, Box<Status>> {
        let change = match part {
            Part::New => {
                let new = presentation.show(vec![self.object(EventType::Modified)]).await?.pop();
                Self::new(self.revision, new, None)
            }
            Part::Gone => {
                let old = presentation.show(vec![self.object(EventType::Deleted)]).await?.pop();
                Self {
                    gone: old.clone().map_or_else(OnceLock::new, OnceLock::from),
                    ..Self::new(self.revision, None, old)
                }
            }
            Part::Whole => {
                let both = self.new.iter().chain(&self.old).cloned().collect();
                let mut both = presentation.show(both).await?.into_iter();
                let new = self.new.as_ref().and_then(|_| both.next());
                Self::new(self.revision, new, both.next())
            }
        };
        let change = Arc::new(change);
        let mut presented = self.presented();
        let known = presented
            .iter_mut()
            .find(|known| known.presentation == presentation.id() && known.part == part);
        if let Some(known) = known {
            known.state = PresentedState::Done(change.clone());
        }
        Ok(change)
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

/// An event with an object's message as a protobuf frame.
fn object_frame(kind: EventType, message: &[u8]) -> Bytes {
    protobuf::watch_event(kind.as_str(), message).into()
}

/// An event with a tree as a protobuf frame.
pub(crate) fn value_frame(kind: EventType, value: &Value) -> Bytes {
    let message = protobuf::encode_builtin(value).unwrap_or_default();
    protobuf::watch_event(kind.as_str(), &message).into()
}

/// An event with an object in CBOR as an item of a CBOR sequence.
fn object_item(kind: EventType, object: &[u8]) -> Bytes {
    cbor::watch_event(kind.as_str(), object).into()
}

/// An event with a tree as an item of a CBOR sequence.
pub(crate) fn value_item(kind: EventType, value: &Value) -> Bytes {
    cbor::watch_event(kind.as_str(), &cbor::encode_object(value)).into()
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
            Content::Object(object) => {
                object_frame(self.kind, &object.protobuf().unwrap_or_default())
            }
            Content::Value(value) => value_frame(self.kind, value),
        }
    }

    /// The event as an item of a CBOR sequence, the same bytes for every watcher.
    pub fn cbor(&self) -> Bytes {
        match &self.content {
            Content::Change(change) => change.item(self.kind),
            Content::Object(object) => object_item(self.kind, &object.cbor()),
            Content::Value(value) => value_item(self.kind, value),
        }
    }

    /// The same event in another version; `None` if it is none to those with the selection, which
    /// may look at what is shown.
    pub(super) fn present(
        self,
        presentation: Arc<Presentation>,
        selection: &Arc<Selection>,
    ) -> BoxFuture<'static, Result<Option<Self>, Box<Status>>> {
        let Content::Change(change) = self.content else {
            return ready(Ok(Some(self))).boxed();
        };
        let kind = self.kind;
        if selection.judges_what_is_shown() {
            let conversion = change.present(Part::Whole, presentation);
            let selection = selection.clone();
            let judged = async move {
                let change = conversion.await?;
                let kind = change.seen(|object| selection.matches_shown(object));
                Ok(kind.map(|kind| Self::change(kind, change)))
            };
            return judged.boxed();
        }
        let part = if kind == EventType::Deleted { Part::Gone } else { Part::New };
        let conversion = change.present(part, presentation);
        async move { Ok(Some(Self::change(kind, conversion.await?))) }.boxed()
    }

    /// The object, if the event is one of those that a watch starts with.
    pub(super) fn initial(&self) -> Option<&Arc<Object>> {
        match &self.content {
            Content::Object(object) => Some(object),
            _ => None,
        }
    }

    pub(super) fn added(object: Arc<Object>) -> Self {
        Self { kind: EventType::Added, content: Content::Object(object) }
    }

    pub(super) fn bookmark(object: Value) -> Self {
        Self { kind: EventType::Bookmark, content: Content::Value(Arc::new(object)) }
    }

    pub(super) fn error(status: &Status) -> Self {
        Self { kind: EventType::Error, content: Content::Value(Arc::new(status.to_value())) }
    }
}
