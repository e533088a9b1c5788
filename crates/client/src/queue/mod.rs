//! The work queue: keys wait once, are never worked on twice at a time, and come back later
//! when asked to.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Delay of the first retry; each further one doubles it.
const RETRY_BASE: Duration = Duration::from_millis(5);
/// Longest delay between retries.
const RETRY_CAP: Duration = Duration::from_secs(1000);

/// A shared queue of keys; clones are handles to the same queue.
pub struct WorkQueue<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Wakes one waiter of [`WorkQueue::get`].
    ready: Notify,
    /// Wakes the timer when an earlier deadline came in.
    earlier: Notify,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// Keys that want work: those waiting and those added again while worked on.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    failures: HashMap<T, u32>,
    delayed: BTreeMap<(Instant, u64), T>,
    deadline: HashMap<T, (Instant, u64)>,
    sequence: u64,
    timer_runs: bool,
    closed: bool,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash + Send + 'static> WorkQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            waiting: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            failures: HashMap::new(),
            delayed: BTreeMap::new(),
            deadline: HashMap::new(),
            sequence: 0,
            timer_runs: false,
            closed: false,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                ready: Notify::new(),
                earlier: Notify::new(),
            }),
        }
    }

    fn with<R>(&self, act: impl FnOnce(&mut State<T>) -> R) -> R {
        act(&mut self.shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Queues a key. A key that waits already stays where it is; one that is being worked on
    /// waits again as soon as it is done.
    pub fn add(&self, key: T) {
        let queued = self.with(|state| {
            if state.closed || !state.dirty.insert(key.clone()) || state.processing.contains(&key) {
                return false;
            }
            state.waiting.push_back(key);
            true
        });
        if queued {
            self.shared.ready.notify_one();
        }
    }

    /// Queues a key after `delay`. Of several requests for one key the earliest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let start_timer = self.with(|state| {
            if state.closed {
                return false;
            }
            let at = Instant::now() + delay;
            if let Some(known) = state.deadline.get(&key).copied() {
                if known.0 <= at {
                    return false;
                }
                state.delayed.remove(&known);
            }
            state.sequence += 1;
            let slot = (at, state.sequence);
            state.delayed.insert(slot, key.clone());
            state.deadline.insert(key, slot);
            !std::mem::replace(&mut state.timer_runs, true)
        });
        if start_timer {
            tokio::spawn(run_timer(self.clone()));
        } else {
            self.shared.earlier.notify_one();
        }
    }

    /// Queues a key after a delay that doubles with each call until [`WorkQueue::forget`].
    pub fn add_rate_limited(&self, key: T) {
        let delay = self.with(|state| {
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let delay = RETRY_BASE.saturating_mul(1_u32.checked_shl(*failures).unwrap_or(u32::MAX));
            *failures = failures.saturating_add(1);
            delay.min(RETRY_CAP)
        });
        self.add_after(key, delay);
    }

    /// Resets the delay of [`WorkQueue::add_rate_limited`].
    pub fn forget(&self, key: &T) {
        self.with(|state| state.failures.remove(key));
    }

    /// How often the key was added by [`WorkQueue::add_rate_limited`] since it was forgotten.
    #[must_use]
    pub fn num_requeues(&self, key: &T) -> u32 {
        self.with(|state| state.failures.get(key).copied().unwrap_or(0))
    }

    /// Takes the next key; `None` once the queue is shut down. [`WorkQueue::done`] must follow.
    pub async fn get(&self) -> Option<T> {
        loop {
            let woken = self.shared.ready.notified();
            let (taken, more, closed) = self.with(|state| {
                let key = state.waiting.pop_front();
                if let Some(key) = &key {
                    state.dirty.remove(key);
                    state.processing.insert(key.clone());
                }
                (key, !state.waiting.is_empty(), state.closed)
            });
            if closed {
                // Pass the end on to the next waiter.
                self.shared.ready.notify_one();
                return None;
            }
            if more {
                self.shared.ready.notify_one();
            }
            if taken.is_some() {
                return taken;
            }
            woken.await;
        }
    }

    /// Ends the work on a key.
    pub fn done(&self, key: &T) {
        let again = self.with(|state| {
            state.processing.remove(key);
            if state.dirty.contains(key) {
                state.waiting.push_back(key.clone());
                return true;
            }
            false
        });
        if again {
            self.shared.ready.notify_one();
        }
    }

    /// The number of keys that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|state| state.waiting.len())
    }

    /// Whether no key waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the queue: nothing is added or handed out any more.
    pub fn shut_down(&self) {
        self.with(|state| {
            state.closed = true;
            state.waiting.clear();
            state.delayed.clear();
            state.deadline.clear();
        });
        self.shared.ready.notify_one();
        self.shared.earlier.notify_one();
    }
}

/// Moves keys whose time has come into the queue; ends with the last delayed key.
async fn run_timer<T: Clone + Eq + Hash + Send + 'static>(queue: WorkQueue<T>) {
    loop {
        let earlier = queue.shared.earlier.notified();
        let (due, next) = queue.with(|state| {
            let now = Instant::now();
            let mut due = Vec::new();
            while let Some(entry) = state.delayed.first_entry() {
                if entry.key().0 > now {
                    break;
                }
                let key = entry.remove();
                state.deadline.remove(&key);
                due.push(key);
            }
            let next = state.delayed.first_key_value().map(|(slot, _)| slot.0);
            state.timer_runs = next.is_some();
            (due, next)
        });
        for key in due {
            queue.add(key);
        }
        let Some(next) = next else { return };
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = earlier => {}
        }
    }
}
