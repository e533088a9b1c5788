//! Load generators: what an API server does under load, and how soon a Pod runs.
//!
//! A kubeconfig is all they need, so that one run can measure any API server. Each connection is
//! a task of its own that sends its next request when it has read the answer to the last; the
//! figures are answers per second and the time from request to the end of the answer.
//!
//! Invariants: loads are bounded in number and in time; what a run made is removed by it; errors
//! are counted and shown, never left out of a figure.

pub mod api;
pub mod connection;
pub mod memory;
pub mod pods;
pub mod report;
