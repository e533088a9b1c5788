//! Sends events to a server that a kubeconfig names.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use component::errors;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use machinery::Value;
use machinery::codec::{self, yaml};
use serde_json::json;

use super::options::WebhookOptions;
use super::sink::Event;
use crate::outward::tls;

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Attempts, and how much longer the wait before each next one is.
const ATTEMPTS: u32 = 5;
const FACTOR: f64 = 1.5;
/// The most of an answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// See the module.
pub(super) struct Webhook {
    url: String,
    authorization: Option<HeaderValue>,
    backoff: Duration,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// A failed attempt.
enum Failed {
    /// Another one may do.
    Again(String),
    /// It will not.
    ForGood(String),
}

// === impl Webhook ===

impl Webhook {
    pub(super) async fn load(options: &WebhookOptions) -> Result<Self, String> {
        let path = &options.config_file;
        let read = tokio::fs::read_to_string(path).await;
        let text = read.map_err(|error| format!("{}: {error}", path.display()))?;
        let config = yaml::read(&text).map_err(|error| error.to_string())?.value;
        let folder = path.parent().unwrap_or(Path::new("."));
        let (cluster, user) = current(&config)?;
        let ca = file_or_data(cluster, "certificate-authority", folder).await?;
        let certificate = file_or_data(user, "client-certificate", folder).await?;
        let key = file_or_data(user, "client-key", folder).await?;
        let identity = certificate.zip(key);
        let tls = tls::client(&ca.unwrap_or_default(), identity.as_ref())
            .map_err(|error| error.to_string())?;
        let url = text_of(cluster, "server").trim_end_matches('/').to_owned();
        if url.parse::<http::Uri>().is_err() || url.is_empty() {
            return Err(format!("invalid server {url:?}"));
        }
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            url,
            authorization: authorization(user)?,
            backoff: options.initial_backoff,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Sends events, more than once if need be.
    pub(super) async fn send(&self, events: &[Event]) -> Result<(), String> {
        let body = encode(events);
        let mut wait = self.backoff;
        let mut attempt = 1;
        loop {
            match self.post(body.clone()).await {
                Ok(()) => return Ok(()),
                Err(Failed::ForGood(why)) => return Err(why),
                Err(Failed::Again(why)) if attempt == ATTEMPTS => return Err(why),
                Err(Failed::Again(why)) => tracing::debug!(why, "the audit webhook is asked again"),
            }
            attempt += 1;
            tokio::time::sleep(wait).await;
            wait = wait.mul_f64(FACTOR);
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), Failed> {
        let mut request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "kube-apiserver-audit");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request =
            request.body(Full::new(body)).map_err(|error| Failed::ForGood(error.to_string()))?;
        let exchange = async {
            let response =
                self.client.request(request).await.map_err(|error| errors::chain(&error))?;
            let code = response.status();
            // Read, so that the connection can be used again; it says nothing.
            drop(Limited::new(response.into_body(), MAX_ANSWER).collect().await);
            Ok::<StatusCode, String>(code)
        };
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Err(_) => Err(Failed::Again("context deadline exceeded".to_owned())),
            Ok(Err(why)) => Err(Failed::Again(why)),
            Ok(Ok(code)) if code.is_success() => Ok(()),
            Ok(Ok(code)) => {
                let why = format!("the server answered {code}");
                let again = code.is_server_error() || code == StatusCode::TOO_MANY_REQUESTS;
                Err(if again { Failed::Again(why) } else { Failed::ForGood(why) })
            }
        }
    }
}

fn encode(events: &[Event]) -> Bytes {
    let items: Vec<&Value> = events.iter().map(AsRef::as_ref).collect();
    let list = json!({
        "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items,
    });
    let mut body = Vec::with_capacity(1024 * events.len());
    codec::write_untyped(&mut body, &list);
    body.into()
}

/// Cluster and user of the current context.
fn current(config: &Value) -> Result<(&Value, &Value), String> {
    let context_name = text_of(config, "current-context");
    let contexts = config["contexts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let context = match context_name {
        // A file with one context means that one.
        "" => contexts.first(),
        name => contexts.iter().find(|context| name_of(context) == name),
    };
    let Some(context) = context.map(|context| &context["context"]) else {
        return Err(format!("context was not found for specified context: {context_name}"));
    };
    let find = |list: &str, entry: &str| {
        let name = text_of(context, entry);
        let entries = config[list].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = entries.iter().find(|candidate| name_of(candidate) == name);
        found.map(|found| &found[entry])
    };
    let cluster = find("clusters", "cluster")
        .ok_or_else(|| format!("cluster {:?} was not found", text_of(context, "cluster")))?;
    Ok((cluster, find("users", "user").unwrap_or(&Value::Null)))
}

fn name_of(entry: &Value) -> &str {
    text_of(entry, "name")
}

fn text_of<'v>(value: &'v Value, field: &str) -> &'v str {
    value.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// What a kubeconfig holds itself, or names a file of.
async fn file_or_data(
    entry: &Value,
    field: &str,
    folder: &Path,
) -> Result<Option<Vec<u8>>, String> {
    let data = text_of(entry, &format!("{field}-data"));
    if !data.is_empty() {
        return STANDARD.decode(data).map(Some).map_err(|error| format!("{field}-data: {error}"));
    }
    match text_of(entry, field) {
        "" => Ok(None),
        name => {
            let path = folder.join(name);
            let read = tokio::fs::read(&path).await;
            read.map(Some).map_err(|error| format!("{}: {error}", path.display()))
        }
    }
}

fn authorization(user: &Value) -> Result<Option<HeaderValue>, String> {
    let text = match (text_of(user, "token"), text_of(user, "username")) {
        ("", "") => return Ok(None),
        ("", name) => {
            let pair = format!("{name}:{}", text_of(user, "password"));
            format!("Basic {}", STANDARD.encode(pair))
        }
        (token, _) => format!("Bearer {token}"),
    };
    let mut value = HeaderValue::try_from(text).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(Some(value))
}
