//! Custom resources: what a CustomResourceDefinition makes of the API server.
//!
//! Data flow: a definition → [`plan`] says which of its names hold, whether it is established and
//! when it is cleaned up → [`definition::Definition`] reads it → one
//! [`resources::Registration`] per served version, whose type is compiled from the version's
//! schema ([`structural`], [`compile`]) and whose strategy prunes, defaults and validates by it.
//! [`openapi`] makes the published form of the same schema.
//!
//! Invariants: everything is a pure function of definitions and objects; custom objects go
//! through the same pipeline as built-in ones; texts of errors are upstream's.

pub mod check;
pub mod columns;
pub mod compile;
pub mod default;
pub mod definition;
mod embedded;
mod format;
pub mod jsonpath;
mod lists;
pub mod openapi;
pub mod pattern;
pub mod plan;
mod scale;
pub mod strategy;
pub mod structural;
pub mod validate;

pub use definition::Definition;
pub use structural::Structural;
