//! From a kubeconfig file or the Pod environment to a [`kube::Client`].
//!
//! A client lives long, certificates do not: it follows the kubeconfig and the files that this names
//! (or the authorities of the Pod), and shows and trusts what is in them for every connection from
//! then on. Upstream's clients do so for files that a kubeconfig names.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use component::clock;
use component::followed::Followed;
use http::HeaderValue;
use http::header::USER_AGENT;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use thiserror::Error;

use crate::transport::{self, Bearer, Renewal};

/// Wait after a token could not be renewed.
const RENEW_RETRY: Duration = Duration::from_secs(10);
/// For one attempt to reach the API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The authorities that a Pod trusts.
const POD_AUTHORITIES: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

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
    let source = Source { kubeconfig: options.kubeconfig.clone(), anonymous: false };
    let (config, followed) = source.load().await?;
    let (client, renewal) = connect_bearer(config, &options.user_agent, None)?;
    tokio::spawn(follow(source, followed, renewal));
    Ok(client)
}

/// Where the configuration of a client comes from.
struct Source {
    kubeconfig: Option<PathBuf>,
    /// Whether the credentials in it are left out.
    anonymous: bool,
}

impl Source {
    /// The configuration, and the files that it is made of.
    async fn load(&self) -> Result<(kube::Config, Followed), ConnectError> {
        // Seen before they are read in earnest: what changes in between is noticed.
        let mut followed = Followed::new(self.files()?);
        followed.see();
        let mut config = match &self.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path)?;
                let options = KubeConfigOptions::default();
                kube::Config::from_custom_kubeconfig(file, &options).await?
            }
            None => kube::Config::incluster()?,
        };
        if self.anonymous {
            config.auth_info = kube::config::AuthInfo::default();
        }
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        Ok((config, followed))
    }

    fn files(&self) -> Result<Vec<PathBuf>, ConnectError> {
        let Some(path) = &self.kubeconfig else { return Ok(vec![POD_AUTHORITIES.into()]) };
        let kubeconfig = Kubeconfig::read_from(path)?;
        let clusters = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref());
        let users = kubeconfig.auth_infos.iter().filter_map(|named| named.auth_info.as_ref());
        let named = clusters
            .filter_map(|cluster| cluster.certificate_authority.as_ref())
            .chain(users.flat_map(|user| [&user.client_certificate, &user.client_key]).flatten());
        Ok(std::iter::once(path.clone()).chain(named.map(PathBuf::from)).collect())
    }
}

/// Renews the connections of a client whenever its files change, until it is gone.
async fn follow(source: Source, mut followed: Followed, renewal: Renewal) {
    loop {
        tokio::select! {
            _ = followed.next() => {}
            () = renewal.gone() => return,
        }
        let renewed = source.load().await.and_then(|(config, fresh)| {
            followed = fresh;
            renewal.renew(&config).map_err(|error| ConnectError::Config(Box::new(error)))
        });
        match renewed {
            Ok(()) => tracing::info!("credentials changed, connections are made anew"),
            // Half written; there will be news of the other half.
            Err(error) => tracing::warn!(%error, "changed credentials are of no use yet"),
        }
    }
}

/// Makes a client from a configuration that the caller has prepared.
///
/// # Errors
/// [`ConnectError::Config`] or [`ConnectError::UserAgent`].
pub fn connect_with(config: kube::Config, user_agent: &str) -> Result<kube::Client, ConnectError> {
    connect_bearer(config, user_agent, None).map(|(client, _)| client)
}

fn connect_bearer(
    mut config: kube::Config,
    user_agent: &str,
    bearer: Option<Bearer>,
) -> Result<(kube::Client, Renewal), ConnectError> {
    let agent = if user_agent.is_empty() { "ironclad" } else { user_agent };
    let value =
        HeaderValue::from_str(agent).map_err(|_| ConnectError::UserAgent(agent.to_owned()))?;
    config.headers.push((USER_AGENT, value));
    config.connect_timeout = Some(CONNECT_TIMEOUT);
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
    let kept = Source { kubeconfig: options.kubeconfig.clone(), anonymous: true };
    let (config, followed) = kept.load().await?;
    let no_token = |error: kube::Error| ConnectError::Token(Box::new(error));
    let (token, valid) = source().await.map_err(no_token)?;
    let due = |valid: Duration| SystemTime::now() + valid.max(RENEW_RETRY);
    let mut next = due(valid);
    let bearer = Bearer::new(&token);
    let (client, renewal) = connect_bearer(config, &options.user_agent, Some(bearer.clone()))?;
    tokio::spawn(follow(kept, followed, renewal));
    tokio::spawn(async move {
        loop {
            // A token ends by the time of day, so one that is set counts.
            clock::sleep_until(next).await;
            if bearer.is_unused() {
                return;
            }
            next = due(match source().await {
                Ok((token, valid)) => {
                    bearer.set(&token);
                    valid
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot renew a token");
                    RENEW_RETRY
                }
            });
        }
    });
    Ok(client)
}
