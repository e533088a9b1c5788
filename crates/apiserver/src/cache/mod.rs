//! The watch cache: all objects of all resources in memory, fed by one watch on the store.
//!
//! Data flow: store → [`Dispatcher`] → per stored resource a [`Cache`] (ordered map, recent
//! changes, watchers) → lists and watches. An object is kept as the bytes that go over the wire,
//! plus where in them its labels and selectable fields are; nothing is parsed to answer a read.
//! What is made of objects for many readers (their part of lists, binary forms, other versions) is
//! kept only while it is asked for, and within a budget.
//!
//! Invariants: a cache shows the store's state at one revision exactly; a read never waits for a
//! slow watcher; a change is encoded once for all watchers.

mod budget;
mod chunk;
mod dispatch;
mod encoded;
mod index;
mod items;
mod join;
mod list;
mod list_cbor;
mod list_protobuf;
mod mark;
mod object;
mod ordered;
mod presentation;
mod ring;
mod scan;
mod state;
mod subscribers;
mod watch;
mod watcher;

pub use dispatch::Dispatcher;
pub use dispatch::ROOT;
pub use items::Items;
pub use list::{List, ListBody, Selection};
pub use list_cbor::CborListBody;
pub use list_protobuf::ProtobufListBody;
pub use object::{FieldSet, Object};
pub use ordered::Snapshot;
pub use presentation::Presentation;
pub(crate) use state::Counts;
pub use state::{Cache, Exact, Start};
pub use watch::{EventType, WatchItem};
pub(crate) use watch::{value_frame, value_item};
pub(crate) use watcher::Manner;
pub use watcher::Watcher;

#[cfg(test)]
mod tests;
