//! Paths that are no resources: discovery, health, metrics, version, keys.

use std::borrow::Cow;

use http::header::{ACCEPT, HeaderValue, IF_NONE_MATCH};
use http::{Method, StatusCode};
use machinery::status::Status;
use serde_json::json;

use crate::backup;
use crate::discovery::{Document, OPENAPI_PROTOBUF};
use crate::http::negotiate::{self, Accepted, Format, Offer};
use crate::http::respond::{self, Reply};
use crate::members;
use crate::metrics;
use crate::pipeline::{Call, Failure};
use crate::server;

pub(super) async fn dispatch(call: &Call<'_>) -> Result<Reply, Failure> {
    let path = call.info.path;
    let api = call.api;
    let trimmed = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    let is_health = component::health::Endpoint::from_path(path).is_some();
    if let Some(answer) = backup::answer(call).await {
        return answer;
    }
    if let Some(answer) = members::answer(call).await {
        return answer;
    }
    if !matches!(call.parts.method, Method::GET | Method::HEAD) {
        return Err(Box::new(Status::method_not_allowed()));
    }
    if is_health {
        let answer = api.checks.answer(path, call.parts.uri.query());
        return Ok(match answer {
            Some((code, text)) => respond::text(code, text),
            None => respond::page_not_found(),
        });
    }
    match trimmed {
        "/" => return Ok(respond::json(StatusCode::OK, &json!({"paths": PATHS}))),
        "/version" => return Ok(respond::json(StatusCode::OK, &server::version())),
        "/metrics" => {
            let kind = HeaderValue::from_static(component::metrics::CONTENT_TYPE);
            let text = metrics::text(&api.registry).await;
            return Ok(respond::bytes(StatusCode::OK, kind, text));
        }
        "/.well-known/openid-configuration" => {
            let issuer = api.service_accounts.issuer();
            let document = json!({
                "issuer": issuer,
                "jwks_uri": format!("https://{}:{}/openid/v1/jwks", api.config.advertise, api.port()),
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            return Ok(respond::json(StatusCode::OK, &document));
        }
        "/openid/v1/jwks" => {
            let kind = HeaderValue::from_static("application/jwk-set+json");
            let keys = api.service_accounts.jwks().to_string();
            return Ok(respond::bytes(StatusCode::OK, kind, keys));
        }
        _ => {}
    }
    if trimmed == "/api" || trimmed.starts_with("/api/") || trimmed.starts_with("/apis") {
        let accept = call.headers().get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or_default();
        return match api.discovery.document(&api.registry, trimmed, accept) {
            Some(document) => discovery(call, &document),
            None => Ok(respond::page_not_found()),
        };
    }
    if trimmed.starts_with("/openapi/") {
        return openapi(call, trimmed);
    }
    Ok(respond::page_not_found())
}

/// What `/` lists.
const PATHS: [&str; 20] = [
    "/.well-known/openid-configuration",
    "/api",
    "/api/v1",
    "/apis",
    "/healthz",
    "/healthz/etcd",
    "/healthz/log",
    "/healthz/ping",
    "/livez",
    "/livez/ping",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/store/check",
    "/store/members",
    "/store/snapshot",
    "/store/status",
    "/version",
];

fn discovery(call: &Call<'_>, document: &Document) -> Result<Reply, Failure> {
    if document.aggregated {
        return Ok(with_etag(call, document, document.content_type.clone()));
    }
    let accepted = Accepted::choose(call.headers(), Offer::PLAIN)?;
    let pretty = accepted.pretty || call.pretty();
    if accepted.format == Format::Json && !pretty {
        return Ok(respond::json_bytes(StatusCode::OK, document.bytes.clone()));
    }
    let value = serde_json::from_slice(&document.bytes)
        .map_err(|error| Status::internal(error.to_string()))?;
    Ok(respond::encoded(StatusCode::OK, &value, accepted.format, pretty))
}

fn with_etag(call: &Call<'_>, document: &Document, kind: HeaderValue) -> Reply {
    let known = call.headers().get(IF_NONE_MATCH);
    let mut reply = if known.is_some_and(|known| *known == document.etag) {
        respond::bytes(StatusCode::NOT_MODIFIED, kind, bytes::Bytes::new())
    } else {
        respond::bytes(StatusCode::OK, kind, document.bytes.clone())
    };
    let headers = reply.headers_mut();
    headers.insert(http::header::ETAG, document.etag.clone());
    headers.insert(http::header::VARY, HeaderValue::from_static("Accept"));
    reply
}

fn openapi(call: &Call<'_>, path: &str) -> Result<Reply, Failure> {
    let api = call.api;
    let accept = call.headers().get(ACCEPT).and_then(|a| a.to_str().ok()).unwrap_or("*/*");
    let form = negotiate::parse(accept).iter().find_map(|entry| match entry.media_type {
        "application/json" | "*/*" | "application/*" => Some(false),
        "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        | "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
            if path == "/openapi/v2" =>
        {
            Some(true)
        }
        _ => None,
    });
    let document = match form {
        Some(true) => api.discovery.openapi(&api.registry, &format!("{path}/{OPENAPI_PROTOBUF}")),
        _ => api.discovery.openapi(&api.registry, path),
    };
    let Some(document) = document else { return Ok(respond::page_not_found()) };
    if form.is_none() {
        return Err(Box::new(Status::not_acceptable(&["application/json"])));
    }
    let hash = call.query.get("hash").unwrap_or(Cow::Borrowed(""));
    let mut reply = with_etag(call, &document, document.content_type.clone());
    if !hash.is_empty() && document.etag.as_bytes() == format!("\"{hash}\"").as_bytes() {
        // A document that is asked for by its hash can be kept for good.
        let forever = HeaderValue::from_static("public, immutable");
        reply.headers_mut().insert(http::header::CACHE_CONTROL, forever);
    }
    Ok(reply)
}
