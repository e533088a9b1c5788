//! Objects from and to CBOR: `application/cbor`, and `application/cbor-seq` for watches (KEP-4222).
//!
//! Trees are the same that an object has in JSON. What is written is deterministic (RFC 8949,
//! 4.2.1) and starts with the tag of self-described CBOR; texts are byte strings, as upstream's
//! are, and binary data carries the tag that makes it base64 where it ends up as text. What is
//! read may be any well-formed CBOR within the limits below, but never with a key twice.

mod frame;
mod read;
#[cfg(test)]
mod tests;
mod write;

use serde_json::Value;

pub use self::frame::{ListFrame, watch_event};
use self::read::Reader;
use super::{DecodeError, Decoded, FieldValidation, decode};
use crate::schema::{self, TypeRef};

/// The tag that every encoded object begins with.
pub const MAGIC: [u8; 3] = [0xd9, 0xd9, 0xf7];

/// How deep arrays, maps and tags may be nested.
const MAX_DEPTH: usize = 64;
/// The most elements of an array, and pairs of a map.
const MAX_ELEMENTS: u64 = 1024;

/// Why bytes are no CBOR that can be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing at all.
    #[error("EOF")]
    Empty,
    /// The bytes end in the middle.
    #[error("unexpected EOF")]
    Truncated,
    /// Something follows the object.
    #[error("cbor: {0} bytes of extraneous data starting at index {1}")]
    Extraneous(usize, usize),
    /// An initial byte without a meaning.
    #[error("cbor: invalid additional information {0} for type {1}")]
    Initial(u8, &'static str),
    /// An end of an item of indefinite length where there is none.
    #[error("cbor: unexpected \"break\" code")]
    Break,
    /// A chunk of a string that is not of the string's type.
    #[error("cbor: wrong element type {0} for indefinite-length {1}")]
    Chunk(&'static str, &'static str),
    /// Items within items without end.
    #[error("cbor: exceeded max nested level {MAX_DEPTH}")]
    Depth,
    /// An array that is too long.
    #[error("cbor: exceeded max number of elements {MAX_ELEMENTS} for CBOR array")]
    Elements,
    /// A map that is too large.
    #[error("cbor: exceeded max number of key-value pairs {MAX_ELEMENTS} for CBOR map")]
    Pairs,
    /// The same key twice.
    #[error("cbor: found duplicate map key {0:?} at map element index {1}")]
    Duplicate(String, usize),
    /// A key that is no string.
    #[error("cbor: cannot unmarshal {0} into Go value of type string")]
    Key(&'static str),
    /// A text string that is not UTF-8.
    #[error("cbor: invalid UTF-8 string")]
    Utf8,
    /// An integer of more than 64 bits with sign.
    #[error("cbor: cannot unmarshal {0} into Go value of type int64 ({1} overflows int64)")]
    Overflow(&'static str, i128),
    /// What JSON has no counterpart of.
    #[error("cbor: data item of cbor type {0} is not accepted by protocol: {1}")]
    Unacceptable(&'static str, String),
    /// A tag of a time around something else.
    #[error("cbor: invalid content of a time tag: {0}")]
    Time(String),
    /// What the type of the field had to say.
    #[error("{0}")]
    Custom(String),
}

impl serde::de::Error for Error {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// Decodes an object into the canonical tree that its JSON form has.
///
/// # Errors
/// When the bytes are malformed, exceed a limit or do not fit the type.
pub fn decode(
    bytes: &[u8],
    ty: TypeRef<'_>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    decode::cbor(bytes, ty, validation)
}

/// Decodes any one item; keys of maps come out sorted.
///
/// # Errors
/// When the bytes are malformed or exceed a limit.
pub fn decode_untyped(bytes: &[u8]) -> Result<Value, Error> {
    let mut value: Value =
        whole(bytes, |source| <Value as serde::Deserialize>::deserialize(source))?;
    value.sort_all_objects();
    Ok(value)
}

/// `apiVersion` and `kind` of an object; each is empty when absent.
///
/// # Errors
/// Not CBOR, no map, or one of the two is no string.
pub fn peek_type_meta(bytes: &[u8]) -> Result<(String, String), DecodeError> {
    #[derive(serde::Deserialize)]
    struct TypeMeta {
        #[serde(rename = "apiVersion", default)]
        api_version: Option<String>,
        #[serde(default)]
        kind: Option<String>,
    }
    let meta: TypeMeta =
        whole(bytes, |source| <TypeMeta as serde::Deserialize>::deserialize(source)).map_err(
            |error| DecodeError::Syntax(format!("unable to determine group/version/kind: {error}")),
        )?;
    Ok((meta.api_version.unwrap_or_default(), meta.kind.unwrap_or_default()))
}

/// Runs a decoder over all of the bytes.
pub(super) fn whole<'de, T>(
    bytes: &'de [u8],
    decode: impl FnOnce(&mut Reader<'de>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut reader = Reader::new(bytes);
    let value = decode(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// Encodes an object of a type.
pub fn encode(value: &Value, ty: TypeRef<'_>) -> Vec<u8> {
    let mut out = begin();
    match ty.is_custom() {
        true => write::untyped(&mut out, value),
        false => write::typed(&mut out, value, ty),
    }
    out
}

/// Encodes an object of the kind that it names itself, or, if that is none of the built-in ones,
/// as the tree that it is.
pub fn encode_object(value: &Value) -> Vec<u8> {
    match schema::builtin().kind_of(value) {
        Some(ty) => encode(value, ty),
        None => encode_untyped(value),
    }
}

/// Encodes a tree as it is.
pub fn encode_untyped(value: &Value) -> Vec<u8> {
    let mut out = begin();
    write::untyped(&mut out, value);
    out
}

fn begin() -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(&MAGIC);
    out
}
