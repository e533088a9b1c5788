//! OpenAPI v2 documents of other servers, for discovery to merge: each is downloaded when its
//! server becomes available, and every minute from then on. A server without one is not asked again
//! until its APIService changes; what was downloaded last stays when a download fails.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use machinery::{Value, openapi};
use ring::digest::{Digest, SHA256, digest};
use tokio::time::Instant;

use super::schedule::{Outcome, Schedule};
use super::{Aggregation, Backend, pass};
use crate::authn::User;
use crate::outward;
use crate::server::Api;

/// How often a server is asked.
const EVERY: Duration = Duration::from_secs(60);
/// The longest time after failures, which begins with [`EVERY`].
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a download may take.
const TIMEOUT: Duration = Duration::from_secs(60);
const MAX_DOCUMENT: usize = 64 << 20;
/// So much is said of an answer that is no document.
const MAX_SHOWN: usize = 1024;

/// The part of a server's document that is about its version of its group.
#[derive(Debug)]
pub(crate) struct Swagger {
    /// The document.
    pub(crate) document: Value,
    /// What the server calls this state of it.
    etag: Option<HeaderValue>,
    /// Of the whole document, to compare by where there is no such name.
    digest: Digest,
}

/// What a download came to.
enum Answer {
    New(Swagger),
    Same,
    Absent,
}

/// Downloads the documents of all servers until shutdown.
pub(crate) async fn keep(api: Arc<Api>) {
    let mut servers = api.aggregation.backends.subscribe();
    let mut schedule = Schedule::new(EVERY, EVERY, LONGEST);
    loop {
        let backends = servers.borrow_and_update().clone();
        let available: Vec<(String, &Backend)> = backends
            .iter()
            .filter(|backend| backend.is_available)
            .map(|backend| (backend.name(), &**backend))
            .collect();
        schedule.retain(|name| available.iter().any(|(known, _)| known == name));
        let now = Instant::now();
        let due = available
            .into_iter()
            .filter(|(name, backend)| schedule.is_due(name, &backend.place, now));
        let downloads = due.map(|(name, backend)| async {
            let answer = download(&api.aggregation, backend).await;
            (name, backend.place.clone(), answer)
        });
        let downloads: Vec<_> = downloads.collect();
        for (name, place, answer) in future::join_all(downloads).await {
            let outcome = match answer {
                Ok(Answer::New(swagger)) => {
                    api.aggregation.learn_openapi(&name, swagger);
                    Outcome::Answered
                }
                Ok(Answer::Same) => Outcome::Answered,
                Ok(Answer::Absent) => Outcome::Nothing,
                Err(error) => {
                    tracing::warn!(name, error, "cannot load the OpenAPI document of a server");
                    Outcome::Failed
                }
            };
            schedule.note(name, place, outcome, Instant::now());
        }
        let next = schedule.next();
        tokio::select! {
            () = api.shutdown.cancelled() => return,
            changed = servers.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
        }
    }
}

async fn download(aggregation: &Aggregation, backend: &Backend) -> Result<Answer, String> {
    match tokio::time::timeout(TIMEOUT, ask(aggregation, backend)).await {
        Ok(answer) => answer,
        Err(_) => Err("request timed out".to_owned()),
    }
}

async fn ask(aggregation: &Aggregation, backend: &Backend) -> Result<Answer, String> {
    let server = aggregation.server(backend, false).map_err(|error| error.to_string())?;
    let mut request =
        Request::get(server.url("/openapi/v2")).body(()).map_err(|e| e.to_string())?;
    let user = User { name: "system:aggregator".to_owned(), ..User::default() };
    pass::identify(request.headers_mut(), &user);
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    let known = backend.swagger.as_deref();
    if let Some(etag) = known.and_then(|known| known.etag.as_ref()) {
        request.headers_mut().insert(IF_NONE_MATCH, etag.clone());
    }
    let response = server.ask(request).await.map_err(|error| outward::explain(&error))?;
    let code = response.status();
    let etag = response.headers().get(ETAG).cloned();
    match code {
        StatusCode::NOT_MODIFIED if known.is_some_and(|known| known.etag.is_some()) => {
            return Ok(Answer::Same);
        }
        StatusCode::NOT_FOUND => return Ok(Answer::Absent),
        _ => {}
    }
    let body = Limited::new(response.into_body(), MAX_DOCUMENT).collect().await;
    let body: Bytes = body.map_err(|error| error.to_string())?.to_bytes();
    if code != StatusCode::OK {
        let shown = String::from_utf8_lossy(&body[..body.len().min(MAX_SHOWN)]);
        return Err(format!(
            "failed to retrieve openAPI spec, http error: ResponseCode: {}, Body: {shown}",
            code.as_u16()
        ));
    }
    let digest = digest(&SHA256, &body);
    if etag.is_none() && known.is_some_and(|known| known.digest.as_ref() == digest.as_ref()) {
        return Ok(Answer::Same);
    }
    let mut document: Value = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    let own = format!("{}/", backend.path());
    openapi::keep_paths(&mut document, |path| path.starts_with(&own));
    Ok(Answer::New(Swagger { document, etag, digest }))
}
