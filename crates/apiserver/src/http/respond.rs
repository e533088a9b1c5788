//! Responses: bytes, JSON values, texts and failures.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body::Body as _;
use machinery::Value;
use machinery::codec::{self, cbor, protobuf, yaml};
use machinery::status::Status;

use super::body::Body;
use super::negotiate::{self, Accepted, Format};

/// What every handler gives.
pub type Reply = Response<Body>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
const PROTOBUF: HeaderValue = HeaderValue::from_static(negotiate::PROTOBUF);
const CBOR: HeaderValue = HeaderValue::from_static(negotiate::CBOR);
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const PRIVATE: HeaderValue = HeaderValue::from_static("no-cache, private");

/// A response of bytes.
#[must_use]
pub fn bytes(code: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Body::full(body));
    *reply.status_mut() = code;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, PRIVATE);
    reply
}

/// A response of JSON text.
#[must_use]
pub fn json_bytes(code: StatusCode, body: impl Into<Bytes>) -> Reply {
    bytes(code, JSON, body)
}

/// A response of a JSON value.
#[must_use]
pub fn json(code: StatusCode, value: &Value) -> Reply {
    encoded(code, value, Format::Json, false)
}

/// A response of a value in the form the client takes.
#[must_use]
pub fn encoded(code: StatusCode, value: &Value, format: Format, pretty: bool) -> Reply {
    match format {
        Format::Json => json_bytes(code, encode_json(value, pretty)),
        Format::Yaml => bytes(code, YAML, yaml::write(value)),
        Format::Protobuf => match protobuf::encode_builtin(value) {
            Ok(message) => protobuf_bytes(code, message),
            // What has no binary form is sent all the same.
            Err(_) => json_bytes(code, encode_json(value, false)),
        },
        Format::Cbor => cbor_bytes(code, cbor::encode_object(value)),
    }
}

/// A response of an object in protobuf.
#[must_use]
pub fn protobuf_bytes(code: StatusCode, body: impl Into<Bytes>) -> Reply {
    bytes(code, PROTOBUF, body)
}

/// A response of an object in CBOR.
#[must_use]
pub fn cbor_bytes(code: StatusCode, body: impl Into<Bytes>) -> Reply {
    bytes(code, CBOR, body)
}

/// JSON text, compact with a newline at the end, or pretty.
#[must_use]
pub fn encode_json(value: &Value, pretty: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    codec::write_untyped(&mut out, value);
    if pretty {
        return codec::pretty(&out);
    }
    out.push(b'\n');
    out
}

/// A plain text.
#[must_use]
pub fn text(code: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = bytes(code, TEXT, body);
    reply.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    reply
}

/// A failure, in the one place where it becomes a response.
#[must_use]
pub fn failure(status: &Status, form: Accepted) -> Reply {
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = encoded(code, &status.to_value(), form.format, form.pretty);
    if let Some(seconds) = status.retry_after_seconds() {
        reply.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    reply
}

/// What answers HEAD: the headers alone, which tell the length. HTTP/2 takes any body for an error.
#[must_use]
pub fn without_body(mut reply: Reply) -> Reply {
    if let Some(len) = reply.body().size_hint().exact() {
        reply.headers_mut().insert(CONTENT_LENGTH, len.into());
    }
    *reply.body_mut() = Body::empty();
    reply
}

/// 404 of the router, a plain text as upstream's.
#[must_use]
pub fn page_not_found() -> Reply {
    text(StatusCode::NOT_FOUND, &b"404 page not found\n"[..])
}

/// Adds a `Warning: 299` header.
pub fn warn(reply: &mut Reply, message: &str) {
    let mut text = String::with_capacity(message.len() + 8);
    text.push_str("299 - \"");
    for c in message.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    text.push('"');
    if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
        reply.headers_mut().append(http::header::WARNING, value);
    }
}
