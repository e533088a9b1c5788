//! The watchers of one cache, found by what they watch.
//!
//! Most watchers of a big cluster want one node's Pods or one object by its name. Those are kept
//! by that value, so that a change is not shown to thousands whom it does not concern.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::list::Selection;
use super::object::Object;
use super::watch::{Change, WatchItem};

/// Fields whose exact value finds a watcher.
const INDEXED: [&str; 2] = ["spec.nodeName", "metadata.name"];

/// The cache's end of a watcher.
#[derive(Debug)]
pub(super) struct Subscriber {
    pub(super) selection: Arc<Selection>,
    /// Changes up to this revision are known to the watcher.
    pub(super) after: u64,
    pub(super) queue: mpsc::Sender<WatchItem>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    by_value: [HashMap<Box<str>, Vec<Subscriber>>; INDEXED.len()],
    others: Vec<Subscriber>,
    /// Subscribers by value when those who left were last looked for.
    swept: usize,
    indexed: usize,
}

impl Subscribers {
    pub(super) fn add(&mut self, subscriber: Subscriber) {
        for (field, map) in INDEXED.iter().zip(&mut self.by_value) {
            if let Some(value) = subscriber.selection.exact(field) {
                map.entry(value.into()).or_default().push(subscriber);
                self.indexed += 1;
                return self.sweep();
            }
        }
        self.others.push(subscriber);
    }

    /// Forgets watchers that left and whose value never changes again.
    fn sweep(&mut self) {
        if self.indexed < 2 * self.swept.max(64) {
            return;
        }
        self.indexed = 0;
        for map in &mut self.by_value {
            map.retain(|_, subscribers| {
                subscribers.retain(|subscriber| !subscriber.queue.is_closed());
                !subscribers.is_empty()
            });
            self.indexed += map.values().map(Vec::len).sum::<usize>();
        }
        self.swept = self.indexed;
    }

    /// Shows a change to all whom it may concern, and forgets those who left or are too slow.
    pub(super) fn offer(&mut self, change: &Arc<Change>) {
        self.others.retain(|subscriber| subscriber.offer(change));
        for (field, map) in INDEXED.iter().zip(&mut self.by_value) {
            if map.is_empty() {
                continue;
            }
            let value = |object: &'_ Option<Arc<Object>>| {
                object.as_ref().and_then(|object| object.field(field)).map(str::to_owned)
            };
            let (old, new) = (value(&change.old), value(&change.new));
            let both = [new.clone(), old.filter(|old| Some(old) != new.as_ref())];
            for value in both.into_iter().flatten() {
                if let Some(subscribers) = map.get_mut(value.as_str()) {
                    subscribers.retain(|subscriber| subscriber.offer(change));
                    if subscribers.is_empty() {
                        map.remove(value.as_str());
                    }
                }
            }
        }
    }
}

impl Subscriber {
    /// False when the watcher is gone or too slow.
    fn offer(&self, change: &Arc<Change>) -> bool {
        if change.revision <= self.after {
            return !self.queue.is_closed();
        }
        match change.seen_by(&self.selection) {
            Some(kind) => self.queue.try_send(WatchItem::change(kind, change.clone())).is_ok(),
            None => !self.queue.is_closed(),
        }
    }
}
