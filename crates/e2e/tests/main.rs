//! End-to-end tests: unmodified kubectl against real clusters of real containers.
//!
//! `make test` makes the cluster that most of them share, each in a namespace of its own; those
//! that break things make one for themselves.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod apply;
mod certs;
mod chaos;
mod clients;
mod cluster;
mod control_planes;
mod custom;
mod down;
mod drills;
mod hosts;
mod images;
mod kubectl;
mod library;
mod network;
mod nodes;
mod pods;
mod power;
mod resize;
mod snapshots;
mod streams;
mod webhooks;
mod workloads;
