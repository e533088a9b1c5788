//! The side door of a component: `/healthz`, `/livez`, `/readyz` and `/metrics`.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::Checks;
use crate::serve::{Options, serve};
use crate::tls::ServerTls;
use crate::{metrics, pki};

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The wanted address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// No certificate could be made.
    #[error(transparent)]
    Certificate(#[from] pki::Error),
    /// The certificate is of no use.
    #[error(transparent)]
    Tls(#[from] crate::tls::Error),
}

/// A bound server, ready to [`run`](OpsServer::run).
#[derive(Debug)]
pub struct OpsServer {
    listener: TcpListener,
    tls: Option<ServerTls>,
    checks: Checks,
}

// === impl OpsServer ===

impl OpsServer {
    /// Binds `address` for plain HTTP.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn http(address: SocketAddr, checks: Checks) -> Result<Self, Error> {
        let listener =
            TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
        Ok(Self { listener, tls: None, checks })
    }

    /// Binds `address` for HTTPS with a self-signed certificate, as upstream's components do when
    /// they are given none.
    ///
    /// # Errors
    /// When the address cannot be had or no certificate made.
    pub async fn https(address: SocketAddr, checks: Checks) -> Result<Self, Error> {
        let pair = pki::self_signed(&["localhost".to_owned(), "127.0.0.1".to_owned()])?;
        let tls = ServerTls::new(pair.certificate.as_bytes(), pair.key.as_bytes(), None)?;
        let mut server = Self::http(address, checks).await?;
        server.tls = Some(tls);
        Ok(server)
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let checks = self.checks;
        let connect = move |_| {
            let checks = checks.clone();
            service_fn(move |request: Request<Incoming>| {
                let response = respond(&checks, &request);
                async move { Ok::<_, Infallible>(response) }
            })
        };
        serve(self.listener, self.tls, Options::default(), connect, shutdown).await;
    }
}

/// Answers a request for a health or metrics endpoint, or 404.
fn respond<B>(checks: &Checks, request: &Request<B>) -> Response<Full<Bytes>> {
    let uri = request.uri();
    let (status, kind, body) = if uri.path() == "/metrics" {
        (StatusCode::OK, metrics::CONTENT_TYPE, metrics::encode().into())
    } else if let Some((status, text)) = checks.answer(uri.path(), uri.query()) {
        (status, "text/plain; charset=utf-8", Bytes::from(text))
    } else {
        let text = Bytes::from_static(b"404 page not found\n");
        (StatusCode::NOT_FOUND, "text/plain; charset=utf-8", text)
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
