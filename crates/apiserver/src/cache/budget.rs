//! Room for what is kept only because somebody may ask for it again. All of it together is bounded.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The most bytes that may be kept so.
const BUDGET: usize = 64 << 20;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Room for so many bytes, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room(usize);

impl Room {
    /// Takes room, if it is there.
    pub(super) fn take(bytes: usize) -> Option<Self> {
        let fits = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= BUDGET);
        let taken = TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.is_ok().then_some(Self(bytes))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.0, Ordering::Relaxed);
    }
}
