//! Request bodies: read within a limit, and decoded.

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use machinery::codec::{self, DecodeError, FieldValidation, cbor, protobuf, yaml};
use machinery::schema::TypeRef;
use machinery::status::Status;
use machinery::{Value, hex};

use crate::http::negotiate::{self, PROTOBUF};
use crate::pipeline::{Call, Failure};

/// Upstream's limit, a little above the largest object that etcd takes.
const LIMIT: usize = 3 * 1024 * 1024;

/// Reads a whole body.
///
/// # Errors
/// 413 when it is too large, 400 when it breaks off.
pub async fn read(body: Incoming) -> Result<Bytes, Failure> {
    let mut body = Limited::new(body, LIMIT);
    let mut pieces = Vec::new();
    // A body that is whole is not asked for its end, which would take another poll of everything.
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
            true => Status::request_entity_too_large(format!("limit is {LIMIT}")),
            false => Status::bad_request(error.to_string()),
        })?;
        pieces.extend(frame.into_data());
    }
    Ok(match <[Bytes; 1]>::try_from(pieces) {
        Ok([whole]) => whole,
        Err(pieces) => pieces.concat().into(),
    })
}

/// The kind an object should have.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// `apps/v1`
    pub api_version: &'a str,
    /// `Deployment`
    pub kind: &'a str,
    /// Its type.
    pub ty: TypeRef<'a>,
}

/// Decodes the body of a write into an object of the expected kind. Unknown and duplicate fields
/// become warnings or errors as the client wishes.
///
/// # Errors
/// 400 when it is malformed or of another kind, 415 when its media type is unknown.
pub fn decode(
    call: &Call<'_>,
    bytes: &[u8],
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Value, Failure> {
    let object = object(call, bytes, expected, validation)?;
    if let Some(record) = &call.context.audit {
        record.request_object(&object);
    }
    Ok(object)
}

fn object(
    call: &Call<'_>,
    bytes: &[u8],
    expected: Expected<'_>,
    validation: FieldValidation,
) -> Result<Value, Failure> {
    let media = negotiate::content_type(call.headers());
    let decoded = match media {
        "" | negotiate::JSON => codec::decode_json(bytes, expected.ty, validation),
        negotiate::YAML => codec::decode_yaml(bytes, expected.ty, validation),
        negotiate::CBOR => cbor::decode(bytes, expected.ty, validation),
        PROTOBUF => {
            let refuse = |error: DecodeError| {
                let kind = expected.kind;
                Status::bad_request(format!(
                    "the object provided is unrecognized (must be of type {kind}): {error}"
                ))
            };
            let mut object = protobuf::decode(bytes, expected.ty).map_err(refuse)?.value;
            check_kind(&mut object, expected)?;
            return Ok(object);
        }
        _ => return Err(Box::new(Status::unsupported_media_type(&negotiate::ACCEPTED))),
    };
    let decoded = decoded.map_err(|error| refused(&error, bytes, media, expected))?;
    for warning in decoded.warnings {
        call.context.warnings.add(warning);
    }
    let mut object = decoded.value;
    check_kind(&mut object, expected)?;
    Ok(object)
}

/// Fills in `apiVersion` and `kind` where absent and refuses others than expected.
fn check_kind(object: &mut Value, expected: Expected<'_>) -> Result<(), Failure> {
    let Expected { api_version, kind, .. } = expected;
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (found_version, found_kind) = (text("apiVersion"), text("kind"));
    if found_version == api_version && found_kind == kind {
        return Ok(());
    }
    if !found_version.is_empty() && found_version != api_version {
        return Err(Box::new(Status::bad_request(format!(
            "the API version in the data ({found_version}) does not match the expected API \
             version ({api_version})"
        ))));
    }
    if !found_kind.is_empty() && found_kind != kind {
        let version = api_version.rsplit('/').next().unwrap_or_default();
        return Err(Box::new(Status::bad_request(format!(
            "{found_kind} in version {version:?} cannot be handled as a {kind}: converting \
             ({version}.{found_kind}) to ({version}.{kind}): unknown conversion"
        ))));
    }
    let mut fields = serde_json::Map::new();
    fields.insert("kind".to_owned(), kind.into());
    fields.insert("apiVersion".to_owned(), api_version.into());
    if let Some(rest) = object.as_object_mut() {
        for (name, value) in std::mem::take(rest) {
            fields.entry(name).or_insert(value);
        }
    }
    // Empty texts in the object do not win over the defaults.
    *object = Value::Object(fields);
    Ok(())
}

/// The 400 of a body that cannot be decoded.
fn refused(error: &DecodeError, bytes: &[u8], media: &str, expected: Expected<'_>) -> Failure {
    let kind = expected.kind;
    let named = match media {
        negotiate::YAML => yaml::read(&String::from_utf8_lossy(bytes)).ok().map(|document| {
            let text = |field: &str| {
                document.value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            (text("apiVersion"), text("kind"))
        }),
        negotiate::CBOR => cbor::peek_type_meta(bytes).ok(),
        _ => codec::peek_type_meta(bytes).ok(),
    };
    let message = match named {
        Some((version, found)) => {
            let found = if found.is_empty() { kind } else { &found };
            let version = if version.is_empty() { expected.api_version } else { &version };
            let version = version.rsplit('/').next().unwrap_or_default();
            format!("{found} in version {version:?} cannot be handled as a {kind}: {error}")
        }
        None => {
            let error = match error {
                DecodeError::Syntax(_) => {
                    let peeked = match media {
                        negotiate::CBOR => cbor::peek_type_meta(bytes),
                        _ => codec::peek_type_meta(bytes),
                    };
                    peeked.err().map_or_else(|| error.to_string(), |error| error.to_string())
                }
                _ => error.to_string(),
            };
            let summary = summary(bytes);
            format!(
                "the object provided is unrecognized (must be of type {kind}): {error} ({summary})"
            )
        }
    };
    Box::new(Status::bad_request(message))
}

/// The beginning of a body, for messages about it.
fn summary(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "<empty>".to_owned();
    }
    let shown = &bytes[..bytes.len().min(30)];
    let dots = if bytes.len() > shown.len() { " ..." } else { "" };
    if bytes.first() == Some(&b'{') {
        return format!("{:?}{dots}", String::from_utf8_lossy(shown)).replace("\\'", "'");
    }
    format!("{}{dots}", hex::digits(shown))
}
