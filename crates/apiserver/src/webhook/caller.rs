//! One HTTPS client for all webhooks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use machinery::Value;
use rustls_pki_types::ServerName;

use super::answer;
use super::config::{ClientConfig, Place};
use crate::outward::{self, Services, tls};

/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 20;
/// Webhooks whose connections are kept.
const MAX_CLIENTS: usize = 256;

type Client = outward::Client<Full<Bytes>>;

/// See the module. Clones share connections.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Inner>);

struct Inner {
    services: Services,
    clients: Mutex<HashMap<ClientConfig, Client>>,
}

/// Why a webhook gave no object. The text is what upstream's client would say.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// The answer did not come.
    #[error("Post {url:?}: {why}")]
    Post {
        /// What was asked.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The answer is no answer.
    #[error("{0}")]
    Answer(String),
    /// The configuration is of no use.
    #[error("{0}")]
    Config(String),
}

impl Caller {
    /// A caller that finds webhooks by their Services.
    pub(crate) fn new(services: Services) -> Self {
        Self(Arc::new(Inner { services, clients: Mutex::default() }))
    }

    /// Where Services are.
    pub(crate) fn services(&self) -> &Services {
        &self.0.services
    }

    /// Posts an object and gives the one in the answer.
    pub(crate) async fn call(
        &self,
        config: &ClientConfig,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Value, CallError> {
        let base = config.url();
        let separator = if base.contains('?') { '&' } else { '?' };
        let url = format!("{base}{separator}timeout={}", go_seconds(timeout));
        let failed = |why: String| CallError::Post { url: url.clone(), why };
        let client = self.client(config)?;
        let request = Request::post(&url)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, */*")
            .header(USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|error| CallError::Config(error.to_string()))?;
        let exchange = async {
            let response =
                client.request(request).await.map_err(|error| outward::explain(&error))?;
            let code = response.status().as_u16();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    format!("the answer is longer than {MAX_ANSWER} bytes")
                } else {
                    "unexpected EOF".to_owned()
                }
            })?;
            Ok::<(u16, Bytes), String>((code, body.to_bytes()))
        };
        match tokio::time::timeout(timeout, exchange).await {
            Err(_) => Err(failed("context deadline exceeded".to_owned())),
            Ok(Err(why)) => Err(failed(why)),
            Ok(Ok((code, body))) => answer::object(code, &body).map_err(CallError::Answer),
        }
    }

    fn client(&self, config: &ClientConfig) -> Result<Client, CallError> {
        let mut clients = self.0.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(config) {
            return Ok(client.clone());
        }
        let client = self.connectable(config)?;
        if clients.len() >= MAX_CLIENTS {
            // Configurations that changed leave theirs behind; those in use come back at once.
            clients.clear();
        }
        clients.insert(config.clone(), client.clone());
        Ok(client)
    }

    fn connectable(&self, config: &ClientConfig) -> Result<Client, CallError> {
        let unusable = |error: &dyn std::fmt::Display| CallError::Config(error.to_string());
        let uri: Uri = config.url().parse().map_err(|error| unusable(&error))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| unusable(&error))?;
        let tls = tls::trusting(&config.ca_bundle).map_err(|error| unusable(&error))?;
        let (place, services) = (config.place.clone(), self.0.services.clone());
        Ok(outward::client(tls, name, move |uri| match &place {
            Place::Url(_) => Ok(outward::address_of(uri)),
            Place::Service { namespace, name, port, .. } => {
                services.resolve(namespace, name, *port)
            }
        }))
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caller")
    }
}

/// Whole seconds as Go prints a duration in a query.
fn go_seconds(timeout: Duration) -> String {
    format!("{}s", timeout.as_secs())
}
