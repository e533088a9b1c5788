//! Crate `dns`.
