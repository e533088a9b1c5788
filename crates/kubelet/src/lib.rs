//! Crate `kubelet`.
