//! Objects to and from text, driven by the table of types.
//!
//! Decoding goes straight from the bytes into a canonical [`Value`]: members in table order,
//! map keys sorted, nulls and empty optional members gone, mandatory zero values present,
//! scalars in canonical text. That is what a round trip through upstream's Go structs gives.
//! JSON, YAML and trees that a patch has changed take the same path. Unknown and duplicate
//! fields are collected with their paths, and errors are worded as Go's decoder words them.
//!
//! Encoding accepts any tree and writes canonical JSON; for a canonical tree it is one pass
//! without lookups.

pub mod cbor;
mod custom;
mod decode;
mod encode;
mod keys;
pub mod protobuf;
mod report;
mod scalar;
mod syntax;
#[cfg(test)]
mod tests;
mod verbatim;
pub mod yaml;
mod zero;

use serde_json::Value;

use crate::schema::{self, TypeRef};

pub(crate) use decode::json_type;
pub(crate) use encode::write_string;
pub use encode::{encode_json, encode_json_into, encode_yaml, pretty, write_untyped};
pub use verbatim::read as read_json;
pub(crate) use zero::{is_always_written, zero};

/// What to do about unknown and duplicate fields (query parameter `fieldValidation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Drop them silently.
    Ignore,
    /// Drop them and say so in warnings.
    #[default]
    Warn,
    /// Refuse the object.
    Strict,
}

impl FieldValidation {
    /// Reads the query parameter; none if it is not one of the three words.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Self::Warn),
            "Ignore" => Some(Self::Ignore),
            "Strict" => Some(Self::Strict),
            _ => None,
        }
    }
}

/// A decoded object.
#[derive(Debug, PartialEq)]
pub struct Decoded {
    /// The canonical tree.
    pub value: Value,
    /// Texts such as `unknown field "spec.foo"`; only under [`FieldValidation::Warn`].
    pub warnings: Vec<String>,
}

/// Why bytes are no object of the wanted type.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON.
    #[error("{0}")]
    Syntax(String),
    /// Not YAML.
    #[error(transparent)]
    Yaml(#[from] yaml::Error),
    /// A value of one JSON type where the field has another.
    #[error("{0}")]
    Type(TypeMismatch),
    /// A text that its type does not accept, such as a malformed quantity.
    #[error("{0}")]
    Scalar(String),
    /// Unknown or duplicate fields under [`FieldValidation::Strict`].
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

/// A value of one JSON type where the field has another.
#[derive(Debug, PartialEq, Eq)]
pub struct TypeMismatch {
    /// What was found: `string`, `number 1.5`, `object`.
    pub found: String,
    /// Go's name of the struct that has the field, with the path of field names to it.
    pub field: Option<(String, String)>,
    /// Go's name of the wanted type.
    pub wanted: String,
}

impl std::fmt::Display for TypeMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "json: cannot unmarshal {} into Go ", self.found)?;
        match &self.field {
            Some((owner, path)) => write!(f, "struct field {owner}.{path}")?,
            None => f.write_str("value")?,
        }
        write!(f, " of type {}", self.wanted)
    }
}

/// Decodes JSON.
pub fn decode_json(
    bytes: &[u8],
    ty: TypeRef<'_>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => decode::json(text, ty, validation),
        // Go replaces what is not UTF-8.
        Err(_) => decode::json(&String::from_utf8_lossy(bytes), ty, validation),
    }
}

/// Decodes the first document of a YAML stream.
pub fn decode_yaml(
    bytes: &[u8],
    ty: TypeRef<'_>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    decode::yaml(&String::from_utf8_lossy(bytes), ty, validation)
}

/// Decodes a tree that comes from elsewhere, such as the result of a patch.
pub fn decode_value(
    value: Value,
    ty: TypeRef<'_>,
    validation: FieldValidation,
) -> Result<Decoded, DecodeError> {
    decode::tree(value, ty, validation)
}

/// The tree of an object that was written by [`encode_json`], with the numbers of raw fields as
/// they were written.
///
/// # Errors
/// Not JSON.
pub fn read_object(json: &[u8]) -> Result<Value, serde_json::Error> {
    let value: Value = serde_json::from_slice(json)?;
    let Some(text) = std::str::from_utf8(json).ok().filter(|text| !verbatim::is_plain(text)) else {
        return Ok(value);
    };
    let ty = schema::builtin().kind_of(&value);
    let typed = ty.and_then(|ty| decode::json(text, ty, FieldValidation::Ignore).ok());
    Ok(typed.map_or(value, |decoded| decoded.value))
}

/// Makes a tree canonical.
///
/// # Errors
/// A value of the wrong type; the tree is then left empty.
pub fn normalize(value: &mut Value, ty: TypeRef<'_>) -> Result<(), DecodeError> {
    *value = decode::tree(value.take(), ty, FieldValidation::Ignore)?.value;
    Ok(())
}

/// Drops from a custom object what its schema does not declare, metadata aside.
pub fn prune(value: &mut Value, ty: TypeRef<'_>) {
    custom::prune(value, ty);
}

/// `apiVersion` and `kind` of a JSON object; each is empty when absent.
///
/// # Errors
/// Not JSON, not an object, or one of the two is no string.
pub fn peek_type_meta(bytes: &[u8]) -> Result<(String, String), DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    decode::peek(&text).map_err(|error| {
        DecodeError::Syntax(format!("couldn't get version/kind; json parse error: {error}"))
    })
}
