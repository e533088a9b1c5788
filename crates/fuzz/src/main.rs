//! Long runs, by hand: `cargo run --release -p fuzz -- [TARGET] [--iterations N] [--seed N]`.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

const USAGE: &str = "usage: fuzz [TARGET] [--iterations N] [--seed N]";

fn main() -> ExitCode {
    let mut name = None;
    let mut iterations = 1_000_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let mut seed = now.map_or(0, |now| now.as_secs());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = match argument.as_str() {
            "--iterations" => &mut iterations,
            "--seed" => &mut seed,
            target if !target.starts_with('-') => {
                name = Some(argument);
                continue;
            }
            _ => return usage(),
        };
        match arguments.next().and_then(|value| value.parse().ok()) {
            Some(value) => *number = value,
            None => return usage(),
        }
    }
    let targets = fuzz::all();
    let wanted = |target: &&fuzz::Target| name.as_ref().is_none_or(|name| name == target.name);
    let chosen: Vec<_> = targets.iter().filter(wanted).collect();
    if chosen.is_empty() {
        return usage();
    }
    // Panics are reported with what caused them.
    std::panic::set_hook(Box::new(|_| {}));
    let mut code = ExitCode::SUCCESS;
    for target in chosen {
        match fuzz::run(target, seed, 0..iterations) {
            Ok(()) => println!("{}: {iterations} iterations of seed {seed}", target.name),
            Err(failure) => {
                println!("{failure}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}\ntargets:");
    fuzz::all().iter().for_each(|target| eprintln!("  {}", target.name));
    ExitCode::from(2)
}
