//! The process that holds a Pod's namespaces: waits for its end and reaps orphans, which become
//! its children where the Pod shares a process namespace.

use std::process::ExitCode;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

/// Waits until the runtime ends the Pod.
pub(crate) fn run() -> ExitCode {
    let signals: SigSet = [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
    if let Err(error) = signals.thread_block() {
        eprintln!("pause: blocking signals: {error}");
        return ExitCode::FAILURE;
    }
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => reap(),
            Ok(_) => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("pause: waiting for signals: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}

fn reap() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}
