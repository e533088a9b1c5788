//! What every process of Ironclad needs besides its own work: a TLS server, health and metrics
//! endpoints, logging, signals and certificates. The counterpart of upstream's component-base.
//!
//! Flow: a binary calls [`logging::init`] and [`signal::shutdown_token`], then a component runs
//! until that token is cancelled; its endpoints are an [`ops::OpsServer`] over [`serve::serve`].
//!
//! Invariants: one TLS stack (rustls with ring), one metrics registry per process, and every
//! server drains before it returns.

pub mod authorities;
pub mod bootstrap_token;
pub mod clock;
pub mod errors;
pub mod followed;
pub mod health;
pub mod logging;
pub mod metrics;
pub mod ops;
pub mod pki;
pub mod serve;
pub mod signal;
pub mod tls;
pub mod version;
pub mod watched;
