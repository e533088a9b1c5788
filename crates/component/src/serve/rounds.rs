//! A task that wakes itself goes on at once.
//!
//! A connection and what answers its requests are one task, whose parts wake each other: a body has
//! come, or was taken. The runtime, told of that, puts the task at the end of a queue and wakes
//! another thread to look there, which costs more than what is left to do. Here such a task is
//! polled again, a few times, and only what others do wakes it through the runtime.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Polls in a row, after which other tasks have their turn.
const ROUNDS: usize = 4;

/// Nobody has woken the task since it was last polled.
const IDLE: u8 = 0;
/// The task is being polled.
const RUNNING: u8 = 1;
/// It is to be polled again.
const WOKEN: u8 = 2;

/// See the module. For one task.
pub(super) struct Rounds {
    shared: Arc<Shared>,
    waker: Waker,
}

struct Shared {
    state: AtomicU8,
    /// Wakes the task through the runtime.
    task: Mutex<Waker>,
}

// === impl Rounds ===

impl Rounds {
    pub(super) fn new() -> Self {
        let task = Mutex::new(Waker::noop().clone());
        let shared = Arc::new(Shared { state: AtomicU8::new(IDLE), task });
        Self { waker: shared.clone().into(), shared }
    }

    /// Polls until nothing is left that the task itself has asked for.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.shared.task().clone_from(cx.waker());
        let state = &self.shared.state;
        for _ in 0..ROUNDS {
            state.swap(RUNNING, Ordering::AcqRel);
            let result = poll(&mut Context::from_waker(&self.waker));
            let (idle, other) = (Ordering::AcqRel, Ordering::Acquire);
            if result.is_ready() || state.compare_exchange(RUNNING, IDLE, idle, other).is_ok() {
                return result;
            }
        }
        state.store(IDLE, Ordering::Release);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// === impl Shared ===

impl Shared {
    fn task(&self) -> MutexGuard<'_, Waker> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == IDLE {
            self.task().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Runtime(AtomicUsize);

    impl Wake for Runtime {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A task that wakes itself in its first `own` polls: how often it is polled, and how often the
    /// runtime is told to do so again.
    fn polled(own: usize) -> (usize, usize) {
        let runtime = Arc::new(Runtime::default());
        let (rounds, mut polls, mut kept) = (Rounds::new(), 0, None);
        let result = rounds.poll(&mut Context::from_waker(&runtime.clone().into()), |cx| {
            polls += 1;
            if polls <= own {
                cx.waker().wake_by_ref();
            }
            kept = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        assert!(result.is_pending());
        let told = runtime.0.load(Ordering::Relaxed);
        let kept = kept.unwrap();
        kept.wake_by_ref();
        kept.wake();
        assert_eq!(runtime.0.load(Ordering::Relaxed), told + 1, "others wake it once");
        (polls, told)
    }

    #[test]
    fn a_task_that_wakes_itself_goes_on_and_not_for_ever() {
        let check = |own: usize, polls: usize, told: usize| {
            assert_eq!(polled(own), (polls, told), "{own}");
        };
        check(0, 1, 0);
        check(ROUNDS - 1, ROUNDS, 0);
        check(ROUNDS, ROUNDS, 1);
        check(100, ROUNDS, 1);
    }
}
