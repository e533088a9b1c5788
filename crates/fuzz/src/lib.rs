//! Damaged input for everything that reads bytes of strangers.
//!
//! A [`Target`] is a function of bytes with a few good inputs. [`run`] damages those inputs again
//! and again and calls the function, which panics when a property does not hold: that what was
//! decoded can be encoded and decoded to the same, that a patch leaves an object that can be
//! encoded. There is no coverage feedback; inputs that are nearly right come from the corpus and
//! from mutations that know the grammar's tokens.
//!
//! Invariants: the same seed gives the same inputs on every machine, a run is bounded by its number
//! of iterations and never by time, and a failure names what is needed to see it again.

mod corpus;
mod mutate;
mod targets;
#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};

use machinery::hex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

pub use targets::all;

/// Longest input that is made.
const MAX_LEN: usize = 1 << 16;

/// Something that reads bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Inputs to start from.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Reads an input, and panics when a property does not hold.
    pub run: fn(&[u8]),
}

/// An input that a target cannot cope with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The target.
    pub target: &'static str,
    /// The seed of the run.
    pub seed: u64,
    /// The iteration; with the seed, it gives the input again.
    pub iteration: u64,
    /// The input.
    pub input: Vec<u8>,
    /// What the panic said.
    pub message: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target, seed, iteration, input, message } = self;
        writeln!(f, "{target} fails at iteration {iteration} of seed {seed}: {message}")?;
        writeln!(f, "input: {:?}", String::from_utf8_lossy(input))?;
        write!(f, "bytes: {}", hex::digits(input))
    }
}

impl std::error::Error for Failure {}

/// Runs iterations `range` of a seed: first the corpus as it is, then damaged inputs.
///
/// # Errors
/// The first input that made the target panic.
pub fn run(target: &Target, seed: u64, range: std::ops::Range<u64>) -> Result<(), Failure> {
    let corpus = (target.corpus)();
    for iteration in range {
        let input = input(&corpus, seed, iteration);
        if let Err(message) = call(target, &input) {
            let (target, input) = (target.name, shortened(target, input));
            return Err(Failure { target, seed, iteration, input, message });
        }
    }
    Ok(())
}

/// The input of one iteration.
fn input(corpus: &[Vec<u8>], seed: u64, iteration: u64) -> Vec<u8> {
    let index = usize::try_from(iteration).unwrap_or(usize::MAX);
    if let Some(input) = corpus.get(index) {
        return input.clone();
    }
    let mut random = StdRng::seed_from_u64(seed ^ iteration.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut input = match corpus.len() {
        0 => Vec::new(),
        len => corpus[random.random_range(0..len)].clone(),
    };
    // Mostly one or two changes: what is nearly right gets furthest.
    let changes = 1 + random.random_range(0..4_u32).saturating_sub(1);
    for _ in 0..changes {
        mutate::change(&mut input, corpus, &mut random);
    }
    input.truncate(MAX_LEN);
    input
}

/// What a panic of the target says, if there is one.
fn call(target: &Target, input: &[u8]) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        text.unwrap_or("a panic without words").to_owned()
    })
}

/// The failing input without what it does not need to fail: pieces are left out, large ones first.
fn shortened(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let mut piece = input.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at + piece <= input.len() {
            let mut shorter = input.clone();
            shorter.drain(at..at + piece);
            if call(target, &shorter).is_err() {
                input = shorter;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    input
}
