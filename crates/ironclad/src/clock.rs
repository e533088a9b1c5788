//! The time of day of a node in namespaces, whose clock may be wrong.
//!
//! Such nodes share this machine's clock, which nobody may set for the sake of a drill. So a program
//! on one of them is told by a file how far the clock of its node is off (`ironclad node clock`), and
//! adds that whenever the time of day is read: by this program or by its libraries, for a
//! certificate, a token, a lease or a line of the log. The linker leads every call of
//! `clock_gettime` here (see `build.rs`). What is not this program, as containerd and users'
//! containers, goes by the machine's clock, and so do the times of files. Clocks that nobody can set
//! are left alone, as on a real host. Real hosts have no such file, and pay a comparison.

#![allow(unsafe_code)]

use std::ffi::c_int;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use component::followed::Followed;
use nix::libc::{CLOCK_REALTIME, clockid_t, timespec};

/// Seconds that the node's clock is ahead of the machine's.
static AHEAD: AtomicI64 = AtomicI64::new(0);
/// Where that is written.
static FILE: OnceLock<PathBuf> = OnceLock::new();

// SAFETY: the linker makes this the name of what the C library calls `clock_gettime`.
unsafe extern "C" {
    fn __real_clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int;
}

/// What all call who call `clock_gettime`.
///
/// # Safety
/// As that: `time` points to where the time may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap_clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    // SAFETY: the caller keeps what `clock_gettime` demands.
    let result = unsafe { __real_clock_gettime(clock, time) };
    if clock == CLOCK_REALTIME && result == 0 {
        // SAFETY: the time was written there, so it is a valid place.
        unsafe { (*time).tv_sec += AHEAD.load(Ordering::Relaxed) };
    }
    result
}

/// Takes what the file says for the time until [`follow`] follows it.
pub(crate) fn begin(file: PathBuf) {
    // What is not there yet is as good as a clock that is right.
    set(&std::fs::read(&file).unwrap_or_default(), &file);
    // There is one command line.
    FILE.set(file).ok();
}

/// Follows the file, if there is one, for as long as the program runs.
pub(crate) async fn follow() {
    let Some(file) = FILE.get() else { return };
    let mut files = Followed::new(vec![file.clone()]);
    loop {
        for text in files.next().await {
            set(&text, file);
        }
    }
}

fn set(text: &[u8], file: &Path) {
    // A file that is being written is empty for a moment.
    let Some(seconds) = parse(text) else { return };
    let before = AHEAD.swap(seconds, Ordering::Relaxed);
    if before != seconds {
        tracing::warn!(file = %file.display(), seconds, before, "the clock of this node was set");
    }
}

fn parse(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant, SystemTime};

    #[test]
    fn the_time_of_day_is_moved_and_nothing_else() {
        // Begun before and read after, so that it is the longer one.
        let (steady, day) = (Instant::now(), SystemTime::now());
        set(b"-7200\n", Path::new("f"));
        let (moved, went) = (SystemTime::now(), steady.elapsed());
        set(b"", Path::new("f"));
        assert_eq!(AHEAD.load(Ordering::Relaxed), -7200);
        set(b"0", Path::new("f"));
        let hours = Duration::from_secs(7200);
        let back = day.duration_since(moved).expect("it went back");
        assert!(back <= hours && back + went >= hours, "{back:?} after {went:?}");
        assert!(SystemTime::now() >= day);
    }
}
