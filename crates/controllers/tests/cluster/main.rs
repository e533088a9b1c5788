//! The controllers against a real API server in this process.

mod deployments;
mod nodes;
mod world;
