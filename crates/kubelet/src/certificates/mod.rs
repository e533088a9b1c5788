//! The kubelet's own certificates, asked for through CertificateSigningRequests:
//! <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/>.
//!
//! Data flow: [`store`] keeps each certificate with its key in one file → [`request`] asks the API
//! server for the next one → [`bootstrap`] gets the first client certificate with a bootstrap
//! token, [`rotation`] keeps it and that of the server good, [`authorities`] follows those of the
//! cluster. Who uses a certificate reads the file that [`store`] points at, and reads it again when
//! it changes.
//!
//! Invariants: a key leaves this machine never; what is in the store was issued for the key beside
//! it; a request survives a restart of the kubelet together with its key.

pub mod authorities;
pub mod bootstrap;
pub mod request;
pub mod rotation;
pub mod store;

use std::time::{Duration, SystemTime};

/// How long from `now` until `due`; nothing if that has passed.
fn left(due: SystemTime, now: SystemTime) -> Duration {
    due.duration_since(now).unwrap_or_default()
}
