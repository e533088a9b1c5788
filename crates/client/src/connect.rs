//! From a kubeconfig file or the Pod environment to a [`kube::Client`].

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use thiserror::Error;

use crate::transport;

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
    /// The user agent is not a valid header value.
    #[error("user agent {0:?} is not a valid header value")]
    UserAgent(String),
}

/// Makes a client from a kubeconfig file, or from the Pod's service account without one.
///
/// # Errors
/// See [`ConnectError`]; an API server that is down is not an error here.
pub async fn connect(options: &ConnectOptions) -> Result<kube::Client, ConnectError> {
    let config = match &options.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::incluster()?,
    };
    connect_with(config, &options.user_agent)
}

/// Makes a client from a configuration that the caller has prepared.
///
/// # Errors
/// [`ConnectError::Config`] or [`ConnectError::UserAgent`].
pub fn connect_with(mut config: kube::Config, user_agent: &str) -> Result<kube::Client, ConnectError> {
    let agent = if user_agent.is_empty() { "ironclad" } else { user_agent };
    let value = HeaderValue::from_str(agent)
        .map_err(|_| ConnectError::UserAgent(agent.to_owned()))?;
    config.headers.push((USER_AGENT, value));
    config.connect_timeout = Some(Duration::from_secs(5));
    transport::client(&config).map_err(|error| ConnectError::Config(Box::new(error)))
}

/// Makes a client that speaks to the same server as `options` but as the bearer of `token_file`,
/// without the client certificate of the kubeconfig.
///
/// # Errors
/// As [`connect`].
pub async fn service_account_client(
    options: &ConnectOptions,
    token: String,
) -> Result<kube::Client, ConnectError> {
    let mut config = match &options.kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::incluster()?,
    };
    config.auth_info = kube::config::AuthInfo { token: Some(token.into()), ..Default::default() };
    connect_with(config, &options.user_agent)
}
