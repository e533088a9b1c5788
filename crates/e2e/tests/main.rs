//! End-to-end tests: unmodified kubectl against real clusters of real containers.
//!
//! `make test` makes the cluster that most of them share, each in a namespace of its own; those
//! that break things make one for themselves.

mod chaos;
mod cluster;
mod down;
mod kubectl;
mod network;
mod nodes;
mod pods;
mod workloads;
