//! Pods that wait for a node.
//!
//! ```text
//!            ┌──────────── pop ◀── active ◀──────────┐ back-off is over
//!  add ──────┤                       ▲               │
//!            │ a change that may help└── unschedulable ──▶ backoff
//!            └──▶ gated (scheduling gates)
//! ```
//!
//! Pure: time comes in as an argument. Heap entries of Pods that moved on are skipped when met.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::events::Change;
use crate::framework::{Plugin, PluginSet};
use crate::objects::Pod;

/// First back-off.
const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
/// Longest back-off.
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// An unschedulable Pod is tried again after so long even if nothing happened.
const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(5 * 60);

/// A Pod in the queue.
#[derive(Clone, Debug)]
pub struct Queued {
    /// The Pod.
    pub pod: Arc<Pod>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was first queued.
    pub since: Instant,
    /// Tries in a row that found no node.
    unschedulable: u32,
    /// Tries in a row that ended in an error.
    errors: u32,
    /// When it came into the part of the queue where it is.
    at: Instant,
    /// Who said no at the last try; empty for everybody or an error.
    rejected_by: PluginSet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// Until then.
    Backoff(Instant),
    Unschedulable,
    Gated,
    /// Taken out by `pop`, not yet given back or done.
    InFlight,
}

#[derive(Debug)]
struct Entry {
    queued: Queued,
    place: Place,
    /// Which heap entry is the valid one.
    ticket: u64,
}

/// How many Pods are where; the values of `scheduler_pending_pods`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready to be tried.
    pub active: usize,
    /// Waiting for their back-off to end.
    pub backoff: usize,
    /// Waiting for a change.
    pub unschedulable: usize,
    /// Waiting for their gates to be removed.
    pub gated: usize,
}

/// Priority, then who came first (time and ticket), then whose it is.
type Ready = (i32, Reverse<(Instant, u64)>, String);

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<String, Entry>,
    active: BinaryHeap<Ready>,
    backoff: BTreeMap<(Instant, u64), String>,
    /// The unschedulable ones: every change looks at them, and only at them.
    waiting: HashSet<String>,
    tickets: u64,
}

// === impl Queue ===

impl Queue {
    /// Adds a Pod, or takes its new state. A change of the Pod itself (its tolerations, its requests,
    /// the last gate removed) is a reason to try again.
    pub fn set(&mut self, pod: Arc<Pod>, now: Instant) {
        let uid = pod.uid().to_owned();
        let Some(entry) = self.entries.get_mut(&uid) else {
            let queued = Queued {
                pod: Arc::clone(&pod),
                attempts: 0,
                since: now,
                unschedulable: 0,
                errors: 0,
                at: now,
                rejected_by: PluginSet::default(),
            };
            let place = if pod.gated { Place::Gated } else { Place::Active };
            self.entries.insert(uid.clone(), Entry { queued, place: Place::Gated, ticket: 0 });
            self.move_to(&uid, place, now);
            return;
        };
        let old = std::mem::replace(&mut entry.queued.pod, Arc::clone(&pod));
        match entry.place {
            Place::Gated if !pod.gated => self.move_to(&uid, Place::Active, now),
            Place::Unschedulable if may_fit_now(&old, &pod) => self.retry(&uid, now),
            _ => {}
        }
    }

    /// Forgets a Pod: it is bound or gone.
    pub fn remove(&mut self, uid: &str) {
        self.waiting.remove(uid);
        if let Some(Entry { place: Place::Backoff(until), ticket, .. }) = self.entries.remove(uid) {
            self.backoff.remove(&(until, ticket));
        }
    }

    /// The next Pod to try: highest priority first, then longest waiting. When nobody is ready, one
    /// whose back-off is not over yet, unless the back-off is for an error.
    pub fn pop(&mut self, now: Instant) -> Option<Queued> {
        self.end_backoffs(now);
        while let Some((_, Reverse((_, ticket)), uid)) = self.active.pop() {
            let Some(entry) = self.entries.get_mut(&uid) else {
                continue;
            };
            if entry.ticket == ticket && entry.place == Place::Active {
                return Some(entry.take());
            }
        }
        let early = self
            .backoff
            .iter()
            .find(|(_, uid)| self.entries.get(*uid).is_some_and(|e| e.queued.errors == 0));
        let (key, uid) = early.map(|(key, uid)| (*key, uid.clone()))?;
        self.backoff.remove(&key);
        Some(self.entries.get_mut(&uid)?.take())
    }

    /// Gives back a Pod for which no node was found.
    pub fn unschedulable(&mut self, uid: &str, rejected_by: PluginSet, now: Instant) {
        let Some(entry) = self.entries.get_mut(uid) else {
            return;
        };
        entry.queued.unschedulable += 1;
        entry.queued.errors = 0;
        entry.queued.rejected_by = rejected_by;
        self.move_to(uid, Place::Unschedulable, now);
    }

    /// Gives back a Pod whose try ended in an error.
    pub fn failed(&mut self, uid: &str, now: Instant) {
        let Some(entry) = self.entries.get_mut(uid) else {
            return;
        };
        entry.queued.errors += 1;
        entry.queued.rejected_by = PluginSet::default();
        entry.queued.at = now;
        let until = now + entry.queued.backoff();
        self.move_to(uid, Place::Backoff(until), now);
    }

    /// Wakes the Pods that a change may help.
    pub fn changed(&mut self, change: &Change<'_>, plugins: &[Box<dyn Plugin>], now: Instant) {
        let kinds = change.kinds();
        if kinds.is_none() {
            return;
        }
        let helped: Vec<String> = self
            .unschedulable_entries()
            .filter(|(_, entry)| {
                let by = entry.queued.rejected_by;
                by.is_empty()
                    || plugins.iter().enumerate().any(|(at, plugin)| {
                        by.contains(at)
                            && plugin.unblocked_by().overlaps(kinds)
                            && plugin.hint(&entry.queued.pod, change)
                    })
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in helped {
            self.retry(&uid, now);
        }
    }

    /// Wakes the Pods that have been unschedulable for too long.
    pub fn flush_old(&mut self, now: Instant) {
        let old: Vec<String> = self
            .unschedulable_entries()
            .filter(|(_, e)| now.duration_since(e.queued.at) > MAX_UNSCHEDULABLE)
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in old {
            self.retry(&uid, now);
        }
    }

    /// When the next back-off ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.backoff.keys().next().map(|(until, _)| *until)
    }

    /// The Pod as last set.
    pub fn get(&self, uid: &str) -> Option<&Arc<Pod>> {
        self.entries.get(uid).map(|e| &e.queued.pod)
    }

    /// How many Pods are where.
    pub fn depth(&self) -> Depth {
        let mut depth = Depth::default();
        for entry in self.entries.values() {
            match entry.place {
                Place::Active => depth.active += 1,
                Place::Backoff(_) => depth.backoff += 1,
                Place::Unschedulable => depth.unschedulable += 1,
                Place::Gated => depth.gated += 1,
                Place::InFlight => {}
            }
        }
        depth
    }

    fn unschedulable_entries(&self) -> impl Iterator<Item = (&String, &Entry)> {
        self.waiting.iter().filter_map(|uid| Some((uid, self.entries.get(uid)?)))
    }

    fn end_backoffs(&mut self, now: Instant) {
        while let Some((&(until, ticket), _)) = self.backoff.first_key_value()
            && until <= now
        {
            let Some(uid) = self.backoff.remove(&(until, ticket)) else {
                return;
            };
            self.move_to(&uid, Place::Active, now);
        }
    }

    fn retry(&mut self, uid: &str, now: Instant) {
        let Some(entry) = self.entries.get(uid) else {
            return;
        };
        let until = entry.queued.at + entry.queued.backoff();
        let place = if until <= now { Place::Active } else { Place::Backoff(until) };
        self.move_to(uid, place, now);
    }

    fn move_to(&mut self, uid: &str, place: Place, now: Instant) {
        let Some(entry) = self.entries.get_mut(uid) else {
            return;
        };
        if let Place::Backoff(until) = entry.place {
            self.backoff.remove(&(until, entry.ticket));
        }
        if place == Place::Unschedulable {
            self.waiting.insert(uid.to_owned());
        } else {
            self.waiting.remove(uid);
        }
        self.tickets += 1;
        entry.ticket = self.tickets;
        entry.place = place;
        match place {
            Place::Active => {
                entry.queued.at = now;
                let order = Reverse((now, entry.ticket));
                self.active.push((entry.queued.pod.priority, order, uid.to_owned()));
            }
            Place::Backoff(until) => {
                self.backoff.insert((until, entry.ticket), uid.to_owned());
            }
            Place::Unschedulable => entry.queued.at = now,
            Place::Gated | Place::InFlight => {}
        }
    }
}

// === impl Entry ===

impl Entry {
    fn take(&mut self) -> Queued {
        self.place = Place::InFlight;
        self.queued.attempts += 1;
        self.queued.clone()
    }
}

// === impl Queued ===

impl Queued {
    fn backoff(&self) -> Duration {
        let tries = if self.errors > 0 { self.errors } else { self.unschedulable };
        match tries {
            0 => Duration::ZERO,
            n => (INITIAL_BACKOFF * 2_u32.pow((n - 1).min(8))).min(MAX_BACKOFF),
        }
    }
}

fn may_fit_now(old: &Pod, new: &Pod) -> bool {
    old.tolerations != new.tolerations
        || old.requests != new.requests
        || old.metadata.labels != new.metadata.labels
        || old.gated != new.gated
}

#[cfg(test)]
mod tests;
