//! From the wire into the tree that the object has in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::wire::{Reader, Scalar};
use super::{Error, open};
use crate::codec::{DecodeError, Decoded, FieldValidation, decode_value, read_json};
use crate::schema::{Field, Kind, TypeRef};
use crate::{duration, time};

/// How deep messages may be nested.
const MAX_DEPTH: usize = 64;

/// Decodes an object into the canonical tree that its JSON form has.
///
/// # Errors
/// When the bytes are malformed or do not fit the type.
pub fn decode(bytes: &[u8], ty: TypeRef<'_>) -> Result<Decoded, DecodeError> {
    let wrong = |error: Error| DecodeError::Syntax(error.to_string());
    let envelope = open(bytes).map_err(wrong)?;
    let mut object = Map::new();
    for (field, text) in [("kind", envelope.kind), ("apiVersion", envelope.api_version)] {
        if !text.is_empty() {
            object.insert(field.to_owned(), text.into());
        }
    }
    message(envelope.raw, ty, &mut object, 0).map_err(wrong)?;
    decode_value(Value::Object(object), ty, FieldValidation::Ignore)
}

/// Reads the fields of a message into `object`.
fn message(
    bytes: &[u8],
    ty: TypeRef<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Error> {
    if ty.lacks_protobuf() {
        return Err(Error::NoForm);
    }
    if depth > MAX_DEPTH {
        return Err(Error::Depth);
    }
    let mut reader = Reader::new(bytes);
    while let Some((tag, scalar)) = reader.next()? {
        let Some(field) = ty.declared_fields().find(|field| field.tag() == Some(tag)) else {
            continue;
        };
        if field.is_inlined() {
            message(scalar.bytes(tag)?, field.type_ref(), object, depth + 1)?;
            continue;
        }
        one_field(field, tag, scalar, object, depth)?;
    }
    Ok(())
}

fn one_field(
    field: Field<'_>,
    tag: u32,
    scalar: Scalar<'_>,
    object: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Error> {
    let ty = field.type_ref();
    let name = field.name();
    match ty.kind() {
        Kind::List(element) if ty.is_wrapped() => {
            let list = wrapped(scalar.bytes(tag)?, element, depth)?;
            object.insert(name.to_owned(), list);
        }
        Kind::List(element) => {
            let entry = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            let Some(list) = entry.as_array_mut() else { return Ok(()) };
            if let (Scalar::Bytes(packed), true) = (scalar, is_number(element)) {
                let mut reader = Reader::new(packed);
                while !reader.is_empty() {
                    let number = match element.kind() {
                        Kind::Double => Scalar::Fixed64(reader.fixed64()?),
                        _ => Scalar::Varint(reader.varint()?),
                    };
                    list.push(value(element, tag, number, depth)?);
                }
            } else {
                list.push(value(element, tag, scalar, depth)?);
            }
        }
        Kind::Map(element) => {
            let (key, entry) = map_entry(element, scalar.bytes(tag)?, depth)?;
            let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Some(map) = map.as_object_mut() {
                map.insert(key, entry);
            }
        }
        _ => {
            let value = value(ty, tag, scalar, depth)?;
            object.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

/// A named list of strings that is a message of its own.
fn wrapped(bytes: &[u8], element: TypeRef<'_>, depth: usize) -> Result<Value, Error> {
    let mut list = Vec::new();
    let mut reader = Reader::new(bytes);
    while let Some((tag, scalar)) = reader.next()? {
        if tag == 1 {
            list.push(value(element, tag, scalar, depth + 1)?);
        }
    }
    Ok(Value::Array(list))
}

fn map_entry(element: TypeRef<'_>, bytes: &[u8], depth: usize) -> Result<(String, Value), Error> {
    let (mut key, mut found) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some((tag, scalar)) = reader.next()? {
        match tag {
            1 => key = scalar.text(tag)?.to_owned(),
            2 => found = Some(in_map(element, tag, scalar, depth)?),
            _ => {}
        }
    }
    let value = match found {
        Some(value) => value,
        None => absent(element),
    };
    Ok((key, value))
}

/// A map's value, which can be a wrapped list where a list's element cannot.
fn in_map(ty: TypeRef<'_>, tag: u32, scalar: Scalar<'_>, depth: usize) -> Result<Value, Error> {
    match ty.kind() {
        Kind::List(element) => wrapped(scalar.bytes(tag)?, element, depth),
        _ => value(ty, tag, scalar, depth),
    }
}

/// What an entry without a value means.
fn absent(ty: TypeRef<'_>) -> Value {
    match ty.kind() {
        Kind::String => "".into(),
        Kind::Bool => false.into(),
        Kind::Int32 | Kind::Int64 | Kind::Double => 0.into(),
        Kind::Struct => Value::Object(Map::new()),
        _ => Value::Null,
    }
}

fn is_number(ty: TypeRef<'_>) -> bool {
    matches!(ty.kind(), Kind::Bool | Kind::Int32 | Kind::Int64 | Kind::Double)
}

fn value(ty: TypeRef<'_>, tag: u32, scalar: Scalar<'_>, depth: usize) -> Result<Value, Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Depth);
    }
    Ok(match ty.kind() {
        Kind::Bool => (scalar.varint(tag)? != 0).into(),
        // The sign is in the low half, as Go's conversion takes it.
        Kind::Int32 => (scalar.varint(tag)? as u32 as i32).into(),
        Kind::Int64 => (scalar.varint(tag)? as i64).into(),
        Kind::Double => f64::from_bits(scalar.fixed64(tag)?).into(),
        Kind::String => scalar.text(tag)?.into(),
        Kind::Bytes => STANDARD.encode(scalar.bytes(tag)?).into(),
        Kind::Quantity => match first(scalar.bytes(tag)?)? {
            Some(text) => text.text(1)?.into(),
            None => "0".into(),
        },
        Kind::Time => match seconds_and_nanos(scalar.bytes(tag)?)? {
            Some(at) => time::format(at).into(),
            None => Value::Null,
        },
        Kind::MicroTime => match seconds_and_nanos(scalar.bytes(tag)?)? {
            Some(at) => time::format_micro(at).into(),
            None => Value::Null,
        },
        Kind::Duration => {
            let nanos = match first(scalar.bytes(tag)?)? {
                Some(number) => number.varint(1)? as i64,
                None => 0,
            };
            duration::format_nanos(nanos).into()
        }
        Kind::IntOrString => int_or_string(scalar.bytes(tag)?)?,
        Kind::Raw(_) | Kind::Any => match first(scalar.bytes(tag)?)? {
            Some(raw) => {
                let raw = raw.bytes(1)?;
                if raw.is_empty() {
                    Value::Null
                } else {
                    std::str::from_utf8(raw)
                        .ok()
                        .and_then(|raw| read_json(raw).ok())
                        .ok_or(Error::Json(tag))?
                }
            }
            None => Value::Null,
        },
        Kind::SchemaOrBool(schema) => {
            let (mut allows, mut found) = (false, None);
            let mut reader = Reader::new(scalar.bytes(tag)?);
            while let Some((tag, scalar)) = reader.next()? {
                match tag {
                    1 => allows = scalar.varint(tag)? != 0,
                    2 => found = Some(value(schema, tag, scalar, depth + 1)?),
                    _ => {}
                }
            }
            found.unwrap_or_else(|| allows.into())
        }
        Kind::SchemaOrArray(schema) | Kind::SchemaOrStrings(schema) => {
            let strings = matches!(ty.kind(), Kind::SchemaOrStrings(_));
            let (mut one, mut list) = (Value::Null, Vec::new());
            let mut reader = Reader::new(scalar.bytes(tag)?);
            while let Some((tag, scalar)) = reader.next()? {
                match tag {
                    1 => one = value(schema, tag, scalar, depth + 1)?,
                    2 if strings => list.push(scalar.text(tag)?.into()),
                    2 => list.push(value(schema, tag, scalar, depth + 1)?),
                    _ => {}
                }
            }
            if list.is_empty() { one } else { Value::Array(list) }
        }
        Kind::Struct => {
            let mut object = Map::new();
            message(scalar.bytes(tag)?, ty, &mut object, depth + 1)?;
            Value::Object(object)
        }
        Kind::List(element) => wrapped(scalar.bytes(tag)?, element, depth)?,
        Kind::Map(_) => return Err(Error::NoForm),
    })
}

/// Field 1 of a message that has no other.
fn first(bytes: &[u8]) -> Result<Option<Scalar<'_>>, Error> {
    let mut found = None;
    let mut reader = Reader::new(bytes);
    while let Some((tag, scalar)) = reader.next()? {
        if tag == 1 {
            found = Some(scalar);
        }
    }
    Ok(found)
}

/// `None` for the zero time, which is an empty message.
fn seconds_and_nanos(bytes: &[u8]) -> Result<Option<time::Timestamp>, Error> {
    let (mut seconds, mut nanos, mut any) = (0, 0, false);
    let mut reader = Reader::new(bytes);
    while let Some((tag, scalar)) = reader.next()? {
        any = true;
        match tag {
            1 => seconds = scalar.varint(tag)? as i64,
            2 => nanos = scalar.varint(tag)? as u32 as i32,
            _ => {}
        }
    }
    Ok(if any { time::Timestamp::new(seconds, nanos).ok() } else { None })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Error> {
    let (mut is_text, mut number, mut text) = (false, 0, "");
    let mut reader = Reader::new(bytes);
    while let Some((tag, scalar)) = reader.next()? {
        match tag {
            1 => is_text = scalar.varint(tag)? != 0,
            2 => number = scalar.varint(tag)? as u32 as i32,
            3 => text = scalar.text(tag)?,
            _ => {}
        }
    }
    Ok(if is_text { text.into() } else { number.into() })
}
