//! API machinery without I/O: everything about Kubernetes objects that is not a server.
//!
//! One table of API facts ([`schema`]) drives decoding and encoding ([`codec`]), defaulting,
//! patches and OpenAPI ([`openapi`]). Objects are [`Value`] trees that keep the order of
//! their members; a [`schema::TypeRef`] says what a tree may look like.
//!
//! Invariants: no clock, no I/O, no randomness except as arguments, and nothing that changes once
//! [`features`] are installed; built-in and custom
//! types have the same form; every text that a client can see is worded as upstream words it.

pub mod apply;
pub mod codec;
pub mod duration;
pub mod features;
pub mod field;
pub mod gvk;
pub mod hex;
pub mod intorstr;
pub mod meta;
pub mod names;
pub mod openapi;
pub mod patch;
#[cfg(test)]
mod properties;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod status;
pub mod time;

pub use serde_json::Value;
