//! Text.

use super::{Answer, Declared, int, list, new_text, no_overload, text};
use crate::eval::{EvalError, Scope};
use crate::value::Value;

pub(super) const DECLARED: &[Declared] = &[
    Declared("contains_string", "string::contains(string) -> bool", |_, args| {
        Ok(Value::Bool(text(args, 0)?.contains(text(args, 1)?)))
    }),
    Declared("starts_with_string", "string::startsWith(string) -> bool", |_, args| {
        Ok(Value::Bool(text(args, 0)?.starts_with(text(args, 1)?)))
    }),
    Declared("ends_with_string", "string::endsWith(string) -> bool", |_, args| {
        Ok(Value::Bool(text(args, 0)?.ends_with(text(args, 1)?)))
    }),
    Declared("string_char_at_int", "string::charAt(int) -> string", char_at),
    Declared("string_index_of_string", "string::indexOf(string) -> int", index_of),
    Declared("string_index_of_string_int", "string::indexOf(string, int) -> int", index_of),
    Declared("string_last_index_of_string", "string::lastIndexOf(string) -> int", last_index_of),
    Declared(
        "string_last_index_of_string_int",
        "string::lastIndexOf(string, int) -> int",
        last_index_of,
    ),
    Declared("string_lower_ascii", "string::lowerAscii() -> string", |_, args| {
        new_text(text(args, 0)?.to_ascii_lowercase())
    }),
    Declared("string_upper_ascii", "string::upperAscii() -> string", |_, args| {
        new_text(text(args, 0)?.to_ascii_uppercase())
    }),
    Declared("string_replace_string_string", "string::replace(string, string) -> string", replace),
    Declared(
        "string_replace_string_string_int",
        "string::replace(string, string, int) -> string",
        replace,
    ),
    Declared("string_split_string", "string::split(string) -> list(string)", split),
    Declared("string_split_string_int", "string::split(string, int) -> list(string)", split),
    Declared("string_substring_int", "string::substring(int) -> string", substring),
    Declared("string_substring_int_int", "string::substring(int, int) -> string", substring),
    Declared("string_trim", "string::trim() -> string", |_, args| {
        // U+0085 and the rest of White_Space, as the language defines it.
        new_text(text(args, 0)?.trim().to_owned())
    }),
    Declared("list_join", "list(string)::join() -> string", join),
    Declared("list_join_string", "list(string)::join(string) -> string", join),
    Declared("jsonpatch_escape_key_string", "jsonpatch.escapeKey(string) -> string", |_, args| {
        new_text(text(args, 0)?.replace('~', "~0").replace('/', "~1"))
    }),
];

fn out_of_range(index: i64) -> EvalError {
    EvalError::message(format!("index out of range: {index}"))
}

/// The byte at which the character `index` starts; its end for one past the last.
fn offset(text: &str, index: i64) -> Option<usize> {
    let index = usize::try_from(index).ok()?;
    let mut offsets = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    offsets.nth(index)
}

fn char_at(_: &mut Scope, args: &[Value]) -> Answer {
    let (text, index) = (text(args, 0)?, int(args, 1)?);
    let at = offset(text, index).ok_or_else(|| out_of_range(index))?;
    Ok(Value::string(text[at..].chars().next().map(String::from).unwrap_or_default()))
}

fn position(text: &str, at: Option<usize>) -> Answer {
    Ok(Value::Int(at.map_or(-1, |at| text[..at].chars().count() as i64)))
}

fn index_of(_: &mut Scope, args: &[Value]) -> Answer {
    let (text, sought) = (text(args, 0)?, text(args, 1)?);
    let from = match args.len() {
        2 => 0,
        _ => offset(text, int(args, 2)?).ok_or_else(|| out_of_range(int(args, 2).unwrap_or(0)))?,
    };
    position(text, text[from..].find(sought).map(|at| from + at))
}

fn last_index_of(_: &mut Scope, args: &[Value]) -> Answer {
    let (text, sought) = (text(args, 0)?, text(args, 1)?);
    if args.len() == 2 {
        return position(text, text.rfind(sought));
    }
    let last = int(args, 2)?;
    let start = offset(text, last).ok_or_else(|| out_of_range(last))?;
    // A match may start at `last` and reach beyond it.
    let mut end = (start + sought.len()).min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    position(text, text[..end].rfind(sought))
}

fn replace(_: &mut Scope, args: &[Value]) -> Answer {
    let (text, from, to) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let times = match args.len() {
        3 => usize::MAX,
        _ => usize::try_from(int(args, 3)?).unwrap_or(usize::MAX),
    };
    let matches = if from.is_empty() { text.chars().count() + 1 } else { text.len() / from.len() };
    let longest = matches.min(times).saturating_mul(to.len()).saturating_add(text.len());
    if longest > super::MAX_TEXT {
        let actual = text.matches(from).count().min(times).saturating_mul(to.len());
        if actual > super::MAX_TEXT {
            return Err(EvalError::message("result is too long"));
        }
    }
    new_text(text.replacen(from, to, times))
}

fn split(_: &mut Scope, args: &[Value]) -> Answer {
    let (text, by) = (text(args, 0)?, text(args, 1)?);
    let most = match args.len() {
        2 => usize::MAX,
        _ => usize::try_from(int(args, 2)?).unwrap_or(usize::MAX),
    };
    let parts: Vec<Value> = match most {
        0 => Vec::new(),
        _ if by.is_empty() => characters(text, most),
        _ => text.splitn(most, by).map(Value::string).collect(),
    };
    Ok(Value::list(parts))
}

/// One part for each character, the rest in the last.
fn characters(text: &str, most: usize) -> Vec<Value> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if parts.len() + 1 == most {
            parts.push(Value::string(rest));
            break;
        }
        parts.push(Value::string(c.to_string()));
        rest = &rest[c.len_utf8()..];
    }
    parts
}

fn substring(_: &mut Scope, args: &[Value]) -> Answer {
    let (text, start) = (text(args, 0)?, int(args, 1)?);
    let from = offset(text, start).ok_or_else(|| out_of_range(start))?;
    if args.len() == 2 {
        return new_text(text[from..].to_owned());
    }
    let end = int(args, 2)?;
    let to = offset(text, end).ok_or_else(|| out_of_range(end))?;
    if start > end {
        let message = format!("invalid substring range. start: {start}, end: {end}");
        return Err(EvalError::message(message));
    }
    new_text(text[from..to].to_owned())
}

fn join(_: &mut Scope, args: &[Value]) -> Answer {
    let separator = if args.len() == 2 { text(args, 1)? } else { "" };
    let mut joined = String::new();
    for (at, item) in list(args, 0)?.items.iter().enumerate() {
        let Value::String(part) = item else {
            return Err(no_overload());
        };
        if at > 0 {
            joined.push_str(separator);
        }
        joined.push_str(part);
        if joined.len() > super::MAX_TEXT {
            return Err(EvalError::message("result is too long"));
        }
    }
    new_text(joined)
}
