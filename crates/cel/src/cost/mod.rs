//! What expressions cost: estimated from declared sizes before any runs, counted while one runs.
//!
//! Both follow upstream's tables, because the limits on them decide which rules may be written.

mod actual;
mod estimate;
mod functions;
mod range;

pub(crate) use actual::of_call;
pub(crate) use estimate::estimate;
pub use range::Range;

/// A name or a selection.
pub(crate) const NAME: u64 = 1;
/// Making a list.
pub(crate) const CREATE_LIST: u64 = 10;
/// Making a map.
pub(crate) const CREATE_MAP: u64 = 30;
/// Making a message.
pub(crate) const CREATE_MESSAGE: u64 = 40;
/// Going through one character.
const TRAVERSAL: f64 = 0.1;
/// One character of a regular expression.
const REGEX: f64 = 0.25;
/// One authorization check; two fit into the limit of an expression.
const CHECK: u64 = 350_000;
