//! Keeps the kubelet's certificates good: the client's (`rotateCertificates`), and the server's when
//! it comes from the cluster's authority (`serverTLSBootstrap`). The old one stays in use until the
//! next one is there.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use component::followed::Followed;
use component::pki::{Certificate, Subject};
use k8s_openapi::jiff::Timestamp;
use rand::Rng as _;
use tokio_util::sync::CancellationToken;

use super::left;
use super::request::{Purpose, RequestError, obtain};
use super::store::Store;

/// First wait after a failure; doubles up to [`MAX_REACH`] or [`MAX_RETRY`].
const RETRY: Duration = Duration::from_millis(200);
/// Longest wait for an API server, so that one that comes up soon reaches this kubelet.
const MAX_REACH: Duration = Duration::from_secs(1);
/// Longest wait after a refusal, and between two certificates.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Longest time without a look at the certificate: a clock may be set.
const LOOK: Duration = Duration::from_secs(60);

/// One certificate that is kept good.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What it is for.
    pub purpose: Purpose,
    /// Where it is.
    pub store: Store,
    /// What it says.
    pub subject: Subject,
    /// A file with the authorities of the cluster, the one that signs first.
    pub authorities: Option<PathBuf>,
}

/// Keeps a certificate until shutdown: asks for one when there is none, or none for these names, or
/// none by the authority that signs now, and again before its end.
pub async fn keep(client: kube::Client, kept: Kept, shutdown: CancellationToken) {
    let jitter = rand::rng().random();
    let mut pause = RETRY;
    // As with the client's first certificate, a request that is not answered yet is taken up.
    let mut key = None;
    // Another authority may sign from now on.
    let mut authorities = Followed::new(kept.authorities.clone().into_iter().collect());
    authorities.see();
    loop {
        let rest = kept.due(jitter, SystemTime::now());
        if rest > Duration::ZERO {
            tokio::select! {
                () = tokio::time::sleep(rest.min(LOOK)) => continue,
                _ = authorities.next() => continue,
                () = shutdown.cancelled() => return,
            }
        }
        let asked = tokio::select! {
            asked = renew(&client, &kept, &mut key) => asked,
            () = shutdown.cancelled() => return,
        };
        let longest = match asked {
            Ok(()) if kept.due(jitter, SystemTime::now()) > Duration::ZERO => {
                pause = RETRY;
                continue;
            }
            // As good as none: too short a life, or by the authority of before.
            Ok(()) => MAX_RETRY,
            Err(error) => {
                tracing::warn!(purpose = ?kept.purpose, %error, "no new certificate");
                match error {
                    RequestError::Api(_) => MAX_REACH,
                    _ => MAX_RETRY,
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
        pause = (pause * 2).min(longest);
    }
}

async fn renew(
    client: &kube::Client,
    kept: &Kept,
    pending: &mut Option<String>,
) -> Result<(), RequestError> {
    let key = match pending {
        Some(key) => key.clone(),
        None => pending.insert(component::pki::signing_key()?.0).clone(),
    };
    let asked = obtain(client, kept.purpose, &kept.subject, &key).await;
    if !matches!(asked, Err(RequestError::Api(_))) {
        *pending = None;
    }
    let certificate = asked?;
    let store = &kept.store;
    match store.save(&certificate, &key, Timestamp::now()) {
        Ok(path) => {
            tracing::info!(purpose = ?kept.purpose, path = %path.display(), "certificate obtained");
        }
        Err(source) => return Err(RequestError::Save { path: store.current(), source }),
    }
    Ok(())
}

// === impl Kept ===

impl Kept {
    /// How long from `now` the certificate that is there will do.
    fn due(&self, jitter: f64, now: SystemTime) -> Duration {
        let authorities = self.authorities.as_ref().and_then(|path| std::fs::read(path).ok());
        let authorities: Vec<_> = Certificate::all(&authorities.unwrap_or_default()).collect();
        due(self.store.load().as_ref(), &self.subject, &authorities, jitter, now)
    }
}

/// How long the certificate that is there will do.
fn due(
    held: Option<&Certificate>,
    subject: &Subject,
    authorities: &[Certificate],
    jitter: f64,
    now: SystemTime,
) -> Duration {
    let Some(held) = held else { return Duration::ZERO };
    let fits = held.common_name == subject.common_name
        && subject.names.iter().all(|name| held.names.contains(name));
    if fits && held.is_valid(now) && !is_superseded(held, authorities) {
        left(held.renewal(jitter), now)
    } else {
        Duration::ZERO
    }
}

/// Whether the authority that issued `held` is being replaced by a younger one, which signs already.
fn is_superseded(held: &Certificate, authorities: &[Certificate]) -> bool {
    let Some((first, others)) = authorities.split_first() else { return false };
    !held.is_issued_by(first)
        && others.iter().any(|old| old.not_before <= first.not_before && held.is_issued_by(old))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::request;
    use component::pki::Authority;

    fn parse(pem: &str) -> Certificate {
        Certificate::parse(pem.as_bytes()).unwrap()
    }

    #[test]
    fn a_new_one_is_due_when_names_change_or_life_ends_or_another_authority_signs() {
        let subject = request::subject("n", vec!["n".into(), "192.0.2.1".into()]);
        let [old, new] = ["ca", "ca"].map(|name| Authority::generate(name).unwrap());
        let pair = old.issue(&subject, Duration::from_secs(10_000)).unwrap();
        let held = parse(&pair.certificate);
        let [old, new] = [old, new].map(|authority| parse(authority.certificate()));
        let check = |held: Option<&Certificate>,
                     subject: &Subject,
                     authorities: &[&Certificate],
                     share: f64,
                     wanted: bool| {
            let now = held
                .map_or(SystemTime::now(), |held| held.not_before + held.lifetime().mul_f64(share));
            let authorities: Vec<_> = authorities.iter().map(|&one| one.clone()).collect();
            let rest = due(held, subject, &authorities, 0.0, now);
            assert_eq!(rest == Duration::ZERO, wanted, "{held:?} after {share} of its life");
        };
        check(None, &subject, &[], 0.0, true);
        check(Some(&held), &subject, &[], 0.0, false);
        check(Some(&held), &subject, &[&old], 0.69, false);
        check(Some(&held), &subject, &[&old], 0.71, true);
        check(Some(&held), &request::subject("m", subject.names.clone()), &[], 0.1, true);
        check(Some(&held), &request::subject("n", vec!["192.0.2.2".into()]), &[], 0.1, true);
        check(Some(&held), &subject, &[&old, &new], 0.1, false);
        check(Some(&held), &subject, &[&new, &old], 0.1, true);
        // Whoever signs in a cluster that knows nothing of its issuer, it is not this rule's affair.
        check(Some(&held), &subject, &[&new], 0.1, false);
    }
}
