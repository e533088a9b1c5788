//! One HTTP/1.1 connection over TLS, as plain as a load generator needs it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Why there is no connection, or no answer on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// Its certificates cannot be used.
    #[error("kubeconfig: {0}")]
    Credentials(#[source] Box<kube::Error>),
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
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// A header of the kubeconfig's user is not valid.
    #[error(transparent)]
    Request(#[from] http::Error),
    /// The server said no.
    #[error("{status}: {body}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// The start of what it said.
        body: String,
    },
}

/// A server and the credentials for it.
#[derive(Clone)]
pub struct Target {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    token: Option<HeaderValue>,
}

/// An open connection.
pub struct Connection {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
}

// === impl Target ===

impl Target {
    /// The current context of the kubeconfig at `path`.
    ///
    /// # Errors
    /// When it cannot be read or names no usable server.
    pub async fn from_kubeconfig(path: &std::path::Path) -> Result<Self, Error> {
        let file = Kubeconfig::read_from(path)?;
        let token = file.auth_infos.first().and_then(|user| user.auth_info.as_ref()?.token.clone());
        let config =
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        let mut tls =
            config.rustls_client_config().map_err(|error| Error::Credentials(Box::new(error)))?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let url = config.cluster_url.to_string();
        let host = config.cluster_url.host().ok_or_else(|| Error::Server(url.clone()))?.to_owned();
        let name = ServerName::try_from(host.clone()).map_err(|_| Error::Server(url))?;
        let token = token
            .map(|token| {
                use secrecy::ExposeSecret as _;
                HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            })
            .transpose()
            .map_err(http::Error::from)?;
        let port = config.cluster_url.port_u16().unwrap_or(443);
        Ok(Self { host, port, name, tls: TlsConnector::from(Arc::new(tls)), token })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let failed =
            |source| Error::Connect { server: format!("{}:{}", self.host, self.port), source };
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        socket.set_nodelay(true).map_err(failed)?;
        let stream = self.tls.connect(self.name.clone(), socket).await.map_err(failed)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its error reaches the sender too.
        tokio::spawn(async move { connection.await.ok() });
        Ok(Connection { target: self.clone(), sender })
    }
}

// === impl Connection ===

impl Connection {
    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When the connection breaks or the answer is not a success.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.target.host.as_str())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.target.token {
            request = request.header(AUTHORIZATION, token);
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        let start = &body[..body.len().min(300)];
        Err(Error::Refused { status, body: String::from_utf8_lossy(start).into_owned() })
    }
}
