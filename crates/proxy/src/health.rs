//! `/healthz` and `/livez` on 10256, which load balancers ask, answered as upstream answers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use k8s_openapi::jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// How long a change may wait for being written before the proxy counts as unhealthy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Health of the proxy, shared by the sync loop and the server.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    updated: Option<Timestamp>,
    /// Since when a change has been waiting.
    pending: Option<Instant>,
    eligible: bool,
}

impl Default for State {
    fn default() -> Self {
        State { updated: None, pending: None, eligible: true }
    }
}

// === impl Health ===

impl Health {
    /// A change arrived.
    pub fn queued(&self, now: Instant) {
        self.lock().pending.get_or_insert(now);
    }

    /// Everything that had arrived is written.
    pub fn updated(&self, at: Timestamp) {
        let mut state = self.lock();
        state.updated = Some(at);
        state.pending = None;
    }

    /// Whether the node should get outside traffic: not while it is being deleted.
    pub fn set_eligible(&self, eligible: bool) {
        self.lock().eligible = eligible;
    }

    /// The answer for `path`.
    pub fn answer(&self, path: &str, now: Instant, clock: Timestamp) -> (StatusCode, String) {
        let state = self.lock();
        let alive = state.updated.is_some()
            && state.pending.is_none_or(|since| now.duration_since(since) < PATIENCE);
        let healthy = match path {
            "/healthz" => alive && state.eligible,
            "/livez" => alive,
            _ => return (StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
        };
        // A healthy proxy is up to date now; an unhealthy one tells when it last was.
        let updated = if alive { Some(clock) } else { state.updated };
        let updated = updated.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |t| t.to_string());
        let mut body = format!(r#"{{"lastUpdated": "{updated}","currentTime": "{clock}""#);
        if path == "/healthz" {
            body.push_str(&format!(r#", "nodeEligible": {}"#, state.eligible));
        }
        body.push('}');
        let code = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (code, body)
    }

    /// Answers on `address` until `shutdown`.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn serve(
        self,
        address: SocketAddr,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        let listener = TcpListener::bind(address).await?;
        let connect = move |_| {
            let health = self.clone();
            service_fn(move |request: Request<Incoming>| {
                let (status, body) =
                    health.answer(request.uri().path(), Instant::now(), Timestamp::now());
                let mut response = Response::new(Full::new(Bytes::from(body)));
                *response.status_mut() = status;
                async move { Ok::<_, Infallible>(response) }
            })
        };
        component::serve::serve(listener, None, Default::default(), connect, shutdown).await;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics under this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_healthy_once_written_and_while_changes_do_not_wait_too_long() {
        let health = Health::default();
        let start = Instant::now();
        let clock: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        assert_eq!(health.answer("/healthz", start, clock).0, StatusCode::SERVICE_UNAVAILABLE);
        health.updated(clock);
        let (code, body) = health.answer("/healthz", start, clock);
        assert_eq!(code, StatusCode::OK);
        assert_eq!(
            body,
            r#"{"lastUpdated": "2026-01-02T03:04:05Z","currentTime": "2026-01-02T03:04:05Z", "nodeEligible": true}"#
        );
        health.queued(start);
        assert_eq!(health.answer("/livez", start + PATIENCE / 2, clock).0, StatusCode::OK);
        let late = health.answer("/livez", start + PATIENCE, clock).0;
        assert_eq!(late, StatusCode::SERVICE_UNAVAILABLE);
        health.updated(clock);
        health.set_eligible(false);
        assert_eq!(health.answer("/healthz", start, clock).0, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(health.answer("/livez", start, clock).0, StatusCode::OK);
    }
}
