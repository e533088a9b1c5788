//! Crate `scheduler`.
