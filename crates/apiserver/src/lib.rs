//! Crate `apiserver`.
