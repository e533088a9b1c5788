//! Pods: desired state in, running containers and reported status out.
//!
//! Pure: [`plan`] (what to do next), [`termination`] (in which order to stop), [`status`],
//! [`conditions`] and [`phase`] (what to report), [`backoff`], [`admission`], most of [`resize`].
//! Acting: [`manager`] (which Pods, one worker each), `worker` (look, plan, act, report),
//! `executor`/`lifecycle` (calls to the runtime), [`reporter`] (writes to the API).

pub mod admission;
pub mod backoff;
pub mod conditions;
pub mod context;
mod executor;
mod lifecycle;
pub mod manager;
pub mod phase;
pub mod plan;
pub mod relist;
pub mod reporter;
pub mod resize;
pub mod spec;
pub mod status;
mod status_patch;
pub mod sysctls;
pub mod termination;
pub mod worker;
