//! Answers.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};

/// Error of a body that ends early.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// Body of every answer.
pub(super) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body that is known already.
pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Plain text.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(full(text.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// An error as upstream's server writes it: the text alone on a line.
pub(super) fn error(status: StatusCode, message: impl std::fmt::Display) -> Response<Body> {
    text(status, format!("{message}\n"))
}

/// 404 for paths that are not served.
pub(super) fn not_found() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "404 page not found")
}

/// JSON.
pub(super) fn json_response(value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
