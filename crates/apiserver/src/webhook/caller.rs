//! One HTTPS client for all webhooks.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use machinery::Value;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;

use super::config::{ClientConfig, Place};
use super::{answer, tls};
use crate::cache::Cache;

/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 20;
/// Webhooks whose connections are kept.
const MAX_CLIENTS: usize = 256;
/// Unused connections are closed after this.
const IDLE: Duration = Duration::from_secs(90);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Dialer = BoxCloneSyncService<Uri, TokioIo<TcpStream>, BoxError>;
type Client = legacy::Client<HttpsConnector<Dialer>, Full<Bytes>>;

/// See the module. Clones share connections.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Inner>);

struct Inner {
    /// To find out where Services are.
    services: Option<Arc<Cache>>,
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

/// A Service that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unresolved {
    /// It is not there.
    #[error("service {0:?} not found")]
    NotFound(String),
    /// It does not have the port.
    #[error("no service port {port} found for service {name:?}")]
    NoPort {
        /// Of the Service.
        name: String,
        /// The port that is wanted.
        port: u16,
    },
    /// It has no address of its own.
    #[error("service {0:?} has no cluster IP")]
    Headless(String),
}

/// Nobody listens.
#[derive(Debug, thiserror::Error)]
#[error("dial tcp {address}: {}", go_text(.source))]
struct Dial {
    address: String,
    source: io::Error,
}

impl Caller {
    /// A caller that finds Services in a cache.
    pub(crate) fn new(services: Option<Arc<Cache>>) -> Self {
        Self(Arc::new(Inner { services, clients: Mutex::default() }))
    }

    /// The address of a Service's port.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn resolve(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> Result<(String, u16), Unresolved> {
        resolve(self.0.services.as_deref(), namespace, name, port)
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
            let response = client.request(request).await.map_err(|error| explain(&error))?;
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
        let dial = tower::service_fn(move |uri: Uri| {
            let (place, services) = (place.clone(), services.clone());
            Box::pin(async move {
                let address = match &place {
                    Place::Url(_) => {
                        let host = uri.host().unwrap_or_default().to_owned();
                        (host, uri.port_u16().unwrap_or(443))
                    }
                    Place::Service { namespace, name, port, .. } => {
                        resolve(services.as_deref(), namespace, name, *port)?
                    }
                };
                Ok(TokioIo::new(dial(address).await?))
            }) as BoxFuture<'static, Result<_, BoxError>>
        });
        // One connection per request under way, so that the requests spread over the endpoints of
        // a Service: HTTP/2 would put all on one.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .with_server_name_resolver(FixedServerNameResolver::new(name))
            .enable_http1()
            .wrap_connector(BoxCloneSyncService::new(dial));
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(client)
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Caller")
    }
}

async fn dial((host, port): (String, u16)) -> Result<TcpStream, BoxError> {
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await;
    let stream = stream.map_err(|source| Dial { address: format!("{host}:{port}"), source })?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The address of a Service's port.
fn resolve(
    services: Option<&Cache>,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<(String, u16), Unresolved> {
    let service = services.and_then(|services| services.get(&format!("{namespace}/{name}")));
    let service = service.ok_or_else(|| Unresolved::NotFound(name.to_owned()))?.value();
    address(&service, name, port)
}

fn address(service: &Value, name: &str, port: u16) -> Result<(String, u16), Unresolved> {
    let spec = &service["spec"];
    let text = |field: &str| spec[field].as_str().unwrap_or_default().to_owned();
    if text("type") == "ExternalName" {
        return Ok((text("externalName"), port));
    }
    let ports = spec["ports"].as_array().into_iter().flatten();
    if !ports.into_iter().any(|known| known["port"].as_u64() == Some(port.into())) {
        return Err(Unresolved::NoPort { name: name.to_owned(), port });
    }
    match text("clusterIP") {
        ip if ip.is_empty() || ip == "None" => Err(Unresolved::Headless(name.to_owned())),
        ip => Ok((ip, port)),
    }
}

/// The words of the layer that failed.
fn explain(error: &legacy::Error) -> String {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    loop {
        if let Some(error) = cause.downcast_ref::<rustls::Error>() {
            return tls::explain(error);
        }
        if let Some(error) = cause.downcast_ref::<hyper::Error>()
            && error.is_incomplete_message()
        {
            return "EOF".to_owned();
        }
        // What an I/O error wraps is not its source.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let wrapped = wrapped.map(|inner| inner as &(dyn std::error::Error + 'static));
        match wrapped.or_else(|| cause.source()) {
            Some(next) if !cause.is::<Dial>() && !cause.is::<Unresolved>() => cause = next,
            _ => return cause.to_string(),
        }
    }
}

/// Go's words for what the system says.
fn go_text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        _ => error.to_string(),
    }
}

/// Whole seconds as Go prints a duration in a query.
fn go_seconds(timeout: Duration) -> String {
    format!("{}s", timeout.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_are_found_by_their_cluster_ip() {
        let check = |spec: Value, port: u16, expected: &str| {
            let found = match address(&json!({"spec": spec}), "s", port) {
                Ok((host, port)) => format!("{host}:{port}"),
                Err(error) => error.to_string(),
            };
            assert_eq!(found, expected);
        };
        let spec = json!({"clusterIP": "10.0.0.1", "ports": [{"port": 443}, {"port": 8443}]});
        check(spec.clone(), 8443, "10.0.0.1:8443");
        check(spec, 80, "no service port 80 found for service \"s\"");
        check(json!({"type": "ExternalName", "externalName": "x.y"}), 443, "x.y:443");
        let headless = json!({"clusterIP": "None", "ports": [{"port": 443}]});
        check(headless, 443, "service \"s\" has no cluster IP");
    }
}
