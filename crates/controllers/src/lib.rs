//! Crate `controllers`.
