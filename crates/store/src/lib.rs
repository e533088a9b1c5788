//! Revisioned bytes: the storage under the API server.
//!
//! A store maps keys to values. Every successful transaction gets the next *revision*; reads can
//! ask for the state at a revision, and a watch delivers every change from a revision on, in
//! order, without gaps. Keys may be bound to a *lease* and vanish when it runs out. Old revisions
//! go away by compaction. The store knows nothing of Kubernetes kinds.
//!
//! Data flow: caller → [`Store`] → [`Engine`] → (queue → single writer → one fsync for the whole
//! batch → acknowledgements and watchers).
//!
//! Invariants, which the contract tests check for each engine:
//! - a transaction is acknowledged only after it is durable, and is there wholly or not at all;
//! - revisions never go back, nor are they given twice, across restarts too;
//! - a watch sees each change exactly once and in order, or ends with [`Error::Compacted`].

pub mod embedded;
mod engine;
pub mod etcd;
pub mod metrics;
mod observed;
mod retention;
pub mod snapshot;
mod types;

pub use engine::{Engine, Store, WatchStream};
pub use observed::Observer;
pub use retention::{DEFAULT_INTERVAL, retain};
pub use types::{
    Alarm, Compare, Digest, Error, Event, EventKind, Expect, KeyValue, LeaseId, Member,
    MemberChange, Op, RangeRequest, RangeResult, Status, Txn, TxnResult, WatchBatch,
};
