//! Conversions between types.

use super::{Answer, Declared, no_overload, time};
use crate::eval::{EvalError, Scope};
use crate::value::{Opaque, Value};

pub(super) const DECLARED: &[Declared] = &[
    Declared("to_dyn", "dyn(A) -> dyn", same),
    Declared("bool_to_bool", "bool(bool) -> bool", same),
    Declared("string_to_bool", "bool(string) -> bool", to_bool),
    Declared("bytes_to_bytes", "bytes(bytes) -> bytes", same),
    Declared("string_to_bytes", "bytes(string) -> bytes", to_bytes),
    Declared("double_to_double", "double(double) -> double", same),
    Declared("int64_to_double", "double(int) -> double", to_double),
    Declared("string_to_double", "double(string) -> double", to_double),
    Declared("uint64_to_double", "double(uint) -> double", to_double),
    Declared("int64_to_int64", "int(int) -> int", same),
    Declared("double_to_int64", "int(double) -> int", to_int),
    Declared("string_to_int64", "int(string) -> int", to_int),
    Declared("timestamp_to_int64", "int(timestamp) -> int", to_int),
    Declared("uint64_to_int64", "int(uint) -> int", to_int),
    Declared("uint64_to_uint64", "uint(uint) -> uint", same),
    Declared("double_to_uint64", "uint(double) -> uint", to_uint),
    Declared("int64_to_uint64", "uint(int) -> uint", to_uint),
    Declared("string_to_uint64", "uint(string) -> uint", to_uint),
    Declared("string_to_string", "string(string) -> string", same),
    Declared("bool_to_string", "string(bool) -> string", to_string),
    Declared("bytes_to_string", "string(bytes) -> string", to_string),
    Declared("double_to_string", "string(double) -> string", to_string),
    Declared("duration_to_string", "string(duration) -> string", to_string),
    Declared("int64_to_string", "string(int) -> string", to_string),
    Declared("timestamp_to_string", "string(timestamp) -> string", to_string),
    Declared("uint64_to_string", "string(uint) -> string", to_string),
    Declared("ip_to_string", "string(net.IP) -> string", to_string),
    Declared("cidr_to_string", "string(net.CIDR) -> string", to_string),
    Declared("duration_to_duration", "duration(duration) -> duration", same),
    Declared("string_to_duration", "duration(string) -> duration", to_duration),
    Declared("timestamp_to_timestamp", "timestamp(timestamp) -> timestamp", same),
    Declared("int64_to_timestamp", "timestamp(int) -> timestamp", to_timestamp),
    Declared("string_to_timestamp", "timestamp(string) -> timestamp", to_timestamp),
];

fn same(_: &mut Scope, args: &[Value]) -> Answer {
    Ok(args[0].clone())
}

fn failed(from: &str, to: &str) -> EvalError {
    EvalError::message(format!("type conversion error from '{from}' to '{to}'"))
}

fn unreadable(function: &str, text: &str) -> EvalError {
    let shown: String = text.chars().take(100).collect();
    EvalError::message(format!("strconv.{function}: parsing {shown:?}: invalid syntax"))
}

fn to_bool(_: &mut Scope, args: &[Value]) -> Answer {
    match super::text(args, 0)? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
        text => Err(unreadable("ParseBool", text)),
    }
}

fn to_bytes(_: &mut Scope, args: &[Value]) -> Answer {
    Ok(Value::Bytes(super::text(args, 0)?.as_bytes().into()))
}

fn to_double(_: &mut Scope, args: &[Value]) -> Answer {
    Ok(Value::Double(match &args[0] {
        Value::Int(number) => *number as f64,
        Value::Uint(number) => *number as f64,
        Value::String(text) => text.parse().map_err(|_| unreadable("ParseFloat", text))?,
        _ => return Err(no_overload()),
    }))
}

fn to_int(_: &mut Scope, args: &[Value]) -> Answer {
    let overflow = || EvalError::message("integer overflow");
    Ok(Value::Int(match &args[0] {
        Value::Double(number) if number.abs() < 9_223_372_036_854_775_807.0 => *number as i64,
        Value::Double(_) => return Err(overflow()),
        Value::Uint(number) => i64::try_from(*number).map_err(|_| overflow())?,
        Value::String(text) => text.parse().map_err(|_| unreadable("ParseInt", text))?,
        Value::Timestamp(time) => time.as_second(),
        _ => return Err(no_overload()),
    }))
}

fn to_uint(_: &mut Scope, args: &[Value]) -> Answer {
    let overflow = || EvalError::message("unsigned integer overflow");
    Ok(Value::Uint(match &args[0] {
        Value::Double(number) if (0.0..18_446_744_073_709_551_615.0).contains(number) => {
            *number as u64
        }
        Value::Double(_) => return Err(overflow()),
        Value::Int(number) => u64::try_from(*number).map_err(|_| overflow())?,
        Value::String(text) => text.parse().map_err(|_| unreadable("ParseUint", text))?,
        _ => return Err(no_overload()),
    }))
}

fn to_string(_: &mut Scope, args: &[Value]) -> Answer {
    Ok(Value::string(match &args[0] {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => double_text(*value),
        Value::Bytes(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| EvalError::message("invalid UTF-8 in bytes, cannot convert to string"))?
            .to_owned(),
        Value::Duration(nanos) => time::duration_text(*nanos),
        Value::Timestamp(at) => time::timestamp_text(*at),
        Value::Opaque(Opaque::Ip(ip)) => ip.to_string(),
        Value::Opaque(Opaque::Cidr(cidr)) => cidr.to_string(),
        _ => return Err(no_overload()),
    }))
}

/// The shortest text that reads back as the same number, with an exponent where it is far from 1,
/// as Go writes numbers.
#[must_use]
pub fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    value.to_string()
}

fn to_duration(_: &mut Scope, args: &[Value]) -> Answer {
    let text = super::text(args, 0)?;
    machinery::duration::parse_nanos(text)
        .map(Value::Duration)
        .map_err(|_| failed("string", "google.protobuf.Duration"))
}

fn to_timestamp(_: &mut Scope, args: &[Value]) -> Answer {
    let failure = || EvalError::message("timestamp overflow");
    match &args[0] {
        Value::Int(seconds) => jiff::Timestamp::from_second(*seconds)
            .ok()
            .filter(time::in_range)
            .map(Value::Timestamp)
            .ok_or_else(failure),
        Value::String(text) => time::parse_timestamp(text)
            .map(Value::Timestamp)
            .ok_or_else(|| failed("string", "google.protobuf.Timestamp")),
        _ => Err(no_overload()),
    }
}
