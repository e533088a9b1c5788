//! The connections below a [`kube::Client`]: HTTP/2 with few connections for everything,
//! HTTP/1.1 for upgraded streams and plain-text addresses.
//!
//! A controller manager holds about a hundred watches. Over HTTP/1.1 each would be a TLS
//! connection with buffers on both sides; over HTTP/2 they share connections. Servers limit
//! the streams of a connection (Kubernetes: 100), and hyper waits rather than opening a second
//! connection, so watches are spread over connections here.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use component::errors;
use http::header::{AUTHORIZATION, UPGRADE};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Builder, Client as HyperClient, Error as HyperError};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use kube::client::{Body, ConfigExt};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::retry::RetryLayer;
use tower::timeout::Timeout;
use tower::util::{BoxCloneSyncService, option_layer};
use tower::{BoxError, Layer, Service, ServiceExt};

use crate::retry::AsAsked;

type Connector = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;
type Connection = HyperClient<Connector, Body>;

/// For TLS to be agreed upon: an address may move to another machine meanwhile, which is not heard of
/// by who has nothing to send.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Below the 100 streams that Kubernetes API servers allow on a connection.
const WATCHES_PER_CONNECTION: usize = 80;

/// Builds the client: retries, credentials, headers and base address over [`Transport`]; and the
/// handle by which its connections are made anew.
pub(crate) fn client(
    config: &kube::Config,
    bearer: Option<Bearer>,
) -> Result<(kube::Client, Renewal), kube::Error> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Losing the race against another thread leaves an equal provider installed.
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    let transport = Transport::new(config, bearer)?;
    let renewal = transport.renewal();
    let service = config.extra_headers_layer()?.layer(transport.map_err(BoxError::from));
    let service = option_layer(config.auth_layer()?).layer(service);
    let service = RetryLayer::new(AsAsked::default()).layer(service);
    let service = config.base_uri_layer().layer(service);
    Ok((kube::Client::new(service, config.default_namespace.clone()), renewal))
}

/// Chooses a connection for each request.
#[derive(Clone)]
struct Transport {
    pool: Arc<Pool>,
    bearer: Option<Bearer>,
}

struct Pool {
    connections: Mutex<Connections>,
    /// Its end tells that the client is gone.
    gone: DropGuard,
}

/// The connections of a client that all show one certificate and trust one set of authorities.
struct Connections {
    /// The first connection carries requests and watches, the others only watches.
    http2: Vec<Shared>,
    template: Template,
    http1: Connection,
}

/// Makes the connections of a client anew, with other certificates.
pub(crate) struct Renewal {
    pool: Weak<Pool>,
    gone: CancellationToken,
}

// === impl Renewal ===

impl Renewal {
    /// Waits for the end of the client.
    pub(crate) async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// Lets requests from now on go over connections as `config` wants them. What is under way
    /// stays where it is, and its connection ends with the last of it.
    ///
    /// # Errors
    /// When the certificates are of no use; all is as it was then.
    pub(crate) fn renew(&self, config: &kube::Config) -> Result<(), kube::Error> {
        let fresh = Connections::new(config)?;
        if let Some(pool) = self.pool.upgrade() {
            *pool.connections.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        Ok(())
    }
}

/// A token that can be replaced while clients use it.
#[derive(Clone)]
pub(crate) struct Bearer(Arc<Mutex<Option<HeaderValue>>>);

impl Bearer {
    pub(crate) fn new(token: &str) -> Self {
        let bearer = Self(Arc::default());
        bearer.set(token);
        bearer
    }

    pub(crate) fn set(&self, token: &str) {
        // Tokens are printable; one that is not would be refused by the server as well.
        let value = HeaderValue::from_str(&format!("Bearer {token}")).ok().map(|mut value| {
            value.set_sensitive(true);
            value
        });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }

    /// Whether no client holds it any more.
    pub(crate) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    fn header(&self) -> Option<HeaderValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An HTTP/2 connection and the number of watches on it.
#[derive(Clone)]
struct Shared {
    connection: Connection,
    watches: Arc<AtomicUsize>,
}

/// What another HTTP/2 connection is made of.
#[derive(Clone)]
struct Template {
    connector: Connector,
}

impl Template {
    fn open(&self) -> Shared {
        let connection = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_only(true)
            .http2_initial_stream_window_size(1 << 20)
            .http2_initial_connection_window_size(8 << 20)
            // A server that lost power sends nothing; as Go's client, find out by pinging.
            .http2_keep_alive_interval(Duration::from_secs(10))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .build(self.connector.clone());
        Shared { connection, watches: Arc::new(AtomicUsize::new(0)) }
    }
}

// === impl Connections ===

impl Connections {
    fn new(config: &kube::Config) -> Result<Self, kube::Error> {
        let tls = config.rustls_client_config()?;
        let connector = || {
            let mut http = HttpConnector::new();
            http.enforce_http(false);
            http.set_nodelay(true);
            http.set_connect_timeout(config.connect_timeout);
            http
        };
        let https = |http2: bool| {
            let builder = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
            let builder = match config.tls_server_name.as_deref().map(str::to_owned) {
                Some(name) => match rustls::pki_types::ServerName::try_from(name) {
                    Ok(name) => builder.with_server_name_resolver(
                        hyper_rustls::FixedServerNameResolver::new(name),
                    ),
                    Err(_) => builder,
                },
                None => builder,
            };
            let https = if http2 {
                builder.enable_http2().wrap_connector(connector())
            } else {
                builder.enable_http1().wrap_connector(connector())
            };
            let limit = config.connect_timeout.unwrap_or_default() + HANDSHAKE;
            BoxCloneSyncService::new(Timeout::new(https, limit))
        };
        let template = Template { connector: https(true) };
        let http1 =
            Builder::new(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https(false));
        Ok(Self { http2: vec![template.open()], template, http1 })
    }

    fn pick(&mut self, watch: bool) -> (Connection, Option<WatchGuard>) {
        if !watch {
            return (self.http2[0].connection.clone(), None);
        }
        let free = self
            .http2
            .iter()
            .position(|c| c.watches.load(Ordering::Relaxed) < WATCHES_PER_CONNECTION);
        let at = free.unwrap_or_else(|| {
            self.http2.push(self.template.open());
            self.http2.len() - 1
        });
        let chosen = &self.http2[at];
        chosen.watches.fetch_add(1, Ordering::Relaxed);
        (chosen.connection.clone(), Some(WatchGuard(Arc::clone(&chosen.watches))))
    }
}

// === impl Transport ===

impl Transport {
    fn new(config: &kube::Config, bearer: Option<Bearer>) -> Result<Self, kube::Error> {
        let connections = Mutex::new(Connections::new(config)?);
        let gone = CancellationToken::new().drop_guard();
        Ok(Self { pool: Arc::new(Pool { connections, gone }), bearer })
    }

    fn renewal(&self) -> Renewal {
        Renewal { pool: Arc::downgrade(&self.pool), gone: self.pool.gone.token().clone() }
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<StreamBody>;
    type Error = Unanswered;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Unanswered>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Unanswered>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(value) = self.bearer.as_ref().and_then(Bearer::header) {
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let plain = request.uri().scheme() == Some(&http::uri::Scheme::HTTP);
        let mut connections = self.pool.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let (connection, guard) = if plain || request.headers().contains_key(UPGRADE) {
            (connections.http1.clone(), None)
        } else {
            let query = request.uri().query().unwrap_or_default();
            connections.pick(query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1"))
        };
        drop(connections);
        let server = request.uri().authority().cloned();
        let response = connection.request(request);
        Box::pin(async move {
            let response = response.await.map_err(|error| Unanswered { server, error })?;
            Ok(response.map(|inner| StreamBody { inner, _guard: guard }))
        })
    }
}

/// Why there was no answer. It says itself what it comes from: whoever logs an error shows no sources.
#[derive(Debug)]
struct Unanswered {
    server: Option<Authority>,
    error: HyperError,
}

impl Display for Unanswered {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.error.is_connect()
            && let Some(server) = &self.server
        {
            write!(f, "dial tcp {server}: ")?;
        }
        let causes = || std::iter::successors(self.error.source(), |&cause| cause.source());
        let system = causes().filter_map(|cause| cause.downcast_ref::<io::Error>());
        match system.filter(|error| error.raw_os_error().is_some()).last() {
            Some(error) => f.write_str(&errors::socket(error)),
            None => f.write_str(&causes().next().map_or("no answer".to_owned(), errors::chain)),
        }
    }
}

impl Error for Unanswered {}

/// Gives a watch's place on its connection back.
struct WatchGuard(Arc<AtomicUsize>);

impl Drop for WatchGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that holds its place on the connection while it is read.
pub(crate) struct StreamBody {
    inner: Incoming,
    _guard: Option<WatchGuard>,
}

impl http_body::Body for StreamBody {
    type Data = <Incoming as http_body::Body>::Data;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, hyper::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_agrees_on_tls_is_not_waited_for() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://{}", silent.local_addr().unwrap());
        let mut config = kube::Config::new(address.parse().unwrap());
        // The clock of the test goes on while the kernel connects.
        config.connect_timeout = None;
        let (client, _) = client(&config, None).unwrap();
        let request = || Request::get("/version").body(Vec::new()).unwrap();
        for _ in 0..2 {
            let held = silent.accept();
            let (answer, held) = tokio::join!(client.request_text(request()), held);
            let error = answer.unwrap_err().to_string();
            assert!(held.is_ok() && error.contains("timed out"), "{error}");
        }
    }

    #[tokio::test]
    async fn an_error_says_what_it_comes_from_and_says_it_once() {
        let config = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let (client, _) = client(&config, None).unwrap();
        let request = Request::get("/version").body(Vec::new()).unwrap();
        let error = client.request_text(request).await.unwrap_err();
        let text = "ServiceError: dial tcp 127.0.0.1:1: connect: connection refused";
        assert_eq!(error.to_string(), text);
        assert!(error.source().is_none_or(|cause| cause.source().is_none()));
    }
}
