//! The objects of one stored resource, their recent changes and their watchers.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use machinery::status::Status;
use store::{EventKind, KeyValue};
use tokio::sync::{mpsc, watch};

use super::dispatch::Progress;
use super::index::Indexes;
use super::list::Selection;
use super::object::{FieldSet, Object};
use super::ordered::Snapshot;
use super::ring::{self, Ring};
use super::subscribers::{Subscriber, Subscribers};
use super::watch::Change;
use super::watcher::{Initial, Manner, QUEUE, Watcher};

/// See the module. Shared by all versions under which the resource is served.
#[derive(Debug)]
pub struct Cache {
    /// `/registry/pods/`
    prefix: String,
    fields: Arc<FieldSet>,
    state: RwLock<State>,
    progress: Progress,
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    objects: Snapshot,
    indexes: Indexes,
    /// The newest revision that changed an object here.
    revision: u64,
    ring: Ring,
    subscribers: Subscribers,
    /// Changes taken in since the start.
    changes: u64,
    /// Events with which watches have begun.
    initial: u64,
}

/// What a cache has done and holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) objects: u64,
    pub(crate) revision: u64,
    /// Changes that a late watcher can get at most.
    pub(crate) capacity: u64,
    /// Changes taken in and passed on.
    pub(crate) changes: u64,
    /// Events with which watches have begun.
    pub(crate) initial: u64,
    /// Watches that ended because their reader was too slow.
    pub(crate) terminated: u64,
}

/// Where a watch starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the objects there are.
    State {
        /// Whether a bookmark says where they end.
        announce_end: bool,
    },
    /// With the next change.
    Now,
    /// With the first change after a revision.
    After(u64),
}

/// The state at an exact revision.
#[derive(Debug)]
pub enum Exact {
    /// Here it is.
    Known(Snapshot),
    /// Older than the changes kept here; the store may have it.
    TooOld,
}

impl Cache {
    /// An empty cache for keys with `prefix`.
    pub(super) fn new(prefix: String, fields: FieldSet, progress: Progress) -> Self {
        let state = State {
            objects: Snapshot::default(),
            indexes: Indexes::new(&fields),
            revision: 0,
            ring: Ring::default(),
            subscribers: Subscribers::default(),
            changes: 0,
            initial: 0,
        };
        Self {
            prefix,
            fields: Arc::new(fields),
            state: RwLock::new(state),
            progress,
            changed: watch::Sender::new(0),
        }
    }

    // State is changed in steps that do not panic, so a poisoned lock still guards a whole one.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys' prefix in the store, with a slash at the end.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What is found in this resource's objects.
    pub fn fields(&self) -> &Arc<FieldSet> {
        &self.fields
    }

    /// Tells the revision of each newest change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The number of objects.
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An object by `namespace/name`, or `name` in cluster scope.
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.read().objects.get(key).cloned()
    }

    /// All objects and the revision whose state they are.
    pub fn snapshot(&self) -> (Snapshot, u64) {
        let state = self.read();
        (state.objects.clone(), state.shown(&self.progress))
    }

    /// As [`snapshot`](Self::snapshot), with no more objects than needed to find all that
    /// `selection` selects.
    pub fn candidates(&self, selection: &Selection) -> (Snapshot, u64) {
        let state = self.read();
        let objects = state.candidates(selection);
        (objects, state.shown(&self.progress))
    }

    /// The objects as of `revision`, which has been applied, by undoing the changes since.
    pub fn at(&self, revision: u64) -> Exact {
        let (mut objects, undo) = {
            let state = self.read();
            let Some(since) = state.ring.since(revision) else { return Exact::TooOld };
            let undo: Vec<_> = since.cloned().collect();
            (state.objects.clone(), undo)
        };
        for change in undo.iter().rev() {
            match (&change.old, &change.new) {
                (Some(old), _) => drop(objects.insert(old.clone())),
                (None, Some(new)) => drop(objects.remove(new.key())),
                (None, None) => {}
            }
        }
        Exact::Known(objects)
    }

    /// An object from a pair of the store; `None` when the value is not an object.
    pub fn object(&self, kv: &KeyValue) -> Option<Arc<Object>> {
        let key = std::str::from_utf8(&kv.key).ok()?.strip_prefix(&self.prefix)?;
        let object = Object::new(key, &kv.value, kv.mod_revision, &self.fields);
        if object.is_none() {
            tracing::error!(key, "the store holds what is not an object");
        }
        object.map(Arc::new)
    }

    /// Takes in an object while a cache that joins is filled.
    pub(super) fn load(&self, kv: &KeyValue) {
        if let Some(object) = self.object(kv) {
            let mut state = self.write();
            state.revision = state.revision.max(kv.mod_revision);
            state.put(object);
        }
    }

    /// Holds these objects, the state at `revision`, and nothing else. All watches end.
    pub(super) fn install(&self, objects: Vec<Arc<Object>>, revision: u64) {
        let newest = objects.iter().map(|object| object.resource_version()).max();
        let mut state = self.write();
        state.objects = Snapshot::default();
        state.indexes = Indexes::new(&self.fields);
        for object in objects {
            state.put(object);
        }
        state.revision = newest.unwrap_or(0);
        state.ring.restart(revision);
        state.subscribers.clear();
        self.changed.send_replace(revision);
    }

    /// Declares the filled state complete as of `revision`.
    pub(super) fn loaded(&self, revision: u64) {
        self.write().ring.restart(revision);
        self.changed.send_replace(revision);
    }

    /// Takes in the next change and passes it on to the watchers.
    pub(super) fn apply(&self, kind: EventKind, kv: &KeyValue) {
        let new = match kind {
            EventKind::Put => self.object(kv),
            EventKind::Delete => None,
        };
        let mut state = self.write();
        let state = &mut *state;
        let old = match &new {
            Some(new) => state.put(new.clone()),
            None => std::str::from_utf8(&kv.key)
                .ok()
                .and_then(|key| key.strip_prefix(&self.prefix))
                .and_then(|key| state.remove(key)),
        };
        state.revision = kv.mod_revision;
        if new.is_none() && old.is_none() {
            return;
        }
        state.changes += 1;
        let change = Arc::new(Change::new(kv.mod_revision, new, old));
        state.subscribers.offer(&change);
        state.ring.push(change);
        self.changed.send_replace(kv.mod_revision);
    }

    /// A watch of what `selection` selects.
    pub(crate) fn watch(&self, start: Start, selection: Arc<Selection>, manner: Manner) -> Watcher {
        let mut state = self.write();
        let mut after = 0;
        let initial = match start {
            Start::State { announce_end } => {
                let shown = state.shown(&self.progress);
                let candidates = state.candidates(&selection).items("", selection.prefix());
                let selected = candidates.selected(&selection);
                Initial::objects(selected, announce_end.then_some(shown))
            }
            Start::Now => Initial::default(),
            Start::After(revision) => {
                let Some(since) = state.ring.since(revision) else {
                    let status = Status::too_old_resource_version(revision, state.ring.from());
                    return self.failed_watch(&status, manner);
                };
                after = revision;
                Initial::changes(since, &selection)
            }
        };
        state.initial += initial.items.len() as u64;
        let (queue, receiver) = mpsc::channel(QUEUE);
        state.subscribers.add(Subscriber { selection: selection.clone(), after, queue });
        Watcher::new(initial, receiver, self.progress.clone(), manner, selection)
    }

    /// What the cache has done and holds.
    pub(crate) fn counts(&self) -> Counts {
        let state = self.read();
        Counts {
            objects: state.objects.len() as u64,
            revision: state.revision,
            capacity: ring::CAPACITY as u64,
            changes: state.changes,
            initial: state.initial,
            terminated: state.subscribers.terminated(),
        }
    }

    /// A watch that only says why it cannot be.
    pub(crate) fn failed_watch(&self, status: &Status, manner: Manner) -> Watcher {
        Watcher::failed(status, self.progress.clone(), manner)
    }

    #[cfg(test)]
    pub(super) fn watchers_asked(&self, namespace: &str, values: [&str; 2]) -> usize {
        self.read().subscribers.asked(namespace, values)
    }

    /// Called every few seconds: gives up what was kept for readers that have gone.
    pub(super) fn cool(&self) {
        // Bound to names, so that nobody waits for what is dropped.
        let (_aged, objects) = {
            let mut state = self.write();
            (state.ring.look(), state.objects.clone())
        };
        objects.cool();
    }

    /// Ends all watches.
    pub(super) fn close(&self) {
        self.write().subscribers.clear();
    }
}

impl State {
    fn put(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let old = self.objects.insert(object.clone());
        self.indexes.change(old.as_ref(), Some(&object));
        old
    }

    fn remove(&mut self, key: &str) -> Option<Arc<Object>> {
        let old = self.objects.remove(key);
        self.indexes.change(old.as_ref(), None);
        old
    }

    fn candidates(&self, selection: &Selection) -> Snapshot {
        self.indexes.find(selection).unwrap_or_else(|| self.objects.clone())
    }

    /// The revision that the objects show: all changes up to the applied one are in, and perhaps
    /// some later ones of ours.
    fn shown(&self, progress: &Progress) -> u64 {
        progress.applied().max(self.revision)
    }
}
