//! The watchers of one cache, found by what they watch.
//!
//! Most watchers of a big cluster want one node's Pods, one object by its name or one namespace.
//! Those are kept by that value, so that a change is not shown to thousands whom it does not
//! concern.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::list::Selection;
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
    by_value: [Group; INDEXED.len()],
    by_namespace: Group,
    others: Vec<Subscriber>,
    /// Subscribers by value when those who left were last looked for.
    swept: usize,
    grouped: usize,
    /// Subscribers that were too slow.
    terminated: u64,
}

/// Subscribers by one value.
#[derive(Debug, Default)]
struct Group(HashMap<Box<str>, Vec<Subscriber>>);

impl Subscribers {
    pub(super) fn add(&mut self, subscriber: Subscriber) {
        let selection = subscriber.selection.clone();
        let by_field = INDEXED.iter().zip(&mut self.by_value);
        let by_field = by_field.filter_map(|(field, group)| Some((selection.exact(field)?, group)));
        let by_namespace = selection.namespace().map(|name| (name, &mut self.by_namespace));
        let Some((value, group)) = by_field.chain(by_namespace).next() else {
            self.others.push(subscriber);
            return;
        };
        group.0.entry(value.into()).or_default().push(subscriber);
        self.grouped += 1;
        self.sweep();
    }

    /// Forgets watchers that left and whose value never changes again.
    fn sweep(&mut self) {
        if self.grouped < 2 * self.swept.max(64) {
            return;
        }
        self.grouped = 0;
        for group in self.by_value.iter_mut().chain([&mut self.by_namespace]) {
            group.0.retain(|_, subscribers| {
                subscribers.retain(|subscriber| !subscriber.queue.is_closed());
                !subscribers.is_empty()
            });
            self.grouped += group.0.values().map(Vec::len).sum::<usize>();
        }
        self.swept = self.grouped;
    }

    /// Ends all watches.
    pub(super) fn clear(&mut self) {
        *self = Self { terminated: self.terminated, ..Self::default() };
    }

    /// How many watchers were too slow.
    pub(super) fn terminated(&self) -> u64 {
        self.terminated
    }

    /// Shows a change to all whom it may concern, and forgets those who left or are too slow.
    pub(super) fn offer(&mut self, change: &Arc<Change>) {
        let slow = &mut self.terminated;
        self.others.retain(|subscriber| subscriber.offer(change, slow));
        let object = change.new.as_ref().or(change.old.as_ref());
        if let Some(namespace) = object.map(|object| object.namespace()) {
            self.by_namespace.offer(namespace, change, slow);
        }
        for (field, group) in INDEXED.iter().zip(&mut self.by_value) {
            let old = change.old.as_ref().and_then(|object| object.field(field));
            let new = change.new.as_ref().and_then(|object| object.field(field));
            for value in new.into_iter().chain(old.filter(|_| old != new)) {
                group.offer(value, change, slow);
            }
        }
    }

    /// How many watchers would be asked about an object with these values.
    #[cfg(test)]
    pub(super) fn asked(&self, namespace: &str, values: [&str; INDEXED.len()]) -> usize {
        let of = |group: &Group, value: &str| group.0.get(value).map_or(0, Vec::len);
        let by_value: usize = self.by_value.iter().zip(values).map(|(g, v)| of(g, v)).sum();
        self.others.len() + of(&self.by_namespace, namespace) + by_value
    }
}

impl Group {
    fn offer(&mut self, value: &str, change: &Arc<Change>, slow: &mut u64) {
        if let Some(subscribers) = self.0.get_mut(value) {
            subscribers.retain(|subscriber| subscriber.offer(change, slow));
            if subscribers.is_empty() {
                self.0.remove(value);
            }
        }
    }
}

impl Subscriber {
    /// False when the watcher is gone or too slow.
    fn offer(&self, change: &Arc<Change>, slow: &mut u64) -> bool {
        let kind = match change.revision <= self.after {
            true => None,
            false => change.seen_by(&self.selection),
        };
        let Some(kind) = kind else { return !self.queue.is_closed() };
        let sent = self.queue.try_send(WatchItem::change(kind, change.clone()));
        *slow += u64::from(matches!(sent, Err(TrySendError::Full(_))));
        sent.is_ok()
    }
}
