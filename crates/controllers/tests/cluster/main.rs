//! The controllers against a real API server in this process.
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod certificates;
mod custom;
mod deployments;
mod nodes;
mod policies;
mod quotas;
mod servicecidr;
mod workloads;
mod world;
