//! Keys and certificates that are replaced while the server runs, besides those of its own listener:
//! what the files of the configuration hold is taken over as soon as it is whole. Upstream reads
//! the keys of service accounts once; here they can be rotated without a restart.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use component::followed::Followed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::aggregation;
use crate::authn::jwt::{Signer, Verifier};
use crate::authn::service_account::Keys;
use crate::bootstrap;
use crate::config::Config;
use crate::server::{Api, Error, read};

/// The keys of service-account tokens that the configuration names.
///
/// # Errors
/// When a file cannot be read or holds no key.
pub(crate) fn service_account_keys(config: &Config) -> Result<Keys, Error> {
    let signer = Signer::from_pem(&read(&config.service_account_signing_key)?)?;
    let mut trusted = Vec::new();
    for path in &config.service_account_keys {
        trusted.extend(Verifier::from_pem(&read(path)?)?);
    }
    Ok(Keys::new(signer, trusted))
}

/// Follows the files until shutdown.
pub(crate) fn follow(api: &Arc<Api>, (tasks, shutdown): (&TaskTracker, &CancellationToken)) {
    let config = &api.config;
    let mut keys = config.service_account_keys.clone();
    keys.push(config.service_account_signing_key.clone());
    let own = api.clone();
    tasks.spawn(on_change(keys, shutdown.clone(), move || {
        let own = own.clone();
        async move {
            match service_account_keys(&own.config) {
                Ok(keys) => own.service_accounts.replace_keys(keys),
                Err(error) => tracing::warn!(%error, "service account keys are left as they were"),
            }
        }
    }));

    let kubelets = [
        &config.kubelet_client_certificate,
        &config.kubelet_client_key,
        &config.kubelet_certificate_authority,
    ];
    let kubelets: Vec<PathBuf> = kubelets.into_iter().flatten().cloned().collect();
    let own = api.clone();
    if !kubelets.is_empty() {
        tasks.spawn(on_change(kubelets, shutdown.clone(), move || {
            if let Err(error) = own.kubelets.reload(&own.config) {
                tracing::warn!(%error, "certificates for kubelets are left as they were");
            }
            std::future::ready(())
        }));
    }

    let proxy = aggregation::files(config);
    let own = api.clone();
    if !proxy.is_empty() {
        tasks.spawn(on_change(proxy, shutdown.clone(), move || {
            if let Err(error) = own.aggregation.reload(&own.config) {
                tracing::warn!(%error, "the certificate for API services is left as it was");
            }
            std::future::ready(())
        }));
    }

    let authorities =
        std::iter::once(config.client_ca.clone()).chain(config.front_proxy_ca.clone());
    let own = api.clone();
    tasks.spawn(on_change(authorities.collect(), shutdown.clone(), move || {
        let own = own.clone();
        async move {
            if let Err(error) = bootstrap::publish_authentication(&own).await {
                tracing::warn!(message = error.message, "client authorities are not published");
            }
        }
    }));
}

/// Does `work` now, in case the files have changed since they were read, and at every change.
async fn on_change<W: Future<Output = ()>>(
    files: Vec<PathBuf>,
    shutdown: CancellationToken,
    work: impl Fn() -> W,
) {
    let mut files = Followed::new(files);
    loop {
        tokio::select! {
            _ = files.next() => {}
            () = shutdown.cancelled() => return,
        }
        work().await;
    }
}
