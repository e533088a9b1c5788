//! Crate `machinery`.
