//! The program's allocator, and when it gives memory back to the system.
//!
//! An API server allocates and frees on several threads for every request; libc's allocator spends
//! a quarter of a write on that. mimalloc gives back what is free when it is asked for more, so
//! after a burst an idle process would keep for ever what the burst took. A thread that runs out of
//! work therefore lets it look through what is free, every few seconds at most.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Between two looks of the same thread: often enough for people who watch, and seldom enough that
/// memory which is used again at once stays.
const PERIOD: Duration = Duration::from_secs(5);

// SAFETY: this is how mimalloc.h declares it, and any thread may call it at any time.
unsafe extern "C" {
    /// Frees what the calling thread's heap holds needlessly; with `force` at once, whatever was
    /// used lately.
    safe fn mi_collect(force: bool);
}

/// Called when a thread of the runtime has nothing to do.
pub(crate) fn give_back() {
    thread_local! {
        static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    if LAST.get().is_none_or(|last| now.duration_since(last) >= PERIOD) {
        LAST.set(Some(now));
        mi_collect(true);
    }
}
