//! From a kubeconfig file or the Pod environment to a [`kube::Client`].

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use thiserror::Error;

use crate::transport::{self, Bearer};

/// Wait after a token could not be renewed.
const RENEW_RETRY: Duration = Duration::from_secs(10);

/// Where the API server is found and who asks.
#[derive(Debug, Clone, Default)]
pub struct ConnectOptions {
    /// Path of a kubeconfig file; without it the service account of the Pod is used.
    pub kubeconfig: Option<PathBuf>,
    /// Sent as `User-Agent`; empty means `ironclad`.
    pub user_agent: String,
}

/// Why no client could be made. Nothing is sent to the server by connecting.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The kubeconfig file cannot be read or does not name a usable cluster and user.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a kubeconfig was given nor is this a Pod with a service account.
    #[error("in-cluster configuration: {0}")]
    InCluster(#[from] kube::config::InClusterError),
    /// Certificates, keys or addresses of the configuration are unusable.
    #[error("client configuration: {0}")]
    Config(#[source] Box<kube::Error>),
    /// There is no token to act with.
    #[error("token: {0}")]
    Token(#[source] Box<kube::Error>),
    /// The user agent is not a valid header value.
    #[error("user agent {0:?} is not a valid header value")]
    UserAgent(String),
}

/// Makes a client from a kubeconfig file, or from the Pod's service account without one.
///
/// # Errors
/// See [`ConnectError`]; an API server that is down is not an error here.
pub async fn connect(options: &ConnectOptions) -> Result<kube::Client, ConnectError> {
    connect_with(load(options).await?, &options.user_agent)
}

async fn load(options: &ConnectOptions) -> Result<kube::Config, ConnectError> {
    Ok(match &options.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::incluster()?,
    })
}

/// Makes a client from a configuration that the caller has prepared.
///
/// # Errors
/// [`ConnectError::Config`] or [`ConnectError::UserAgent`].
pub fn connect_with(config: kube::Config, user_agent: &str) -> Result<kube::Client, ConnectError> {
    connect_bearer(config, user_agent, None)
}

fn connect_bearer(
    mut config: kube::Config,
    user_agent: &str,
    bearer: Option<Bearer>,
) -> Result<kube::Client, ConnectError> {
    let agent = if user_agent.is_empty() { "ironclad" } else { user_agent };
    let value =
        HeaderValue::from_str(agent).map_err(|_| ConnectError::UserAgent(agent.to_owned()))?;
    config.headers.push((USER_AGENT, value));
    config.connect_timeout = Some(Duration::from_secs(5));
    transport::client(&config, bearer).map_err(|error| ConnectError::Config(Box::new(error)))
}

/// Makes a client that speaks to the same server as `options` names, but with a bearer token
/// instead of the kubeconfig's own credentials. `source` gives a token and the time after which
/// it is asked for the next one; that goes on until the client is dropped.
///
/// # Errors
/// As [`connect`], and [`ConnectError::Token`] when there is no first token.
pub async fn connect_as<F, R>(
    options: &ConnectOptions,
    source: F,
) -> Result<kube::Client, ConnectError>
where
    F: Fn() -> R + Send + 'static,
    R: Future<Output = Result<(String, Duration), kube::Error>> + Send,
{
    let mut config = load(options).await?;
    config.auth_info = kube::config::AuthInfo::default();
    let no_token = |error: kube::Error| ConnectError::Token(Box::new(error));
    let (token, mut valid) = source().await.map_err(no_token)?;
    let bearer = Bearer::new(&token);
    let client = connect_bearer(config, &options.user_agent, Some(bearer.clone()))?;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(valid.max(RENEW_RETRY)).await;
            if bearer.is_unused() {
                return;
            }
            valid = match source().await {
                Ok((token, valid)) => {
                    bearer.set(&token);
                    valid
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot renew a token");
                    RENEW_RETRY
                }
            };
        }
    });
    Ok(client)
}
