//! A small HTTPS server that answers what a test wants, for webhooks.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use component::pki::{self, Pair};
use component::tls::ServerTls;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

const WHOLE: &str = "nothing panics under the lock";

/// What the webhook does with a request.
pub(crate) enum Reply {
    /// It answers with an object.
    Object(Value),
    /// It answers with something.
    Text(u16, &'static str),
    /// It never answers.
    Hang,
}

/// A webhook that runs until it is dropped.
pub(crate) struct WebhookServer {
    url: String,
    certificate: String,
    seen: Arc<Mutex<Vec<Value>>>,
    _stop: DropGuard,
}

impl WebhookServer {
    /// A webhook with a certificate for its address.
    pub(crate) async fn start(
        answer: impl Fn(&Value) -> Reply + Send + Sync + 'static,
    ) -> Result<Self, testkit::Error> {
        let pair = pki::self_signed(&["127.0.0.1".to_owned()])?;
        Self::start_with(&pair, answer).await
    }

    /// A webhook with any certificate.
    pub(crate) async fn start_with(
        pair: &Pair,
        answer: impl Fn(&Value) -> Reply + Send + Sync + 'static,
    ) -> Result<Self, testkit::Error> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("https://{}/review", listener.local_addr()?);
        let tls = ServerTls::new(pair.certificate.as_bytes(), pair.key.as_bytes(), None)
            .expect("a pair of ours is good");
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (answer, log) = (Arc::new(answer), seen.clone());
        let connect = move |_| {
            let (answer, log) = (answer.clone(), log.clone());
            service_fn(move |request: Request<Incoming>| {
                let (answer, log) = (answer.clone(), log.clone());
                async move {
                    let body = request.into_body().collect().await.map(|body| body.to_bytes());
                    let review: Value =
                        serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
                    log.lock().expect(WHOLE).push(review.clone());
                    let (code, text) = match answer(&review) {
                        Reply::Object(object) => (200, object.to_string()),
                        Reply::Text(code, text) => (code, text.to_owned()),
                        Reply::Hang => std::future::pending().await,
                    };
                    let mut response = Response::new(Full::new(Bytes::from(text)));
                    *response.status_mut() =
                        StatusCode::from_u16(code).expect("tests give valid codes");
                    Ok::<_, Infallible>(response)
                }
            })
        };
        let stop = CancellationToken::new();
        let options = component::serve::Options::default();
        tokio::spawn(component::serve::serve(listener, Some(tls), options, connect, stop.clone()));
        let certificate = pair.certificate.clone();
        Ok(Self { url, certificate, seen, _stop: stop.drop_guard() })
    }

    /// The `clientConfig` that leads here.
    pub(crate) fn client_config(&self) -> Value {
        json!({"url": self.url, "caBundle": STANDARD.encode(&self.certificate)})
    }

    /// Whom to trust there, as PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Where it is.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The reviews so far.
    pub(crate) fn seen(&self) -> Vec<Value> {
        self.seen.lock().expect(WHOLE).clone()
    }
}

/// The answer to an AdmissionReview.
pub(crate) fn verdict(review: &Value, response: Value) -> Reply {
    let mut response = response;
    response["uid"] = review["request"]["uid"].clone();
    Reply::Object(json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"],
        "response": response}))
}

/// Agreement with a JSON patch.
pub(crate) fn patched(review: &Value, operations: &Value) -> Reply {
    let patch = STANDARD.encode(operations.to_string());
    verdict(review, json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
}
