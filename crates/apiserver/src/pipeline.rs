//! What happens to every request before and after its handler, in this order: guards against
//! panics, audit id, authentication, audit, impersonation, flow control, authorization, time limit.
//!
//! The audit record is begun once the user is known, so that refusals are noted too, and finished
//! when the answer is.

mod audit_id;
mod impersonate;

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use component::logging::REQUESTS;
use futures::FutureExt as _;
use http::header::{AUTHORIZATION, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use machinery::status::Status;

use crate::audit::{Asked, Record};
use crate::authn::{self, ConnectionUser, User};
use crate::authz::{Attributes, Decision};
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
const FLOW_SCHEMA: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const PRIORITY_LEVEL: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

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
    /// From where it came.
    pub client: IpAddr,
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
    let mut reply = match &info {
        Ok(info) => {
            let request = Understood {
                api: &api,
                connection: &connection,
                client,
                id: &audit_id,
                info,
                query: &query,
            };
            request.answer(&mut parts, body).await
        }
        Err(message) => {
            respond::failure(&Status::bad_request(*message), failure_form(&parts.headers, &query))
        }
    };
    reply = match parts.method {
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

/// A request that is understood.
#[derive(Clone, Copy)]
struct Understood<'a> {
    api: &'a Arc<Api>,
    connection: &'a ConnectionUser,
    client: SocketAddr,
    id: &'a HeaderValue,
    info: &'a RequestInfo<'a>,
    query: &'a Query<'a>,
}

// === impl Understood ===

impl Understood<'_> {
    /// The answer, whatever happens on the way to it.
    async fn answer(self, parts: &mut Parts, body: Incoming) -> Reply {
        let mut record = None;
        let work = self.admit(parts, body, &mut record);
        let result = AssertUnwindSafe(work).catch_unwind().await;
        let mut reply = match result {
            Ok(Ok(reply)) => reply,
            Ok(Err(status)) => respond::failure(&status, failure_form(&parts.headers, self.query)),
            Err(panic) => {
                let reply = panicked(self.info);
                if let Some(record) = &record {
                    let message = panic_text(&*panic).to_owned();
                    record.panicked(reply.status().as_u16(), &message).await;
                }
                return reply;
            }
        };
        if let Some(record) = &record {
            record.answered(&mut reply, is_long_running(self.info, self.query)).await;
        }
        reply
    }

    async fn admit(
        self,
        parts: &mut Parts,
        body: Incoming,
        record: &mut Option<Arc<Record>>,
    ) -> Result<Reply, Failure> {
        let Self { api, info, query, .. } = self;
        if parts.headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
            authn::unpack_websocket_token(&mut parts.headers);
        }
        let user = match api.authenticator.authenticate(self.connection, &parts.headers) {
            Ok(user) => user,
            Err(refused) => {
                if let Some(record) = self.begin(None, parts) {
                    record.unauthenticated(attempts(self.connection, &parts.headers)).await;
                }
                return Err(refused);
            }
        };
        *record = self.begin(Some(&user), parts);
        if let Some(record) = record
            && !record.received().await
        {
            metrics::audit::rejected();
            return Err(Box::new(Status::internal("failed to store audit event")));
        }
        let asked = user.clone();
        let user = impersonate::apply(&api.authorizer, user, &mut parts.headers)?;
        if let Some(record) = record
            && !Arc::ptr_eq(&asked, &user)
        {
            record.impersonated(&user);
        }
        if api.shutdown.is_cancelled() && !is_health(info) {
            return Err(shutting_down());
        }
        let context = Context::new(user.clone()).recorded(record.clone()).with_verb(info.verb);
        let watch = info.verb == "watch";
        if is_long_running(info, query) && !watch {
            return self.serve(context, parts, body).await;
        }
        let schema = api.flow.classify(&user, info);
        let entered = api.flow.enter(&schema, &user, info, self.objects()).await;
        let mut reply = match entered {
            Err(_) => too_many_requests(),
            Ok(turn) => {
                // A watch gives its seat back once it has begun.
                let _turn = turn;
                let result = match watch {
                    true => self.serve(context, parts, body).await,
                    false => self.serve_in_time(context, parts, body).await,
                };
                result.unwrap_or_else(|status| {
                    respond::failure(&status, failure_form(&parts.headers, query))
                })
            }
        };
        let headers = reply.headers_mut();
        headers.insert(FLOW_SCHEMA, schema.schema_uid.clone());
        headers.insert(PRIORITY_LEVEL, schema.level_uid.clone());
        Ok(reply)
    }

    /// How many objects a list looks at.
    fn objects(&self) -> usize {
        let Self { info, api, .. } = self;
        if info.verb != "list" || !info.name.is_empty() {
            return 0;
        }
        let resource = api.registry.resource(info.group, info.version, info.resource);
        resource.map_or(0, |resource| resource.cache().len())
    }

    /// Authorizes the request and hands it to its handler.
    async fn serve(
        self,
        context: Context,
        parts: &mut Parts,
        body: Incoming,
    ) -> Result<Reply, Failure> {
        self.authorize(&context)?;
        let Self { api, info, query, .. } = self;
        let client = self.client.ip();
        let mut call = Call { api, info, query, parts, context, client };
        let result = handlers::dispatch(&mut call, body).await;
        let reply = result.unwrap_or_else(|status| {
            respond::failure(&status, failure_form(call.headers(), query))
        });
        Ok(with_warnings(reply, &call.context))
    }

    /// The same for requests that have to end.
    async fn serve_in_time(
        self,
        context: Context,
        parts: &mut Parts,
        body: Incoming,
    ) -> Result<Reply, Failure> {
        let _in_flight = metrics::InFlight::new(match parts.method {
            Method::GET | Method::HEAD => Kind::ReadOnly,
            _ => Kind::Mutating,
        });
        let limit = time_limit(self.query, self.api.config.request_timeout)?;
        match tokio::time::timeout(limit, self.serve(context, parts, body)).await {
            Ok(result) => result,
            Err(_) => Err(Box::new(Status::timeout(
                "request did not complete within the allotted timeout",
                0,
            ))),
        }
    }

    fn begin(&self, user: Option<&User>, parts: &Parts) -> Option<Arc<Record>> {
        let Self { id, info, client, .. } = *self;
        self.api.auditor.begin(&Asked { id, user, info, parts, client })
    }

    /// Asks whether the user may do this, and notes the answer.
    fn authorize(&self, context: &Context) -> Result<(), Failure> {
        let selector = self.query.get("fieldSelector").unwrap_or_default();
        let attributes = Attributes::of(&context.user, self.info, &selector);
        let authorizer = &self.api.authorizer;
        if !context.annotations.is_kept() {
            return authorizer.check(&attributes);
        }
        let (word, reason, result) = match authorizer.authorize(&attributes) {
            Decision::Allow(reason) => ("allow", reason, Ok(())),
            Decision::NoOpinion(reason) => {
                let refused = attributes.forbidden(&reason);
                ("forbid", reason, Err(Box::new(refused)))
            }
        };
        context.annotations.add("authorization.k8s.io/decision", word);
        context.annotations.add("authorization.k8s.io/reason", reason);
        result
    }
}

/// How somebody who is not known tried to be.
fn attempts(connection: &ConnectionUser, headers: &HeaderMap) -> String {
    let mut methods = Vec::new();
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let scheme = authorization.and_then(|value| value.split(' ').next()).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("basic") {
        methods.push("basic");
    } else if scheme.eq_ignore_ascii_case("bearer") {
        methods.push("bearer");
    }
    if !matches!(connection, ConnectionUser::None) {
        methods.push("x509");
    }
    match methods.as_slice() {
        [] => "Authentication failed, no credentials provided".to_owned(),
        methods => format!("Authentication failed, attempted: {}", methods.join(", ")),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default()
}

fn with_warnings(mut reply: Reply, context: &Context) -> Reply {
    for warning in context.warnings.take() {
        respond::warn(&mut reply, &warning);
    }
    reply
}

/// The answer to who finds no place to wait, or waits in vain; a plain text as upstream's.
fn too_many_requests() -> Reply {
    let text = "Too many requests, please try again later.\n";
    let mut reply = respond::text(StatusCode::TOO_MANY_REQUESTS, text);
    reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
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
