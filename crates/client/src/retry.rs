//! Waiting when the server asks for it, as client-go does: answers 429 and 5xx with a
//! `Retry-After` header are repeated, everything else is the caller's to judge.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response};
use kube::client::Body;
use tower::BoxError;
use tower::retry::Policy;

/// Upstream's number of retries.
const RETRIES: u32 = 10;
/// A server that asks for more than this gets its next request after this.
const LONGEST: Duration = Duration::from_secs(10);

/// The state of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct AsAsked {
    done: u32,
}

impl<B> Policy<Request<Body>, Response<B>, BoxError> for AsAsked {
    type Future = tokio::time::Sleep;

    fn retry(
        &mut self,
        _: &mut Request<Body>,
        result: &mut Result<Response<B>, BoxError>,
    ) -> Option<Self::Future> {
        let response = result.as_ref().ok()?;
        let status = response.status();
        if self.done >= RETRIES || !(status == 429 || status.is_server_error()) {
            return None;
        }
        let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
        self.done += 1;
        Some(tokio::time::sleep(Duration::from_secs(seconds).min(LONGEST)))
    }

    fn clone_request(&mut self, request: &Request<Body>) -> Option<Request<Body>> {
        let mut copy = Request::new(request.body().try_clone()?);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.version_mut() = request.version();
        *copy.headers_mut() = request.headers().clone();
        *copy.extensions_mut() = request.extensions().clone();
        Some(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(status: u16, after: Option<&str>) -> Option<u64> {
        let mut response = Response::builder().status(status);
        if let Some(after) = after {
            response = response.header(RETRY_AFTER, after);
        }
        let mut result: Result<_, BoxError> = Ok(response.body(()).unwrap());
        let now = tokio::time::Instant::now();
        let sleep = AsAsked::default().retry(&mut Request::new(Body::empty()), &mut result);
        sleep.map(|s| s.deadline().duration_since(now).as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_the_server_asks_for_is_repeated() {
        assert_eq!(waits(429, Some("1")), Some(1));
        assert_eq!(waits(503, Some("2")), Some(2));
        assert_eq!(waits(500, Some("3600")), Some(10));
        assert_eq!(waits(429, None), None);
        assert_eq!(waits(503, None), None);
        assert_eq!(waits(200, Some("1")), None);
        assert_eq!(waits(409, Some("1")), None);
    }
}
