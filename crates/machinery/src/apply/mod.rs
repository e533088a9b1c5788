//! Server-side apply and managed fields.
//!
//! Every write leaves in the object who owns which of its fields ([`update`]); an apply changes
//! only what its manager says and takes away what it no longer says, unless somebody else owns it
//! ([`apply`]). Sets of fields ([`Set`]) come from walking values along their types; how a type
//! merges is decided in one place (`node`).
//!
//! Everything is pure: the time and conversions between versions are arguments.

mod atomics;
mod check;
mod compare;
mod conflict;
mod create;
mod element;
mod entry;
mod fields;
mod fields_v1;
mod last_applied;
mod manager;
mod merge;
mod node;
mod reset;
pub mod scale;
mod set;
#[cfg(test)]
mod tests;
mod validate;

pub use atomics::atomics;
pub use check::check_entries;
pub use compare::{Comparison, compare};
pub use conflict::{Conflict, Conflicts};
pub use element::{Element, ElementError};
pub use entry::{Entry, EntryError, Managed, Manager, Operation, same_but_times};
pub use fields::fields_of;
pub use fields_v1::{FieldsError, decode as decode_fields, encode as encode_fields};
pub use manager::{ConvertError, Error, Request, Versions, apply, put, take, update};
pub use merge::{merge, without};
pub use node::Place;
pub use reset::{Reset, Step};
pub use set::{Path, Set};
pub use validate::{Misfits, validate};
