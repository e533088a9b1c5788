//! The node agent: makes the containers on this machine what the API says they should be.
//!
//! Flow: sources (API watch, static Pod files) → [`pod::manager`] keeps the set of desired Pods and
//! one worker per Pod UID → a worker looks at the runtime ([`runtime`]), plans ([`pod::plan`], pure),
//! acts through [`cri`], derives the Pod status ([`pod::status`], pure) and has it written back.
//! [`node`] keeps the Node object and its lease; [`server`] answers logs, exec and friends;
//! [`certificates`] are what both speak with.
//!
//! Invariants: everything needed to go on after a restart is in the runtime's labels and annotations
//! or in the API, never only in memory; containers that run are adopted, not restarted; decisions
//! take the clock as an argument; without an API server static Pods run all the same.

pub mod access;
pub mod certificates;
pub mod cgroup;
pub mod config;
pub mod cri;
pub mod downward;
pub mod env;
pub mod events;
pub mod eviction;
pub mod images;
pub mod logs;
pub mod node;
pub mod objects;
pub mod pod;
pub mod probe;
mod run;
pub mod runtime;
pub mod seam;
pub mod server;
pub mod static_pods;
pub mod teardown;
pub mod token;
pub mod volumes;

pub use config::{Config, KubeletConfiguration};
pub use run::{Error, run};
