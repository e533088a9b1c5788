//! HTTP/1.1 requests on a connection of their own, which may end in a protocol switch: how the API
//! server reaches a kubelet, and a kubelet the runtime's streaming server.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, UPGRADE};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{Either, Empty};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use crate::{BoxIo, relay};

/// How long connecting and the TLS handshake may take.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// No connection.
    #[error("dial tcp {address}: {source}")]
    Dial {
        /// `host:port`.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The name in the address cannot be used for TLS.
    #[error("invalid server name {0:?}")]
    ServerName(String),
    /// The peer does not speak HTTP, or closed the connection.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The request lacks what an upgrade needs.
    #[error("the request asks for no upgrade")]
    NotAnUpgrade,
    /// The address has no host.
    #[error("no host in {0}")]
    NoHost(Uri),
}

/// Where to send a request.
#[derive(Clone)]
pub struct Target {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS configuration; plain TCP without.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The name that the server's certificate must have, if it is not the host's.
    pub server_name: Option<String>,
}

impl Target {
    /// The plain-text target that a `http://host:port/...` address names.
    pub fn plain(uri: &Uri) -> Result<Self, UpgradeError> {
        let host = uri.host().ok_or_else(|| UpgradeError::NoHost(uri.clone()))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: uri.port_u16().unwrap_or(80), tls: None, server_name: None })
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Connects, with TLS where configured.
    pub async fn dial(&self) -> Result<BoxIo, UpgradeError> {
        let dial = |source| UpgradeError::Dial { address: self.authority(), source };
        let connect = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(dial)?;
            tcp.set_nodelay(true).map_err(dial)?;
            let Some(tls) = &self.tls else {
                return Ok(Box::new(tcp) as BoxIo);
            };
            let name = self.server_name.as_ref().unwrap_or(&self.host);
            let name = ServerName::try_from(name.clone())
                .map_err(|_| UpgradeError::ServerName(name.clone()))?;
            let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
            Ok(Box::new(connector.connect(name, tcp).await.map_err(dial)?) as BoxIo)
        };
        match tokio::time::timeout(DIAL_TIMEOUT, connect).await {
            Ok(result) => result,
            Err(_) => Err(dial(std::io::Error::new(std::io::ErrorKind::TimedOut, "i/o timeout"))),
        }
    }

    /// Sends one request on a new connection. `uri` of the request needs only path and query; a
    /// `Host` header is added where absent.
    pub async fn send<B>(&self, mut request: Request<B>) -> Result<Reply, UpgradeError>
    where
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let io = self.dial().await?;
        if !request.headers().contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(&self.authority())
        {
            request.headers_mut().insert(HOST, host);
        }
        send(io, request).await
    }
}

/// What came back.
pub enum Reply {
    /// `101 Switching Protocols`: the connection now carries the new protocol.
    Switched {
        /// Status and headers.
        response: Response<()>,
        /// The connection after the switch.
        io: BoxIo,
    },
    /// Any other status, with its body.
    Answered(Response<Incoming>),
}

/// Sends one HTTP/1.1 request over `io`, whose only request it is.
pub async fn send<B>(io: BoxIo, request: Request<B>) -> Result<Reply, UpgradeError>
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, B>(TokioIo::new(io)).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection ended");
        }
    });
    let mut request = request;
    // An origin server expects the path alone.
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = Uri::from(path);
    }
    let mut response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Reply::Answered(response));
    }
    let upgraded = hyper::upgrade::on(&mut response).await?;
    let (parts, _) = response.into_parts();
    Ok(Reply::Switched {
        response: Response::from_parts(parts, ()),
        io: Box::new(TokioIo::new(upgraded)),
    })
}

/// Whether the headers ask for a protocol switch.
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) && list_has(headers, &CONNECTION, "upgrade")
}

/// Whether the headers ask for a switch to `protocol` (compared without regard to case).
pub fn is_upgrade_to(headers: &HeaderMap, protocol: &str) -> bool {
    is_upgrade(headers) && list_has(headers, &UPGRADE, protocol)
}

fn list_has(headers: &HeaderMap, name: &http::HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(wanted))
}

/// Body of a passed-on response: nothing after a switch, else the backend's own.
pub type PassBody = Either<Empty<Bytes>, Incoming>;

/// Passes an upgrade request on to `target` under `uri` and joins the two connections, without
/// regard to the protocol that they switch to. A refusal of the backend is returned as it is.
///
/// All headers but `Host` travel along: the caller has removed credentials that the backend must
/// not see. `held` is kept for as long as the connections are joined.
pub async fn pass_through<B>(
    mut request: Request<B>,
    target: &Target,
    uri: Uri,
    held: impl Send + 'static,
) -> Result<Response<PassBody>, UpgradeError> {
    if !is_upgrade(request.headers()) {
        return Err(UpgradeError::NotAnUpgrade);
    }
    let client = hyper::upgrade::on(&mut request);
    let mut onward = Request::new(Empty::<Bytes>::new());
    *onward.method_mut() = request.method().clone();
    *onward.uri_mut() = uri;
    *onward.headers_mut() = request.headers().clone();
    onward.headers_mut().remove(HOST);
    match target.send(onward).await? {
        Reply::Answered(response) => Ok(response.map(Either::Right)),
        Reply::Switched { response, io } => {
            tokio::spawn(async move {
                match client.await {
                    Ok(upgraded) => relay::relay(TokioIo::new(upgraded), io).await,
                    Err(error) => tracing::debug!(%error, "client did not switch protocols"),
                }
                drop(held);
            });
            Ok(response.map(|()| Either::Left(Empty::new())))
        }
    }
}
