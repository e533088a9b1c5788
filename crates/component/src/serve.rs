//! The accept loop: TCP, optionally TLS, then HTTP/2 or HTTP/1.1 as the client negotiated.

mod rounds;

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::rounds::Rounds;
use crate::tls::stream::Cork;
use crate::tls::{self, ServerTls};

/// How long a client may take for the TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an HTTP/1.1 connection may wait for the head of its next request, and take to send it:
/// upstream's limit for idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);

/// The most that the head of a request may have, as Go's servers have it. Beyond it: 431.
const HEAD_BYTES: usize = 1 << 20;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The remote address.
    pub address: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    /// The certificate chain the client presented (possession of the leaf's key is proven), and
    /// whether it leads to the accepted authorities.
    pub certificates: Certificates,
}

/// The client certificates of a connection.
#[derive(Clone, Debug)]
pub enum Certificates {
    /// None presented.
    None,
    /// A chain (leaf first) that leads to an accepted authority.
    Trusted(Arc<[CertificateDer<'static>]>),
    /// One that does not, and why.
    Rejected(String),
}

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long running requests may go on after shutdown began.
    pub drain: Duration,
    /// HTTP/2 streams that may be open on one connection; more are refused, each by itself.
    pub max_streams: u32,
}

impl Default for Options {
    fn default() -> Self {
        // What Go's clients assume until they are told, and upstream's servers allow.
        Self { drain: Duration::from_secs(10), max_streams: 100 }
    }
}

/// Serves connections from `listener` until `shutdown`, then drains: no new connections, idle ones
/// are closed, running requests finish or are cut off after [`Options::drain`].
///
/// `connect` is called once per connection and gives its service, which is the place to work out
/// things that stay the same for all its requests.
pub async fn serve<F, S, B>(
    listener: TcpListener,
    tls: Option<ServerTls>,
    options: Options,
    connect: F,
    shutdown: CancellationToken,
) where
    F: Fn(Peer) -> S + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connect = Arc::new(connect);
    let connections = TaskTracker::new();
    let abort = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors or memory: the listener stays good, so let others finish.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, connect) = (tls.clone(), connect.clone());
        let shutdown = shutdown.clone();
        let tasks = Tasks { tracker: connections.clone(), abort: abort.clone() };
        let streams = tasks.clone();
        tasks.execute(async move {
            connection(stream, address, tls, options, &*connect, shutdown, streams).await;
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(options.drain, connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "cutting off connections that did not drain");
        abort.cancel();
        connections.wait().await;
    }
}

/// Runs everything that belongs to connections, HTTP/2 streams included, so that a server that has
/// ended leaves nothing running.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    abort: CancellationToken,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
{
    fn execute(&self, work: F) {
        let abort = self.abort.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = abort.cancelled() => {}
                _ = work => {}
            }
        });
    }
}

async fn connection<F, S, B>(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<ServerTls>,
    options: Options,
    connect: &F,
    shutdown: CancellationToken,
    tasks: Tasks,
) where
    F: Fn(Peer) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%address, %error, "TCP_NODELAY");
    }
    if let Err(error) = keep_alive(&stream) {
        tracing::debug!(%address, %error, "SO_KEEPALIVE");
    }
    let Ok(local) = stream.local_addr() else { return };
    let mut peer = Peer { address, local, certificates: Certificates::None };
    let Some(tls) = tls else {
        http1(stream, connect(peer), None, shutdown).await;
        return;
    };
    let (config, clients) = (tls.config(), tls.clients());
    let handshake = TlsAcceptor::from(config).accept(stream);
    let (socket, session) = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(stream)) => stream.into_inner(),
        Ok(Err(error)) => {
            tracing::debug!(%address, %error, "TLS handshake");
            return;
        }
        Err(_) => {
            tracing::debug!(%address, "TLS handshake timed out");
            return;
        }
    };
    if let (Some(clients), Some(chain)) = (&clients, session.peer_certificates()) {
        let chain: Arc<[CertificateDer<'static>]> = chain.into();
        peer.certificates = match clients.verify(&chain) {
            Ok(()) => Certificates::Trusted(chain),
            Err(error) => Certificates::Rejected(error.to_string()),
        };
    }
    let service = connect(peer);
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let (stream, cork) = tls::stream::split(socket, session);
    if is_http2 {
        http2((stream, cork), service, options, shutdown, tasks).await;
    } else {
        http1(stream, service, Some(cork), shutdown).await;
    }
}

/// Lets the kernel find out about clients that are gone without a word, in a few minutes, as Go's
/// servers do: a watch may otherwise stay open for an hour for nobody.
fn keep_alive(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &15)?;
    setsockopt(stream, sockopt::TcpKeepInterval, &15)?;
    setsockopt(stream, sockopt::TcpKeepCount, &9)
}

async fn http1<I, S, B>(stream: I, service: S, cork: Option<Cork>, shutdown: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let wind_down = conn::http1::UpgradeableConnection::graceful_shutdown;
    until_done(connection, cork, wind_down, shutdown).await;
}

async fn http2<S, B>(
    (stream, cork): (tls::stream::Stream, Cork),
    service: S,
    options: Options,
    shutdown: CancellationToken,
    tasks: Tasks,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let connection = conn::http2::Builder::new(tasks)
        .timer(TokioTimer::new())
        .max_concurrent_streams(options.max_streams)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 23)
        .max_send_buf_size(1 << 20)
        .max_header_list_size(HEAD_BYTES as u32)
        .keep_alive_interval(Some(Duration::from_secs(60)))
        .keep_alive_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service);
    let wind_down = conn::http2::Connection::graceful_shutdown;
    until_done(connection, Some(cork), wind_down, shutdown).await;
}

/// Serves until the connection ends. At shutdown `wind_down` makes it end after the requests that
/// it has.
async fn until_done<C>(
    connection: C,
    cork: Option<Cork>,
    wind_down: fn(Pin<&mut C>),
    shutdown: CancellationToken,
) where
    C: Future<Output = hyper::Result<()>>,
{
    let mut connection = pin!(connection);
    let rounds = Rounds::new();
    let turn = |cx: &mut Context<'_>, mut connection: Pin<&mut C>| {
        let mut poll = |cx: &mut Context<'_>| rounds.poll(cx, |cx| connection.as_mut().poll(cx));
        match &cork {
            Some(cork) => cork.turn(cx, poll),
            None => poll(cx),
        }
    };
    let result = tokio::select! {
        result = poll_fn(|cx| turn(cx, connection.as_mut())) => result,
        () = shutdown.cancelled() => {
            wind_down(connection.as_mut());
            poll_fn(|cx| turn(cx, connection.as_mut())).await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection");
    }
}

#[cfg(test)]
mod tests;
