//! From a tree to the wire, byte for byte as upstream's generated code writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::Error;
use super::frame::envelope;
use super::wire::{FIXED64, VARINT, message, put_bytes, put_key, put_varint};
use crate::codec::write_untyped;
use crate::schema::{self, Field, Kind, TypeRef};
use crate::{duration, time};

/// Encodes an object in its envelope, which gets `apiVersion` and `kind` from the tree.
///
/// # Errors
/// When the type has no protobuf form.
pub fn encode(value: &Value, ty: TypeRef<'_>) -> Result<Vec<u8>, Error> {
    if ty.lacks_protobuf() {
        return Err(Error::NoForm);
    }
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut raw = Vec::with_capacity(512);
    fields(&mut raw, value.as_object(), ty);
    Ok(envelope(text("apiVersion"), text("kind"), &raw))
}

/// Encodes an object of a built-in kind, which it names itself.
///
/// # Errors
/// When the kind is unknown or has no protobuf form.
pub fn encode_builtin(value: &Value) -> Result<Vec<u8>, Error> {
    let ty = schema::builtin().kind_of(value).ok_or(Error::NoForm)?;
    encode(value, ty)
}

/// Writes the fields of a struct in order of their numbers. Of one that is absent, the fields that
/// are always written are.
pub(super) fn fields(out: &mut Vec<u8>, object: Option<&Map<String, Value>>, ty: TypeRef<'_>) {
    let mut order: SmallVec<[(u32, Field<'_>); 32]> =
        ty.declared_fields().filter_map(|field| Some((field.tag()?, field))).collect();
    order.sort_unstable_by_key(|(tag, _)| *tag);
    for (tag, field) in order {
        if field.is_inlined() {
            message(out, tag, |out| fields(out, object, field.type_ref()));
            continue;
        }
        let value = object.and_then(|object| object.get(field.name())).filter(|v| !v.is_null());
        one_field(out, tag, field, value);
    }
}

fn one_field(out: &mut Vec<u8>, tag: u32, field: Field<'_>, value: Option<&Value>) {
    let ty = field.type_ref();
    match (ty.kind(), value) {
        (Kind::List(item), Some(Value::Array(items))) if ty.is_wrapped() => {
            message(out, tag, |out| items.iter().for_each(|v| one(out, 1, item, Some(v))));
        }
        (Kind::List(item), Some(Value::Array(items))) => {
            items.iter().for_each(|value| one(out, tag, item, Some(value)));
        }
        (Kind::Map(item), Some(Value::Object(entries))) => map(out, tag, item, entries),
        (Kind::List(_) | Kind::Map(_) | Kind::Bytes, None) => {}
        (_, None) if field.is_pointer() => {}
        _ => one(out, tag, ty, value),
    }
}

fn map(out: &mut Vec<u8>, tag: u32, item: TypeRef<'_>, entries: &Map<String, Value>) {
    let mut sorted: SmallVec<[(&String, &Value); 16]> = entries.iter().collect();
    if !sorted.is_sorted_by_key(|(key, _)| *key) {
        sorted.sort_unstable_by_key(|(key, _)| *key);
    }
    for (key, value) in sorted {
        message(out, tag, |out| {
            put_bytes(out, 1, key.as_bytes());
            let given = Some(value).filter(|value| !value.is_null());
            match (item.kind(), given) {
                (Kind::Bytes, None) => {}
                // A named list of strings is a message of its own.
                (Kind::List(text), _) => message(out, 2, |out| {
                    let items = value.as_array().into_iter().flatten();
                    items.for_each(|value| one(out, 1, text, Some(value)));
                }),
                _ => one(out, 2, item, given),
            }
        });
    }
}

/// Writes one record. Absence, and a value that does not fit the type, are the type's zero value.
fn one(out: &mut Vec<u8>, tag: u32, ty: TypeRef<'_>, value: Option<&Value>) {
    let text = || value.and_then(Value::as_str);
    match ty.kind() {
        Kind::Bool => put_int(out, tag, value.and_then(Value::as_bool).unwrap_or(false).into()),
        Kind::Int32 | Kind::Int64 => put_int(out, tag, integer(value)),
        Kind::Double => {
            let double = value.and_then(Value::as_f64).unwrap_or(0.0);
            put_key(out, tag, FIXED64);
            out.extend_from_slice(&double.to_bits().to_le_bytes());
        }
        Kind::String => put_bytes(out, tag, text().unwrap_or_default().as_bytes()),
        Kind::Bytes => {
            let bytes = STANDARD.decode(text().unwrap_or_default()).unwrap_or_default();
            put_bytes(out, tag, &bytes);
        }
        Kind::Quantity => message(out, tag, |out| {
            put_bytes(out, 1, text().unwrap_or("0").as_bytes());
        }),
        Kind::Time | Kind::MicroTime => message(out, tag, |out| {
            if let Some(at) = text().and_then(time::parse) {
                let micros = at.as_microsecond();
                let whole = matches!(ty.kind(), Kind::Time);
                put_int(out, 1, micros.div_euclid(1_000_000));
                put_int(out, 2, if whole { 0 } else { micros.rem_euclid(1_000_000) * 1000 });
            }
        }),
        Kind::Duration => message(out, tag, |out| {
            let nanos = text().and_then(|text| duration::parse_nanos(text).ok());
            put_int(out, 1, nanos.unwrap_or(0));
        }),
        Kind::IntOrString => message(out, tag, |out| {
            put_int(out, 1, text().is_some().into());
            put_int(out, 2, integer(value));
            put_bytes(out, 3, text().unwrap_or_default().as_bytes());
        }),
        Kind::Raw(_) | Kind::Any => message(out, tag, |out| {
            if let Some(value) = value {
                let mut json = Vec::with_capacity(256);
                write_untyped(&mut json, value);
                put_bytes(out, 1, &json);
            }
        }),
        Kind::SchemaOrBool(schema) => message(out, tag, |out| {
            let object = value.and_then(Value::as_object);
            let allows = object.is_some() || value.and_then(Value::as_bool).unwrap_or(false);
            put_int(out, 1, allows.into());
            if object.is_some() {
                message(out, 2, |out| fields(out, object, schema));
            }
        }),
        Kind::SchemaOrArray(schema) | Kind::SchemaOrStrings(schema) => {
            message(out, tag, |out| match value {
                Some(Value::Object(object)) => {
                    message(out, 1, |out| fields(out, Some(object), schema));
                }
                Some(Value::Array(items)) => items.iter().for_each(|item| match item {
                    Value::String(text) => put_bytes(out, 2, text.as_bytes()),
                    item => message(out, 2, |out| fields(out, item.as_object(), schema)),
                }),
                _ => {}
            })
        }
        Kind::Struct => {
            message(out, tag, |out| fields(out, value.and_then(Value::as_object), ty));
        }
        // Lists of lists and the like do not occur in protobuf.
        Kind::List(_) | Kind::Map(_) => {}
    }
}

/// Trees out of YAML may have whole numbers as floats.
fn integer(value: Option<&Value>) -> i64 {
    let whole = |v: &Value| v.as_i64().or_else(|| v.as_f64().map(|float| float as i64));
    value.and_then(whole).unwrap_or(0)
}

/// Negative numbers take ten bytes, of 32 bits too.
fn put_int(out: &mut Vec<u8>, tag: u32, number: i64) {
    put_key(out, tag, VARINT);
    put_varint(out, number as u64);
}
