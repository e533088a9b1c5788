//! Passes requests on.

use http::header::{CONNECTION, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Either;
use hyper::body::{Body as _, Incoming};
use machinery::features;
use machinery::status::Status;
use streams::upgrade;

use super::{Backend, Unreachable};
use crate::authn::User;
use crate::handlers::{passed_on, without_credentials};
use crate::http::query::encode;
use crate::http::respond::{self, Reply};
use crate::metrics::aggregation as metrics;
use crate::outward;
use crate::pipeline::{Call, Failure};

const USER: HeaderName = HeaderName::from_static("x-remote-user");
const UID: HeaderName = HeaderName::from_static("x-remote-uid");
const USER_GROUP: HeaderName = HeaderName::from_static("x-remote-group");
const EXTRA: &str = "x-remote-extra-";
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What is about one connection, not about the request.
const OF_CONNECTIONS: [HeaderName; 7] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Has another server answer a request.
pub(crate) async fn pass(
    call: &mut Call<'_>,
    backend: &Backend,
    body: Incoming,
) -> Result<Reply, Failure> {
    if !backend.is_available {
        return Ok(unavailable());
    }
    let path = call.parts.uri.path_and_query().cloned();
    let path = path.ok_or_else(|| Status::bad_request("the request has no path"))?;
    let mut headers = without_credentials(call.headers());
    identify(&mut headers, call.user());
    forwarded(&mut headers, call.client);
    let answer = match upgrade::is_upgrade(&headers) {
        true => switch(call, backend, path, headers).await,
        false => send(call, backend, &path, headers, body).await,
    };
    match answer {
        Ok(reply) => Ok(reply),
        Err(Failed::Unreachable(error)) => {
            tracing::error!(name = backend.name(), %error, "cannot reach an API service");
            Ok(unavailable())
        }
        Err(Failed::Unanswered(why)) => {
            let text = format!("error trying to reach service: {why}\n");
            Ok(respond::text(StatusCode::SERVICE_UNAVAILABLE, text))
        }
    }
}

/// Why another server did not answer.
enum Failed {
    Unreachable(Unreachable),
    Unanswered(String),
}

impl From<Unreachable> for Failed {
    fn from(error: Unreachable) -> Self {
        Self::Unreachable(error)
    }
}

/// Passes on a request that asks for another protocol, on a connection of its own.
async fn switch(
    call: &mut Call<'_>,
    backend: &Backend,
    path: PathAndQuery,
    headers: HeaderMap,
) -> Result<Reply, Failed> {
    let target = call.api.aggregation.target(backend)?;
    let mut request = Request::new(());
    *request.method_mut() = call.parts.method.clone();
    *request.headers_mut() = headers;
    *request.extensions_mut() = std::mem::take(&mut call.parts.extensions);
    let held = call.context.audit.clone();
    let switched = upgrade::pass_through(request, &target, Uri::from(path), held).await;
    switched.map(passed_on).map_err(|error| Failed::Unanswered(outward::explain_upgrade(&error)))
}

async fn send(
    call: &Call<'_>,
    backend: &Backend,
    path: &PathAndQuery,
    mut headers: HeaderMap,
    body: Incoming,
) -> Result<Reply, Failed> {
    let server = call.api.aggregation.server(backend, false)?;
    for name in OF_CONNECTIONS {
        headers.remove(name);
    }
    let mut request = Request::builder()
        .method(call.parts.method.clone())
        .uri(server.url(path.as_str()))
        .body(())
        .map_err(|error| Failed::Unanswered(error.to_string()))?;
    *request.headers_mut() = headers;
    let answer = match body.is_end_stream() {
        true => server.ask(request).await,
        false => server.client.request(request.map(|()| Either::Right(body))).await,
    };
    answer.map(passed_on).map_err(|error| {
        metrics::unanswered(&error);
        Failed::Unanswered(outward::explain(&error))
    })
}

/// Says who asks, in place of what the client may have said.
pub(super) fn identify(headers: &mut HeaderMap, user: &User) {
    let said: Vec<HeaderName> = headers
        .keys()
        .filter(|name| [USER, UID, USER_GROUP].contains(name) || name.as_str().starts_with(EXTRA))
        .cloned()
        .collect();
    for name in said {
        headers.remove(name);
    }
    let mut say = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.append(name, value);
        }
    };
    say(USER, &user.name);
    if !user.uid.is_empty() && features::enabled("RemoteRequestHeaderUID") == Some(true) {
        say(UID, &user.uid);
    }
    for group in &user.groups {
        say(USER_GROUP, group);
    }
    for (key, values) in &user.extra {
        let name = format!("{EXTRA}{}", encode(key).to_lowercase());
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        for value in values {
            say(name.clone(), value);
        }
    }
}

/// Adds who asked to those that passed the request on before.
fn forwarded(headers: &mut HeaderMap, client: std::net::IpAddr) {
    let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut all: Vec<String> = before.map(str::to_owned).collect();
    all.push(client.to_string());
    if let Ok(value) = HeaderValue::from_str(&all.join(", ")) {
        headers.insert(FORWARDED_FOR, value);
    }
}

fn unavailable() -> Reply {
    respond::text(StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_server_says_who_asks() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
            ("x-remote-extra-a", "b"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let user = User {
            name: "jane".to_owned(),
            uid: "7".to_owned(),
            groups: vec!["dev".to_owned(), "system:authenticated".to_owned()],
            extra: [("example.org/Scope".to_owned(), vec!["x".to_owned()])].into(),
        };
        identify(&mut headers, &user);
        let said = |name: &str| -> Vec<&str> {
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
        };
        assert_eq!(said("x-remote-user"), ["jane"]);
        assert_eq!(said("x-remote-uid"), ["7"]);
        assert_eq!(said("x-remote-group"), ["dev", "system:authenticated"]);
        assert_eq!(said("x-remote-extra-a"), [""; 0]);
        assert_eq!(said("x-remote-extra-example.org%2fscope"), ["x"]);
    }

    #[test]
    fn those_who_pass_on_are_listed() {
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("192.0.2.1"));
        forwarded(&mut headers, [192, 0, 2, 2].into());
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1, 192.0.2.2");
    }
}
