//! `/health` and `/ready`, which the kubelet asks, on the ports that CoreDNS has them on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Answers `path` on `address` with 200 while `good` is set, else 503, until `shutdown`.
///
/// # Errors
/// When the address cannot be had.
pub(crate) async fn serve(
    address: SocketAddr,
    path: &'static str,
    good: Arc<AtomicBool>,
    shutdown: CancellationToken,
) -> std::io::Result<impl Future<Output = ()> + Send> {
    let listener = TcpListener::bind(address).await?;
    let connect = move |_| {
        let good = Arc::clone(&good);
        service_fn(move |request: Request<Incoming>| {
            let (status, body) = if request.uri().path() != path {
                (StatusCode::NOT_FOUND, "404 page not found\n")
            } else if good.load(Ordering::Relaxed) {
                (StatusCode::OK, "OK")
            } else {
                (StatusCode::SERVICE_UNAVAILABLE, "kubernetes")
            };
            let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
            *response.status_mut() = status;
            async move { Ok::<_, Infallible>(response) }
        })
    };
    Ok(component::serve::serve(listener, None, Default::default(), connect, shutdown))
}
