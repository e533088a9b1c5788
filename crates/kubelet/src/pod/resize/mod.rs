//! Changing what the containers of a running Pod get, where possible without restarting them
//! (KEP-1287, KEP-5419),
//! <https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>.
//!
//! desired (`spec`) → allocated (granted by this node) → actuated (told to the runtime) → actual
//! (what the runtime says it enforces, in `status`).
//!
//! Pure: [`resources`] (the amounts), [`admission`] (may it be granted), [`order`] (who is asked
//! first), [`plan`] (in which steps it is carried out), [`conditions`], [`messages`] and [`actual`]
//! (what is told of it). Acting: [`ledger`] (what was granted and actuated, kept on disk),
//! [`review`] (grants), `actuate` (steps). Pods are started, counted and described by what they
//! were allocated, never by what they wish for.

pub mod actual;
mod actuate;
pub mod admission;
mod checkpoint;
pub mod conditions;
pub mod ledger;
pub mod messages;
pub mod metrics;
pub mod order;
pub mod plan;
pub mod resources;
pub mod review;

pub use checkpoint::CheckpointError;

pub(super) use actuate::actuate;
