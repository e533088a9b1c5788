//! Crate `component`.
