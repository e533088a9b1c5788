//! The Node object: registration, status, lease; and whether the runtime is up.

pub mod facts;
pub mod lease;
pub mod logind;
pub mod registration;
pub mod runtime_state;
pub mod shutdown;
pub mod status;
