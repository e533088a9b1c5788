//! Canonical JSON as upstream's encoder writes it.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};
use smallvec::SmallVec;

use super::zero::{absent, is_omitted};
use super::{verbatim, yaml};
use crate::schema::{Field, Kind, TypeRef};

/// Canonical compact JSON, without a newline at the end.
pub fn encode_json(value: &Value, ty: TypeRef<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    encode_json_into(&mut out, value, ty);
    out
}

/// Appends canonical compact JSON.
pub fn encode_json_into(out: &mut Vec<u8>, value: &Value, ty: TypeRef<'_>) {
    if ty.is_custom() {
        return super::custom::write(out, value);
    }
    match (value, ty.kind()) {
        (Value::Object(object), Kind::Struct) => write_struct(out, object, ty),
        (
            Value::Object(object),
            Kind::SchemaOrBool(schema)
            | Kind::SchemaOrArray(schema)
            | Kind::SchemaOrStrings(schema),
        ) => write_struct(out, object, schema),
        (Value::Object(entries), Kind::Map(item)) => write_map(out, entries, item),
        (Value::Array(items), Kind::List(item) | Kind::SchemaOrArray(item)) => {
            write_list(out, items, item);
        }
        (Value::Number(number), Kind::Double) => write_double(out, number),
        (value, _) => write_untyped(out, value),
    }
}

/// Appends a tree as it is: order kept, nothing left out.
pub fn write_untyped(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_untyped(out, item);
            }
            out.push(b']');
        }
        Value::Object(entries) => {
            if let Some(number) = verbatim::number(entries) {
                return out.extend_from_slice(number.as_bytes());
            }
            out.push(b'{');
            for (at, (key, value)) in entries.iter().enumerate() {
                write_key(out, at == 0, key);
                write_untyped(out, value);
            }
            out.push(b'}');
        }
    }
}

/// YAML with keys in order of name, as upstream's serializer gives it.
pub fn encode_yaml(value: &Value, ty: TypeRef<'_>) -> String {
    let json = String::from_utf8(encode_json(value, ty)).expect("the encoder writes UTF-8");
    yaml::write(&verbatim::read(&json).expect("the encoder writes JSON"))
}

fn write_struct(out: &mut Vec<u8>, object: &Map<String, Value>, ty: TypeRef<'_>) {
    out.push(b'{');
    let mut first = true;
    for_each_written(object, ty, |field, value| {
        write_key(out, first, field.name());
        first = false;
        encode_json_into(out, &value, field.type_ref());
    });
    out.push(b'}');
}

/// Hands out the members of a struct that are written, in table order: what Go leaves out is left
/// out, what it writes although it is absent is there.
pub(super) fn for_each_written<'v, 's>(
    object: &'v Map<String, Value>,
    ty: TypeRef<'s>,
    mut write: impl FnMut(Field<'s>, Cow<'v, Value>),
) {
    let mut members: SmallVec<[(usize, &Value); 24]> = SmallVec::new();
    let mut sorted = true;
    let mut next = 0;
    for (name, value) in object {
        // In a canonical tree the next member is the next in the table that is not left out.
        let found = ty.position_from(name, next);
        let Some(position) = found else { continue };
        sorted = sorted && position >= next;
        next = position + 1;
        members.push((position, value));
    }
    if !sorted {
        members.sort_by_key(|(position, _)| *position);
    }
    let mut members = members.into_iter().peekable();
    for (position, field) in ty.fields().enumerate() {
        match members.next_if(|(at, _)| *at == position) {
            Some((_, value)) if !value.is_null() => {
                if !is_omitted(field, value) {
                    write(field, Cow::Borrowed(value));
                }
            }
            _ => {
                if let Some(zero) = absent(field) {
                    write(field, Cow::Owned(zero));
                }
            }
        }
    }
}

fn write_map(out: &mut Vec<u8>, entries: &Map<String, Value>, item: TypeRef<'_>) {
    out.push(b'{');
    let mut first = true;
    let mut write = |key: &String, value: &Value| {
        write_key(out, first, key);
        first = false;
        encode_json_into(out, value, item);
    };
    if entries.keys().is_sorted() {
        entries.iter().for_each(|(key, value)| write(key, value));
    } else {
        let mut sorted: Vec<_> = entries.iter().collect();
        sorted.sort_by_key(|(key, _)| *key);
        sorted.into_iter().for_each(|(key, value)| write(key, value));
    }
    out.push(b'}');
}

fn write_list(out: &mut Vec<u8>, items: &[Value], item: TypeRef<'_>) {
    out.push(b'[');
    for (at, value) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        encode_json_into(out, value, item);
    }
    out.push(b']');
}

pub(super) fn write_key(out: &mut Vec<u8>, first: bool, key: &str) {
    if !first {
        out.push(b',');
    }
    write_string(out, key);
    out.push(b':');
}

fn write_number(out: &mut Vec<u8>, number: &Number) {
    use std::io::Write as _;
    write!(out, "{number}").expect("a vector takes every byte");
}

/// Go writes whole floats without a point and switches to exponents late.
pub(super) fn write_double(out: &mut Vec<u8>, number: &Number) {
    use std::io::Write as _;
    let float = match number.as_f64() {
        Some(float) if number.is_f64() => float,
        _ => return write_number(out, number),
    };
    let size = float.abs();
    let written = if float != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{float:e}");
        // Go signs exponents but does not pad them in JSON.
        let text = match text.split_once("e-") {
            Some(_) => text,
            None => text.replacen('e', "e+", 1),
        };
        out.write_all(text.as_bytes())
    } else {
        write!(out, "{float}")
    };
    written.expect("a vector takes every byte");
}

/// Bytes that cannot stand in a string as they are; 0xE2 begins the two line separators.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'<' as usize] = true;
    table[b'>' as usize] = true;
    table[b'&' as usize] = true;
    table[0xe2] = true;
    table
};

/// Appends a JSON string, escaped as Go does.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut done = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if !SPECIAL[usize::from(byte)] {
            at += 1;
            continue;
        }
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0xe2 => {
                let separator: &[u8] = match &bytes[at + 1..] {
                    [0x80, 0xa8, ..] => b"\\u2028",
                    [0x80, 0xa9, ..] => b"\\u2029",
                    _ => {
                        at += 1;
                        continue;
                    }
                };
                out.extend_from_slice(&bytes[done..at]);
                out.extend_from_slice(separator);
                at += 3;
                done = at;
                continue;
            }
            _ => {
                out.extend_from_slice(&bytes[done..at]);
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
                at += 1;
                done = at;
                continue;
            }
        };
        out.extend_from_slice(&bytes[done..at]);
        out.extend_from_slice(escape);
        at += 1;
        done = at;
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

/// Indents compact JSON by two blanks, as upstream does for `?pretty=true`.
pub fn pretty(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut at = 0;
    let newline = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + 2 * depth, b' ');
    };
    while at < json.len() {
        let byte = json[at];
        at += 1;
        if in_string {
            out.push(byte);
            match byte {
                b'\\' => {
                    out.extend(json.get(at));
                    at += 1;
                }
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => {
                in_string = true;
                out.push(byte);
            }
            b'{' | b'[' => {
                out.push(byte);
                if json.get(at) == Some(&(byte + 2)) {
                    out.push(byte + 2);
                    at += 1;
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                newline(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => out.push(byte),
        }
    }
    out
}
