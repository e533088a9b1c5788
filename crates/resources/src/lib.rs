//! Crate `resources`.
