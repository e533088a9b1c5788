//! One line a step on the terminal, with its time.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Prints the steps of a command as they end.
#[derive(Debug)]
pub struct Progress {
    begun: Instant,
    step: Instant,
    doing: String,
    terminal: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self::start()
    }
}

impl Progress {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            begun: now,
            step: now,
            doing: String::new(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Says what is being done; only on a terminal, where the line is overwritten.
    pub fn doing(&mut self, what: &str) {
        self.step = Instant::now();
        what.clone_into(&mut self.doing);
        if self.terminal {
            self.print(&format!("   {what} ..."));
        }
    }

    /// What is being done.
    #[must_use]
    pub fn current(&self) -> &str {
        &self.doing
    }

    /// Says why what is being done takes long.
    pub fn explain(&mut self, reasons: &[String]) {
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        self.print(&format!("{start}   {} ({} so far)\n", self.doing, self.total()));
        for reason in reasons {
            self.print(&format!("     - {reason}\n"));
        }
    }

    /// Says what was done, and how long it took.
    pub fn done(&mut self, what: &str) {
        let took = seconds(self.step.elapsed());
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        self.print(&format!("{start} \u{2713} {what:<60} {took:>7}\n"));
        self.step = Instant::now();
    }

    /// Ends the current line, for an error to follow.
    pub fn interrupt(&mut self) {
        if self.terminal {
            self.print("\r\x1b[K");
        }
    }

    /// The time since the start, as text.
    #[must_use]
    pub fn total(&self) -> String {
        seconds(self.begun.elapsed())
    }

    fn print(&self, text: &str) {
        // A terminal that is gone must not stop the work.
        let mut out = std::io::stderr().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}
