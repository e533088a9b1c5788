//! From a tree to deterministic CBOR.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};
use smallvec::SmallVec;

use crate::codec::encode::for_each_written;
use crate::codec::verbatim;
use crate::schema::{Kind, TypeRef};

/// Major types, shifted to their place in the initial byte.
const POSITIVE: u8 = 0 << 5;
const NEGATIVE: u8 = 1 << 5;
const BYTES: u8 = 2 << 5;
pub(super) const ARRAY: u8 = 4 << 5;
pub(super) const MAP: u8 = 5 << 5;
const TAG: u8 = 6 << 5;

const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;
const FLOAT16: u8 = 0xf9;
const FLOAT32: u8 = 0xfa;
const FLOAT64: u8 = 0xfb;

/// Bytes that become base64 where they end up as text.
const BASE64: u64 = 22;

/// Appends a value of a type, with what Go leaves out left out.
pub(super) fn typed(out: &mut Vec<u8>, value: &Value, ty: TypeRef<'_>) {
    match (value, ty.kind()) {
        (Value::Object(object), Kind::Struct) => write_struct(out, object, ty),
        (
            Value::Object(object),
            Kind::SchemaOrBool(schema)
            | Kind::SchemaOrArray(schema)
            | Kind::SchemaOrStrings(schema),
        ) => write_struct(out, object, schema),
        (Value::Object(entries), Kind::Map(item)) => {
            write_map(out, entries, |out, value| typed(out, value, item));
        }
        (Value::Array(items), Kind::List(item) | Kind::SchemaOrArray(item)) => {
            head(out, ARRAY, items.len() as u64);
            items.iter().for_each(|value| typed(out, value, item));
        }
        (Value::Number(number), Kind::Double) => write_float(out, number.as_f64().unwrap_or(0.0)),
        (Value::String(text), Kind::Bytes) => match STANDARD.decode(text) {
            Ok(bytes) => {
                head(out, TAG, BASE64);
                write_bytes(out, &bytes);
            }
            Err(_) => write_bytes(out, text.as_bytes()),
        },
        (value, _) => untyped(out, value),
    }
}

/// Appends a tree as it is.
pub(super) fn untyped(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_bytes(out, text.as_bytes()),
        Value::Array(items) => {
            head(out, ARRAY, items.len() as u64);
            items.iter().for_each(|value| untyped(out, value));
        }
        Value::Object(entries) => match verbatim::number(entries) {
            // Upstream too reads raw JSON into numbers of 64 bits here.
            Some(number) => match number.parse() {
                Ok(number) => write_integer(out, number),
                Err(_) => write_float(out, number.parse().unwrap_or(0.0)),
            },
            None => write_map(out, entries, untyped),
        },
    }
}

/// Appends an initial byte with its argument in the shortest form.
pub(super) fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    match argument {
        0..=23 => out.push(major | argument as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

/// Appends a byte string, the form of all texts and keys.
pub(super) fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, BYTES, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The order of encoded keys: the length stands in front.
fn order(key: &str) -> (usize, &[u8]) {
    (key.len(), key.as_bytes())
}

fn write_struct(out: &mut Vec<u8>, object: &Map<String, Value>, ty: TypeRef<'_>) {
    let mut members: SmallVec<[(&str, Cow<'_, Value>, TypeRef<'_>); 24]> = SmallVec::new();
    for_each_written(object, ty, |field, value| {
        members.push((field.name(), value, field.type_ref()));
    });
    members.sort_unstable_by(|(a, ..), (b, ..)| order(a).cmp(&order(b)));
    head(out, MAP, members.len() as u64);
    for (name, value, ty) in members {
        write_bytes(out, name.as_bytes());
        typed(out, &value, ty);
    }
}

fn write_map(
    out: &mut Vec<u8>,
    entries: &Map<String, Value>,
    write: impl Fn(&mut Vec<u8>, &Value),
) {
    let mut sorted: SmallVec<[(&String, &Value); 16]> = entries.iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| order(a).cmp(&order(b)));
    head(out, MAP, sorted.len() as u64);
    for (key, value) in sorted {
        write_bytes(out, key.as_bytes());
        write(out, value);
    }
}

fn write_number(out: &mut Vec<u8>, number: &Number) {
    if let Some(number) = number.as_u64() {
        head(out, POSITIVE, number);
    } else if let Some(number) = number.as_i64() {
        write_integer(out, number);
    } else {
        write_float(out, number.as_f64().unwrap_or(0.0));
    }
}

fn write_integer(out: &mut Vec<u8>, number: i64) {
    match u64::try_from(number) {
        Ok(number) => head(out, POSITIVE, number),
        Err(_) => head(out, NEGATIVE, (-1 - number) as u64),
    }
}

/// The shortest of the three widths that keeps the value.
fn write_float(out: &mut Vec<u8>, float: f64) {
    let single = float as f32;
    if f64::from(single).to_bits() != float.to_bits() {
        out.push(FLOAT64);
        out.extend_from_slice(&float.to_bits().to_be_bytes());
    } else if let Some(half) = to_half(single) {
        out.push(FLOAT16);
        out.extend_from_slice(&half.to_be_bytes());
    } else {
        out.push(FLOAT32);
        out.extend_from_slice(&single.to_bits().to_be_bytes());
    }
}

/// A float in 16 bits, if nothing is lost.
fn to_half(single: f32) -> Option<u16> {
    let bits = single.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let exponent = (bits >> 23 & 0xff) as i32 - 127;
    let fraction = bits & 0x7f_ffff;
    match exponent {
        -127 if fraction == 0 => Some(sign),
        -14..=15 if fraction & 0x1fff == 0 => {
            Some(sign | ((exponent + 15) as u16) << 10 | (fraction >> 13) as u16)
        }
        // Below the normal range the leading one moves into the fraction.
        -24..=-15 => {
            let whole = fraction | 0x80_0000;
            let shift = (-1 - exponent) as u32;
            let lost = whole & ((1 << shift) - 1);
            (lost == 0).then_some(sign | (whole >> shift) as u16)
        }
        _ => None,
    }
}
