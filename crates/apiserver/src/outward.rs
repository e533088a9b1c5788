//! HTTPS to other servers: webhooks and those behind APIServices.
//!
//! A [`Client`] keeps connections to one server. Who that is, a name in a certificate and whom to
//! trust say; where it is now is found out for each new connection, often by [`Services`].

pub(crate) mod tls;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use component::errors;
use futures::future::BoxFuture;
use http::Uri;
use hyper::body::Body;
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use machinery::Value;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use streams::upgrade::UpgradeError;
use tokio::net::TcpStream;
use tower::util::BoxCloneSyncService;

use crate::cache::Cache;

/// Unused connections are closed after this.
const IDLE: Duration = Duration::from_secs(90);
/// How long connecting may take.
const DIAL: Duration = Duration::from_secs(30);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Dialer = BoxCloneSyncService<Uri, TokioIo<TcpStream>, BoxError>;

/// Keeps connections. Clones share them.
pub(crate) type Client<B> = legacy::Client<HttpsConnector<Dialer>, B>;

/// Where Services are, as the cache has it.
#[derive(Clone)]
pub(crate) struct Services(Option<Arc<Cache>>);

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
#[error("{}", errors::dial(.address, .source))]
struct Dial {
    address: String,
    source: io::Error,
}

// === impl Services ===

impl Services {
    /// Services of a cache.
    pub(crate) fn new(cache: Option<Arc<Cache>>) -> Self {
        Self(cache)
    }

    /// The host and the port of a Service's port.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn resolve(
        &self,
        namespace: &str,
        name: &str,
        port: u16,
    ) -> Result<(String, u16), Unresolved> {
        let service = self.0.as_ref().and_then(|cache| cache.get(&format!("{namespace}/{name}")));
        let service = service.ok_or_else(|| Unresolved::NotFound(name.to_owned()))?.value();
        address(&service, name, port)
    }
}

/// A client of the server with the name `name`, which is where `find` says for the address of the
/// request that needs a connection.
pub(crate) fn client<B>(
    tls: ClientConfig,
    name: ServerName<'static>,
    find: impl Fn(&Uri) -> Result<(String, u16), Unresolved> + Clone + Send + Sync + 'static,
) -> Client<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    let dial = tower::service_fn(move |uri: Uri| {
        let found = find(&uri);
        Box::pin(async move { Ok(TokioIo::new(dial(found?).await?)) })
            as BoxFuture<'static, Result<_, BoxError>>
    });
    // One connection per request under way, so that the requests spread over the endpoints of
    // a Service: HTTP/2 would put all on one.
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .with_server_name_resolver(FixedServerNameResolver::new(name))
        .enable_http1()
        .wrap_connector(BoxCloneSyncService::new(dial));
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(connector)
}

/// What an address of a request names.
pub(crate) fn address_of(uri: &Uri) -> (String, u16) {
    (uri.host().unwrap_or_default().to_owned(), uri.port_u16().unwrap_or(443))
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn authority(host: &str, port: u16) -> String {
    match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

async fn dial((host, port): (String, u16)) -> Result<TcpStream, BoxError> {
    let connect = TcpStream::connect((host.trim_matches(['[', ']']), port));
    let stream = match tokio::time::timeout(DIAL, connect).await {
        Ok(stream) => stream,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let stream = stream.map_err(|source| Dial { address: authority(&host, port), source })?;
    stream.set_nodelay(true)?;
    Ok(stream)
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

/// The words of the layer that failed, as Go's client has them.
pub(crate) fn explain(error: &legacy::Error) -> String {
    if was_closed(error) {
        return "EOF".to_owned();
    }
    match refused(error) {
        Some(error) => tls::explain(error),
        None => causes(error).last().map(ToString::to_string).unwrap_or_default(),
    }
}

/// The same of a connection that was to be switched.
pub(crate) fn explain_upgrade(error: &UpgradeError) -> String {
    match error {
        UpgradeError::Dial { address, source } => errors::dial(address, source),
        other => errors::chain(other),
    }
}

/// Whether the other side closed the connection instead of answering.
pub(crate) fn was_closed(error: &legacy::Error) -> bool {
    let mut http = causes(error).filter_map(|cause| cause.downcast_ref::<hyper::Error>());
    http.any(hyper::Error::is_incomplete_message)
}

/// What is wrong with the certificate, if that is why there is no connection.
pub(crate) fn refused(error: &legacy::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// An error and what it comes from, as deep as it is of use to people.
fn causes(error: &legacy::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |cause| {
        if cause.is::<Dial>() || cause.is::<Unresolved>() {
            return None;
        }
        // What an I/O error wraps is not its source.
        let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let wrapped = wrapped.map(|inner| inner as &(dyn std::error::Error + 'static));
        wrapped.or_else(|| cause.source())
    })
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
