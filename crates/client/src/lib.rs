//! How every Ironclad component reaches the API server.
//!
//! ```text
//! kubeconfig | in-cluster ─▶ connect ─▶ kube::Client ─▶ Informer ─▶ handlers ─▶ WorkQueue ─▶ run_workers
//!                                            │                                                  │
//!                                            └── EventRecorder, LeaderElector ◀── reconcile ◀───┘
//! ```
//!
//! Invariants: there is one informer, one work queue, one leader election and one event
//! recorder in the project, and they are here; an informer's store is updated before its
//! handlers run; a key is never worked on by two workers at once; nothing in this crate needs
//! to survive a restart.

mod connect;
mod events;
mod expectations;
mod feed;
mod informer;
pub mod leader;
mod queue;
mod retry;
mod transport;
mod watch;
mod workers;

pub use connect::{ConnectError, ConnectOptions, connect, connect_as, connect_with};
pub use events::{EventRecorder, EventType};
pub use expectations::Expectations;
pub use feed::{Feed, Found};
pub use informer::{Event, Informer, InformerBuilder};
pub use leader::{LeaderConfig, LeaderElector};
pub use queue::WorkQueue;
pub use watch::wait_for;
pub use workers::{Action, run_workers};

pub use k8s_openapi;
pub use kube::{Api, Client, Error, Resource, ResourceExt, api, core};
