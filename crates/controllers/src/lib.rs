//! The controller manager: what turns desired state into objects.
//!
//! ```text
//! API server ─watch─▶ shared informers ─events─▶ work queue of each controller
//!                                                     │ key
//!      API server ◀─writes─ thin executor ◀─plan─ pure planner over the informers' copies
//! ```
//!
//! Invariants: a key is the only input of a reconciliation; planners have no clock, no I/O and
//! no randomness except as arguments; planning on the result of a plan gives an empty plan;
//! only the holder of the lease `kube-system/kube-controller-manager` acts.

mod bootstrap;
mod certificates;
mod claim;
mod clusterrole;
mod config;
mod context;
mod credentials;
mod cronjob;
mod daemonset;
mod deployment;
mod discovery;
mod disruption;
mod endpoints;
mod endpointslice;
mod endpointslicemirroring;
mod error;
mod garbage;
mod history;
mod informers;
mod job;
mod manager;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod object;
mod pod_control;
mod podgc;
mod pods;
mod policystatus;
mod protection;
mod replicaset;
mod resourcequota;
mod revisions;
mod rootca;
mod scheduling;
mod selector;
mod serviceaccount;
mod servicecidr;
mod slow_start;
mod statefulset;
mod template;

pub use config::Config;
pub use manager::{Error, run};
pub use nodeipam::plan::InvalidCidr;
