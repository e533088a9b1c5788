//! The node agent: makes the containers on this machine what the API says they should be.
//!
//! Flow: sources (API watch, static Pod files) → [`pod::manager`] keeps the set of desired Pods and
//! one worker per Pod UID → a worker looks at the runtime ([`runtime`]), plans ([`pod::plan`], pure),
//! acts through [`cri`], derives the Pod status ([`pod::status`], pure) and has it written back.
//! [`node`] keeps the Node object and its lease; [`server`] answers logs, exec and friends.
//!
//! Invariants: everything needed to go on after a restart is in the runtime's labels and annotations
//! or in the API, never only in memory; containers that run are adopted, not restarted; decisions
//! take the clock as an argument; without an API server static Pods run all the same.

pub mod cri;
pub mod events;
pub mod runtime;
pub mod seam;
