//! `ironclad`: every component of Kubernetes, and the commands that make clusters of them.
//!
//! Argument parsing and composition only: each subcommand turns its flags into the configuration
//! of one crate and runs it.

#[macro_use]
mod output;

mod clock;
mod commands;
mod memory;
mod pause;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Thousands of Pods have this process: nothing is set up for it.
    if std::env::args_os().nth(1).is_some_and(|command| command == "pause") {
        return pause::run();
    }
    commands::run()
}
