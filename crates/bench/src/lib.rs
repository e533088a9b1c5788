//! Load generators: what an API server does under load, and how soon a Pod runs.
//!
//! A kubeconfig is all they need, so that one run can measure any API server. Each connection is
//! a task of its own that sends its next request when it has read the answer to the last; the
//! figures are answers per second and the time from request to the end of the answer.
//!
//! Where the server runs on the same machine, its memory and the processor time that an answer costs
//! it are shown too: rates alone depend on what the generator leaves of the machine.
//!
//! Invariants: loads are bounded in number and in time; what a run made is removed by it; errors
//! are counted and shown, never left out of a figure.

pub mod api;
pub mod connection;
pub mod pods;
pub mod processes;
pub mod report;
