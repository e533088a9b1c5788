//! Crate `streams`.
