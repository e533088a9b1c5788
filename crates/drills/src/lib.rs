//! Drills: what an administrator does to a cluster, or what happens to it, and what must then be
//! seen.
//!
//! Data flow: [`Drill`] is one entry of the [`catalogue`] → [`run`](run()) chooses, and finds or
//! makes a cluster ([`ground`]) → each drill plays on a [`stage`]: it *does* something (through the
//! API, or with the very commands that a user would type) and *sees* something (in a [`view`] that
//! informers keep, judged by [`sight`]) → every step goes to the [`timeline`] → what the drill broke
//! is mended, and the cluster is looked over ([`wholeness`]) before the next one.
//!
//! Invariants: a drill sees only what `kubectl get` and `kubectl describe` show; it waits for
//! conditions with a deadline, and lets time pass only to show that nothing happens; whatever its
//! end, Ctrl-C included, what it broke is mended and its namespace is removed.

pub mod catalogue;
mod drill;
mod failure;
mod ground;
mod load;
pub mod report;
mod run;
mod sight;
mod stage;
mod timeline;
mod view;
mod wholeness;
mod workload;

pub use drill::{Condition, Drill, Needs};
pub use failure::Error;
pub use run::{Format, Request, run};
