//! Connections to an API server, as lean as a load generator needs them: what it spends itself is
//! missing from the server on the same machine.

mod answer;
mod http1;
mod http2;
mod tls;

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use secrecy::ExposeSecret as _;
use tokio::net::TcpStream;

use self::tls::Tls;
use crate::processes;

/// Why there is no connection, or no answer on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// Its certificates cannot be used.
    #[error("kubeconfig: {0}")]
    Credentials(#[source] Box<kube::Error>),
    /// Its token cannot be read.
    #[error("kubeconfig: token: {0}")]
    Token(#[source] io::Error),
    /// The server's address is not one.
    #[error("{0:?} is not the address of a server")]
    Server(String),
    /// The server cannot be reached.
    #[error("connecting to {server}: {source}")]
    Connect {
        /// Host and port.
        server: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("connection: {0}")]
    Broken(#[from] io::Error),
    /// The connection broke.
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    /// A request or a header of the kubeconfig's user is not valid.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// What came is not HTTP.
    #[error("the answer is malformed: {0}")]
    Malformed(String),
    /// The server said no.
    #[error("{status}: {body}")]
    Refused {
        /// Its status.
        status: u16,
        /// The start of what it said.
        body: String,
    },
    /// The objects that a scenario needs could not be written.
    #[error("preparations: {0}")]
    Prepare(String),
    /// An object of the generator has no such form.
    #[error("encoding: {0}")]
    Encode(#[from] machinery::codec::protobuf::Error),
}

/// The version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
}

/// How objects are written on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`
    Json,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// What to send.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: &'static str,
    /// Path and query.
    pub path: Arc<str>,
    /// The form of the answer.
    pub accept: Format,
    /// The form of the body.
    pub content_type: &'static str,
    /// The body; empty for none.
    pub body: Bytes,
    /// Whether the answer may be compressed. It is counted as it comes.
    pub gzip: bool,
}

/// A server and the credentials for it.
#[derive(Clone)]
pub struct Target {
    host: String,
    port: u16,
    /// Host and port as they stand in the URL.
    authority: String,
    name: ServerName<'static>,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    token: Option<HeaderValue>,
}

/// An open connection.
pub enum Connection {
    /// For one request at a time.
    Http1(Box<http1::Connection>),
    /// For many; clones share the connection.
    Http2(http2::Connection),
}

/// An answer that goes on for as long as the server likes.
pub enum Stream {
    /// Takes up its connection.
    Http1(Box<http1::Connection>),
    /// Shares its connection.
    Http2(hyper::body::Incoming),
}

// === impl Format ===

impl Format {
    /// A short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }

    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

// === impl Request ===

impl Request {
    /// A request without a body.
    #[must_use]
    pub fn get(path: impl Into<Arc<str>>, accept: Format) -> Self {
        let path = path.into();
        Self { method: "GET", path, accept, content_type: "", body: Bytes::new(), gzip: false }
    }

    /// A request with a JSON value.
    #[must_use]
    pub fn json(method: &'static str, path: &str, value: &machinery::Value) -> Self {
        let body = value.to_string().into();
        let content_type = Format::Json.media_type();
        Self { method, path: path.into(), accept: Format::Json, content_type, body, gzip: false }
    }
}

// === impl Target ===

impl Target {
    /// The current context of the kubeconfig at `path`.
    ///
    /// # Errors
    /// When it cannot be read or names no usable server.
    pub async fn from_kubeconfig(path: &Path) -> Result<Self, Error> {
        let file = Kubeconfig::read_from(path)?;
        let config =
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        let user = &config.auth_info;
        let token = match (&user.token, &user.token_file) {
            (Some(token), _) => Some(token.expose_secret().to_owned()),
            (None, Some(path)) => Some(std::fs::read_to_string(path).map_err(Error::Token)?),
            (None, None) => None,
        };
        let token = token
            .map(|token| HeaderValue::from_str(&format!("Bearer {}", token.trim())))
            .transpose()
            .map_err(http::Error::from)?;
        let tls =
            config.rustls_client_config().map_err(|error| Error::Credentials(Box::new(error)))?;
        let connector = |protocol: &[u8]| {
            let mut tls = tls.clone();
            tls.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(tls)
        };
        let url = config.cluster_url.to_string();
        let host = config.cluster_url.host().ok_or_else(|| Error::Server(url.clone()))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| Error::Server(url))?;
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let authority = config.cluster_url.authority().map_or(host.clone(), ToString::to_string);
        let (http1, http2) = (connector(b"http/1.1"), connector(b"h2"));
        Ok(Self { host, port, authority, name, http1, http2, token })
    }

    async fn open(&self, protocol: Protocol) -> Result<Tls, Error> {
        let failed = |source| Error::Connect { server: self.authority.clone(), source };
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let config = match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        };
        Tls::connect(socket, config.clone(), self.name.clone()).await.map_err(failed)
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn connect(&self, protocol: Protocol) -> Result<Connection, Error> {
        let tls = self.open(protocol).await?;
        let (host, token) = (&self.authority, self.token.as_ref());
        Ok(match protocol {
            Protocol::Http1 => {
                Connection::Http1(Box::new(http1::Connection::new(tls, host, token)))
            }
            Protocol::Http2 => Connection::Http2(http2::Connection::open(tls, host, token).await?),
        })
    }

    /// The server's process, if it runs on this machine, in whatever namespaces.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn process(&self) -> Result<Option<u32>, Error> {
        let tls = self.open(Protocol::Http1).await?;
        let (here, there) = (tls.socket().local_addr()?, tls.socket().peer_addr()?);
        Ok(processes::at_the_other_end(here, there))
    }
}

// === impl Connection ===

impl Connection {
    /// Sends a request, reads the whole answer and gives its length. The bytes are not kept.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not a success.
    pub async fn send(&mut self, request: &Request) -> Result<u64, Error> {
        self.exchange(request, None).await
    }

    /// As [`send`](Self::send), with the bytes of the answer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn fetch(&mut self, request: &Request) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        self.exchange(request, Some(&mut body)).await?;
        Ok(body)
    }

    async fn exchange(
        &mut self,
        request: &Request,
        keep: Option<&mut Vec<u8>>,
    ) -> Result<u64, Error> {
        match self {
            Self::Http1(connection) => connection.exchange(request, keep).await,
            Self::Http2(connection) => connection.exchange(request, keep).await,
        }
    }

    /// Sends a request whose answer is read piece by piece.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not a success.
    pub async fn open(self, request: &Request) -> Result<Stream, Error> {
        Ok(match self {
            Self::Http1(mut connection) => {
                connection.begin(request).await?;
                Stream::Http1(connection)
            }
            Self::Http2(mut connection) => Stream::Http2(connection.begin(request).await?),
        })
    }

    /// The same connection for another request at the same time, if it can do that.
    #[must_use]
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(connection) => Some(Self::Http2(connection.clone())),
        }
    }
}

// === impl Stream ===

impl Stream {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Http1(connection) => connection.next_piece().await,
            Self::Http2(body) => http2::next_piece(body).await,
        }
    }
}

/// What the server said when it said no.
fn refused(status: u16, body: &[u8]) -> Error {
    let start = &body[..body.len().min(300)];
    Error::Refused { status, body: String::from_utf8_lossy(start).trim_end().to_owned() }
}
