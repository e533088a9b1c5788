//! As whom each controller acts.
//!
//! With `--use-service-account-credentials` every controller has a service account of its own in
//! `kube-system`, whose rights the server's default roles `system:controller:*` limit to what
//! the controller needs. Tokens are requested from the server and renewed before they expire.

use std::sync::Arc;
use std::time::Duration;

use client::{Api, Client, ConnectOptions};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::error::{is_already_exists, is_not_found};

const NAMESPACE: &str = "kube-system";
/// Upstream asks for an hour as well.
const LIFETIME_SECONDS: i64 = 3600;

/// Gives out clients.
#[derive(Clone)]
pub(crate) struct Credentials {
    shared: Client,
    options: ConnectOptions,
    own_accounts: bool,
    shutdown: CancellationToken,
}

impl Credentials {
    pub(crate) fn new(
        shared: Client,
        options: ConnectOptions,
        config: &Config,
        shutdown: &CancellationToken,
    ) -> Self {
        Self {
            shared,
            options,
            own_accounts: config.use_service_account_credentials,
            shutdown: shutdown.clone(),
        }
    }

    /// The client of a controller; `None` when shutdown came first.
    pub(crate) async fn client(&self, account: &str) -> Option<Client> {
        if !self.own_accounts {
            return Some(self.shared.clone());
        }
        let source = Arc::new(Source { shared: self.shared.clone(), account: account.to_owned() });
        loop {
            let made = client::connect_as(&self.options, {
                let source = Arc::clone(&source);
                move || Arc::clone(&source).token()
            })
            .await;
            match made {
                Ok(client) => return Some(client),
                Err(error) => tracing::warn!(account, %error, "no credentials yet"),
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        }
    }
}

/// Where the tokens of one account come from.
struct Source {
    shared: Client,
    account: String,
}

impl Source {
    /// A fresh token and the time until it should be replaced.
    async fn token(self: Arc<Self>) -> Result<(String, Duration), kube::Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.shared.clone(), NAMESPACE);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(LIFETIME_SECONDS),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let mut answer = accounts.create_token_request(&self.account, &params, &request).await;
        if answer.as_ref().err().is_some_and(is_not_found) {
            let account = ServiceAccount {
                metadata: ObjectMeta {
                    name: Some(self.account.clone()),
                    namespace: Some(NAMESPACE.to_owned()),
                    ..ObjectMeta::default()
                },
                ..ServiceAccount::default()
            };
            match accounts.create(&params, &account).await {
                Ok(_) => {}
                Err(error) if is_already_exists(&error) => {}
                Err(error) => return Err(error),
            }
            answer = accounts.create_token_request(&self.account, &params, &request).await;
        }
        let status = answer?.status.unwrap_or_default();
        let left = status.expiration_timestamp.map(|at| at.0.duration_since(Timestamp::now()));
        let left = left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default();
        // Two thirds of its life, so that one failed renewal does no harm.
        Ok((status.token.unwrap_or_default(), left.mul_f64(0.66)))
    }
}
