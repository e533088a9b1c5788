//! `format` and `quote`.

use machinery::hex;

use super::convert::double_text;
use super::{Answer, Declared, list, new_text, text};
use crate::eval::{EvalError, Scope};
use crate::value::Value;

pub(super) const DECLARED: &[Declared] = &[
    Declared("string_format", "string::format(list(dyn)) -> string", format),
    Declared("strings_quote", "strings.quote(string) -> string", |_, args| {
        new_text(quoted(text(args, 0)?))
    }),
];

/// More digits than this nobody reads.
const MAX_PRECISION: usize = 100;

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn format(_: &mut Scope, args: &[Value]) -> Answer {
    let (mut rest, args) = (text(args, 0)?, list(args, 1)?);
    let mut args = args.items.iter();
    let (mut out, mut used) = (String::new(), 0);
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (precision, clause, after) = clause(rest)?;
        let arg =
            args.next().ok_or_else(|| EvalError::message(format!("index {used} out of range")))?;
        used += 1;
        out.push_str(&shown(clause, precision, arg)?);
        if out.len() > super::MAX_TEXT {
            return Err(EvalError::message("result is too long"));
        }
        rest = after;
    }
    out.push_str(rest);
    new_text(out)
}

/// Precision and letter after a `%`, and what follows.
fn clause(text: &str) -> Result<(Option<usize>, char, &str), EvalError> {
    let (precision, text) = match text.strip_prefix('.') {
        None => (None, text),
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let precision = rest[..end].parse().unwrap_or(usize::MAX);
            if precision > MAX_PRECISION {
                return Err(EvalError::message(format!(
                    "precision specifier exceeds the maximum of {MAX_PRECISION}"
                )));
            }
            (Some(precision), &rest[end..])
        }
    };
    let Some(letter) = text.chars().next() else {
        return Err(EvalError::message("unexpected end of string"));
    };
    Ok((precision, letter, &text[letter.len_utf8()..]))
}

fn wrong(clause: &str, value: &Value) -> EvalError {
    EvalError::message(format!(
        "error during formatting: {clause} clause cannot be used on {}",
        value.type_of().runtime_name()
    ))
}

fn shown(clause: char, precision: Option<usize>, value: &Value) -> Result<String, EvalError> {
    let special = |value: f64| {
        if value.is_nan() {
            Some("NaN")
        } else if value.is_infinite() {
            Some(if value > 0.0 { "Infinity" } else { "-Infinity" })
        } else {
            None
        }
    };
    Ok(match (clause, value) {
        ('s', value) => plain(value)?,
        ('d', Value::Int(number)) => number.to_string(),
        ('d', Value::Uint(number)) => number.to_string(),
        ('d', _) => return Err(wrong("decimal", value)),
        ('f' | 'e', value) => {
            let number = match value {
                Value::Double(number) => *number,
                Value::Int(number) => *number as f64,
                Value::Uint(number) => *number as f64,
                Value::String(text) if matches!(&**text, "NaN" | "Infinity" | "-Infinity") => {
                    return Ok(text.to_string());
                }
                _ if clause == 'f' => return Err(wrong("fixed-point", value)),
                _ => return Err(wrong("scientific", value)),
            };
            let precision = precision.unwrap_or(6);
            match (special(number), clause) {
                (Some(text), _) => text.to_owned(),
                (None, 'f') => format!("{number:.precision$}"),
                (None, _) => scientific(number, precision),
            }
        }
        ('b', Value::Int(number)) if *number < 0 => format!("-{:b}", number.unsigned_abs()),
        ('b', Value::Int(number)) => format!("{number:b}"),
        ('b', Value::Uint(number)) => format!("{number:b}"),
        ('b', Value::Bool(value)) => u8::from(*value).to_string(),
        ('b', _) => return Err(wrong("binary", value)),
        ('o', Value::Int(number)) if *number < 0 => format!("-{:o}", number.unsigned_abs()),
        ('o', Value::Int(number)) => format!("{number:o}"),
        ('o', Value::Uint(number)) => format!("{number:o}"),
        ('o', _) => return Err(wrong("octal", value)),
        ('x' | 'X', value) => {
            let lower = match value {
                Value::Int(number) if *number < 0 => format!("-{:x}", number.unsigned_abs()),
                Value::Int(number) => format!("{number:x}"),
                Value::Uint(number) => format!("{number:x}"),
                Value::String(text) => hex::digits(text.as_bytes()),
                Value::Bytes(bytes) => hex::digits(bytes),
                _ => return Err(wrong("hex", value)),
            };
            if clause == 'X' { lower.to_uppercase() } else { lower }
        }
        (other, _) => {
            return Err(EvalError::message(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{other}\""
            )));
        }
    })
}

fn scientific(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Values as `%s` shows them.
fn plain(value: &Value) -> Result<String, EvalError> {
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => double_text(*number),
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Duration(nanos) => super::time::duration_text(*nanos),
        Value::Timestamp(time) => super::time::timestamp_text(*time),
        Value::Type(ty) => ty.runtime_name(),
        Value::List(list) => {
            let items: Vec<_> = list.items.iter().map(plain).collect::<Result<_, _>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let mut entries = Vec::with_capacity(map.len());
            for (key, value) in map.iter() {
                entries.push(format!("{key}: {}", plain(value)?));
            }
            format!("{{{}}}", entries.join(", "))
        }
        Value::Object(_) | Value::Optional(_) | Value::Opaque(_) => {
            return Err(wrong("string", value));
        }
    })
}
