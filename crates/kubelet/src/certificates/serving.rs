//! The certificate of the kubelet's server, when it comes from the cluster's authority
//! (`serverTLSBootstrap`).

use std::time::{Duration, SystemTime};

use component::pki::{Certificate, Subject};
use k8s_openapi::jiff::Timestamp;
use rand::Rng as _;
use tokio_util::sync::CancellationToken;

use super::request::{Purpose, RequestError, obtain};
use super::store::Store;
use super::{left, renewal};

/// First wait after a failure; doubles up to [`MAX_REACH`] or [`MAX_RETRY`].
const RETRY: Duration = Duration::from_millis(200);
/// Longest wait for an API server, so that one that comes up soon reaches this kubelet.
const MAX_REACH: Duration = Duration::from_secs(1);
/// Longest wait after a refusal.
const MAX_RETRY: Duration = Duration::from_secs(30);
/// Longest time without a look at the certificate: a clock may be set.
const LOOK: Duration = Duration::from_secs(600);

/// Keeps a certificate for `subject` in `store` until shutdown: asks for one when there is none,
/// or none for these names, and again before its end.
pub async fn keep(
    client: kube::Client,
    store: Store,
    subject: Subject,
    shutdown: CancellationToken,
) {
    let jitter = rand::rng().random();
    let mut pause = RETRY;
    // As with the client's first certificate, a request that is not answered yet is taken up.
    let mut key = None;
    loop {
        let rest = due(store.load().as_ref(), &subject, jitter, SystemTime::now());
        if rest > Duration::ZERO {
            tokio::select! {
                () = tokio::time::sleep(rest.min(LOOK)) => continue,
                () = shutdown.cancelled() => return,
            }
        }
        let asked = tokio::select! {
            asked = renew(&client, &store, &subject, &mut key) => asked,
            () = shutdown.cancelled() => return,
        };
        let longest = match asked {
            Ok(()) => {
                pause = RETRY;
                continue;
            }
            Err(error) => {
                tracing::warn!(%error, "no serving certificate");
                match error {
                    RequestError::Api(_) | RequestError::Watch(_) => MAX_REACH,
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
    store: &Store,
    subject: &Subject,
    pending: &mut Option<String>,
) -> Result<(), RequestError> {
    let key = match pending {
        Some(key) => key.clone(),
        None => pending.insert(component::pki::signing_key()?.0).clone(),
    };
    let asked = obtain(client, Purpose::Serving, subject, &key).await;
    if !matches!(asked, Err(RequestError::Api(_) | RequestError::Watch(_))) {
        *pending = None;
    }
    let certificate = asked?;
    match store.save(&certificate, &key, Timestamp::now()) {
        Ok(path) => tracing::info!(path = %path.display(), "serving certificate obtained"),
        Err(source) => return Err(RequestError::Save { path: store.current(), source }),
    }
    Ok(())
}

/// How long the certificate that is there will do.
fn due(held: Option<&Certificate>, subject: &Subject, jitter: f64, now: SystemTime) -> Duration {
    let Some(held) = held else { return Duration::ZERO };
    let fits = held.common_name == subject.common_name
        && subject.names.iter().all(|name| held.names.contains(name));
    if fits && held.is_valid(now) { left(renewal(held, jitter), now) } else { Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::request;

    #[test]
    fn a_new_one_is_due_when_names_change_or_life_ends() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let subject = request::subject("n", vec!["n".into(), "192.0.2.1".into()]);
        let held = Certificate {
            common_name: "system:node:n".into(),
            organizations: vec!["system:nodes".into()],
            names: vec!["192.0.2.1".into(), "n".into()],
            not_before: now,
            not_after: now + Duration::from_secs(1000),
        };
        let check = |held: Option<&Certificate>, subject: &Subject, after: u64, wanted: bool| {
            let rest = due(held, subject, 0.0, now + Duration::from_secs(after));
            assert_eq!(rest == Duration::ZERO, wanted, "{held:?} after {after} s");
        };
        check(None, &subject, 0, true);
        check(Some(&held), &subject, 0, false);
        check(Some(&held), &subject, 699, false);
        check(Some(&held), &subject, 700, true);
        check(Some(&held), &request::subject("m", subject.names.clone()), 0, true);
        check(Some(&held), &request::subject("n", vec!["192.0.2.2".into()]), 0, true);
    }
}
