//! The kubelet's own certificates, asked for through CertificateSigningRequests:
//! <https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/>.
//!
//! Data flow: [`store`] keeps each certificate with its key in one file → [`request`] asks the API
//! server for the next one → [`bootstrap`] gets the first client certificate with a bootstrap
//! token, [`serving`] keeps that of the server good. Who uses a certificate reads the file that
//! [`store`] points at, and reads it again when it changes.
//!
//! Invariants: a key leaves this machine never; what is in the store was issued for the key beside
//! it; a request survives a restart of the kubelet together with its key.

pub mod bootstrap;
pub mod request;
pub mod serving;
pub mod store;

use std::time::{Duration, SystemTime};

use component::pki::Certificate;

/// When a certificate is to be replaced: after 70 to 90 % of its life, as upstream's are, by
/// `jitter` (from 0 to 1), so that nodes that joined together do not ask together.
#[must_use]
pub fn renewal(certificate: &Certificate, jitter: f64) -> SystemTime {
    let share = 0.7 + 0.2 * jitter.clamp(0.0, 1.0);
    certificate.not_before + certificate.lifetime().mul_f64(share)
}

/// How long from `now` until `due`; nothing if that has passed.
fn left(due: SystemTime, now: SystemTime) -> Duration {
    due.duration_since(now).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_comes_late_in_life_but_before_its_end() {
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let certificate = Certificate {
            common_name: String::new(),
            organizations: Vec::new(),
            names: Vec::new(),
            not_before: start,
            not_after: start + Duration::from_secs(1000),
        };
        for (jitter, wanted) in [(0.0, 700), (0.5, 800), (1.0, 900), (7.0, 900)] {
            let due = renewal(&certificate, jitter);
            let after = due.duration_since(start).unwrap().as_secs_f64();
            assert!((after - f64::from(wanted)).abs() < 0.001, "{after} for {jitter}");
        }
        assert_eq!(left(start, start + Duration::from_secs(1)), Duration::ZERO);
    }
}
