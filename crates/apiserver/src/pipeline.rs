//! What happens to every request before and after its handler, in this order: guards against
//! panics, audit id, authentication, impersonation, flow control, authorization, time limit.

mod audit_id;
mod impersonate;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use component::logging::REQUESTS;
use futures::FutureExt as _;
use http::header::{SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use hyper::body::Incoming;
use machinery::status::Status;

use crate::authn::user::MASTERS;
use crate::authn::{self, ConnectionUser, User};
use crate::authz::{self, Attributes};
use crate::backup;
use crate::flow::Kind;
use crate::handlers;
use crate::http::compress;
use crate::http::negotiate::{self, Accepted};
use crate::http::query::{self, Query};
use crate::http::respond::{self, Reply};
use crate::metrics;
use crate::registry::Context;
use crate::request_info::RequestInfo;
use crate::server::Api;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// A failure on its way to the client.
pub type Failure = Box<Status>;

/// A request that may go ahead, as handlers see it.
pub struct Call<'a> {
    /// The server.
    pub api: &'a Arc<Api>,
    /// What is asked for.
    pub info: &'a RequestInfo<'a>,
    /// The URL's query.
    pub query: &'a Query<'a>,
    /// Method, URL and headers.
    pub parts: &'a mut Parts,
    /// The user, and the warnings to send along.
    pub context: Context,
}

// === impl Call ===

impl Call<'_> {
    /// The request's headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Who asks.
    #[must_use]
    pub fn user(&self) -> &Arc<User> {
        &self.context.user
    }

    /// Whether the client wants indented JSON.
    #[must_use]
    pub fn pretty(&self) -> bool {
        is_pretty(self.headers(), self.query)
    }
}

/// Whether the client wants indented JSON: it says so, or is a browser or command-line tool.
fn is_pretty(headers: &HeaderMap, query: &Query<'_>) -> bool {
    if let Some(pretty) = query.optional_flag("pretty") {
        return pretty;
    }
    let agent = headers.get(http::header::USER_AGENT);
    agent.is_some_and(|agent| {
        let agent = agent.as_bytes();
        [&b"curl"[..], b"Wget", b"Mozilla/5.0"].iter().any(|name| agent.starts_with(name))
    })
}

/// Answers a request.
pub async fn handle(
    api: Arc<Api>,
    connection: Arc<ConnectionUser>,
    client: SocketAddr,
    request: Request<Incoming>,
) -> Reply {
    let start = Instant::now();
    let (mut parts, body) = request.into_parts();
    let uri = parts.uri.clone();
    let path = query::decode(uri.path(), false);
    let query = Query::parse(uri.query().unwrap_or_default());
    let audit_id = audit_id::of(&parts.headers);
    let dry_run = query.non_empty("dryRun").is_some();
    let info = RequestInfo::parse(&parts.method, &path, &query);
    let reply = match &info {
        Ok(info) => {
            let work = admit(&api, &connection, info, &query, &mut parts, body);
            match AssertUnwindSafe(work).catch_unwind().await {
                Ok(Ok(reply)) => reply,
                Ok(Err(status)) => respond::failure(&status, failure_form(&parts.headers, &query)),
                Err(_) => panicked(info),
            }
        }
        Err(message) => {
            respond::failure(&Status::bad_request(*message), failure_form(&parts.headers, &query))
        }
    };
    let mut reply = match parts.method {
        Method::HEAD => respond::without_body(reply),
        _ => compress::compressed(reply, &parts.headers),
    };
    if tracing::enabled!(target: REQUESTS, tracing::Level::DEBUG) {
        let verb = match info.as_ref().map_or("", |info| info.verb) {
            "create" => "post",
            "update" => "put",
            "" => parts.method.as_str(),
            verb => verb,
        };
        let agent = parts.headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok());
        tracing::debug!(
            target: REQUESTS,
            verb = verb.to_uppercase(),
            URI = %uri,
            latency = ?start.elapsed(),
            userAgent = agent.unwrap_or_default(),
            "audit-ID" = audit_id.to_str().unwrap_or_default(),
            srcIP = %client,
            resp = reply.status().as_u16(),
            "HTTP"
        );
    }
    reply.headers_mut().insert(AUDIT_ID, audit_id);
    if let Ok(info) = &info {
        let known = reply.status().is_success() || is_served(&api, info);
        metrics::finished(info, known, dry_run, &reply, start);
    }
    reply
}

/// Whether a request names things that exist; what clients make up must not become labels of
/// metrics.
fn is_served(api: &Api, info: &RequestInfo<'_>) -> bool {
    let resource = api.registry.resource(info.group, info.version, info.resource);
    resource.is_some_and(|resource| {
        info.subresource.is_empty() || resource.subresource(info.subresource).is_some()
    })
}

async fn admit(
    api: &Arc<Api>,
    connection: &ConnectionUser,
    info: &RequestInfo<'_>,
    query: &Query<'_>,
    parts: &mut Parts,
    body: Incoming,
) -> Result<Reply, Failure> {
    if parts.headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        authn::unpack_websocket_token(&mut parts.headers);
    }
    let user = api.authenticator.authenticate(connection, &parts.headers)?;
    let user = impersonate::apply(&api.authorizer, user, &mut parts.headers)?;
    let selector = query.get("fieldSelector").unwrap_or_default();
    let check = || api.authorizer.check(&Attributes::of(&user, info, &selector));
    let context = |user: &Arc<User>| Context::new(user.clone());
    if api.shutdown.is_cancelled() && !is_health(info) {
        return Err(shutting_down());
    }
    if is_long_running(info, query) {
        check()?;
        let context = context(&user);
        let mut call = Call { api, info, query, parts, context };
        let result = handlers::dispatch(&mut call, body).await;
        return result.map(|reply| with_warnings(reply, &call.context));
    }
    // A full server must still be able to say how it is, and to be repaired.
    let exempt = user.in_group(MASTERS) || authz::is_open(info);
    let kind = match parts.method {
        Method::GET | Method::HEAD => Kind::ReadOnly,
        _ => Kind::Mutating,
    };
    let _turn = if exempt { None } else { api.flow.enter(kind).await? };
    let _in_flight = metrics::InFlight::new(kind);
    check()?;
    let limit = time_limit(query, api.config.request_timeout)?;
    let context = context(&user);
    let mut call = Call { api, info, query, parts, context };
    match tokio::time::timeout(limit, handlers::dispatch(&mut call, body)).await {
        Ok(Ok(reply)) => Ok(with_warnings(reply, &call.context)),
        Ok(Err(status)) => {
            let reply = respond::failure(&status, failure_form(call.headers(), query));
            Ok(with_warnings(reply, &call.context))
        }
        Err(_) => Err(Box::new(Status::timeout(
            "request did not complete within the allotted timeout",
            0,
        ))),
    }
}

fn with_warnings(mut reply: Reply, context: &Context) -> Reply {
    for warning in context.warnings.take() {
        respond::warn(&mut reply, &warning);
    }
    reply
}

/// Requests that stay open for as long as the client likes.
fn is_long_running(info: &RequestInfo<'_>, query: &Query<'_>) -> bool {
    info.verb == "watch"
        || info.verb == "proxy"
        || matches!(info.path, backup::SNAPSHOT | backup::DEFRAGMENT)
        || matches!(info.subresource, "attach" | "exec" | "proxy" | "portforward")
        || (info.subresource == "log" && query.flag("follow"))
}

/// The client may ask for less time than the server's limit, not for more.
fn time_limit(query: &Query<'_>, limit: Duration) -> Result<Duration, Failure> {
    let Some(text) = query.non_empty("timeout") else { return Ok(limit) };
    let wanted = machinery::duration::parse_nanos(text).map_err(|error| {
        Status::bad_request(format!("invalid timeout specified in the request URL - {error}"))
    })?;
    // Zero and less mean no wish.
    let wanted = u64::try_from(wanted).ok().filter(|nanos| *nanos > 0).map(Duration::from_nanos);
    Ok(wanted.map_or(limit, |wanted| wanted.min(limit)))
}

fn failure_form(headers: &HeaderMap, query: &Query<'_>) -> Accepted {
    let accepted = negotiate::of_failure(headers);
    Accepted { pretty: accepted.pretty || is_pretty(headers, query), ..accepted }
}

/// Health must be told to the end: that is how load balancers learn to go elsewhere.
fn is_health(info: &RequestInfo<'_>) -> bool {
    component::health::Endpoint::from_path(info.path).is_some()
}

/// Requests that came before the end are finished; later ones are to be sent elsewhere.
fn shutting_down() -> Failure {
    let mut status = Status::service_unavailable("apiserver is shutting down");
    status.set_retry_after(1);
    Box::new(status)
}

fn panicked(info: &RequestInfo<'_>) -> Reply {
    tracing::error!(verb = info.verb, path = info.path, "a request handler panicked");
    let message =
        "This request caused apiserver to panic. Look in the logs for details.".to_owned();
    respond::text(StatusCode::INTERNAL_SERVER_ERROR, message)
}
