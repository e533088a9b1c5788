//! One node: its files, its namespaces and its first process.

pub mod cgroups;
pub mod containerd;
pub mod control;
pub(crate) mod disk;
pub mod files;
pub mod init;
pub mod mounts;
pub mod namespaces;
pub mod services;
