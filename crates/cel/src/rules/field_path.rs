//! `fieldPath` of a rule: `.spec.x['key']`, checked against the schema.

use machinery::Value as Json;
use machinery::field::Path;

/// The path as errors spell it.
///
/// # Errors
/// Why it is not a path of the schema.
pub(super) fn normalize(text: &str, schema: &Json) -> Result<String, String> {
    field_of(text, schema).map(|(path, _)| path)
}

/// The path of a field as errors spell it, and the schema of the field.
///
/// # Errors
/// Why it is not a path of the schema.
pub fn field_of<'s>(text: &str, schema: &'s Json) -> Result<(String, &'s Json), String> {
    let mut path: Option<Path> = None;
    let mut schema = schema;
    let mut tokens = Tokens { rest: text };
    while let Some(token) = tokens.next() {
        let end = || "unexpected end of JSON path".to_owned();
        let name = match token {
            "[" => {
                let quoted = tokens.next().ok_or_else(end)?;
                let inner = quoted
                    .strip_prefix('\'')
                    .and_then(|rest| rest.strip_suffix('\''))
                    .ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                let name = unescape(inner)?;
                match tokens.next().ok_or_else(end)? {
                    "]" => name,
                    other => return Err(format!("expected ] but got {other}")),
                }
            }
            "." => tokens.next().ok_or_else(end)?.to_owned(),
            other => return Err(format!("expected [ or . but got: {other}")),
        };
        let unknown = || "does not refer to a valid field".to_owned();
        let before = path.unwrap_or_default();
        if let Some(properties) = schema.get("properties") {
            schema = properties.get(&name).ok_or_else(unknown)?;
            path = Some(before.child(name));
        } else {
            schema = schema.get("additionalProperties").ok_or_else(unknown)?;
            path = Some(before.key(name));
        }
    }
    Ok((path.map(|path| path.to_string()).unwrap_or_default(), schema))
}

struct Tokens<'a> {
    rest: &'a str,
}

impl<'a> Tokens<'a> {
    /// A delimiter, a text in quotes, or what stands before the next delimiter.
    fn next(&mut self) -> Option<&'a str> {
        let first = self.rest.chars().next()?;
        let end = match first {
            '.' | '[' | ']' => 1,
            '\'' => {
                let bytes = self.rest.as_bytes();
                let close =
                    (1..bytes.len()).find(|at| bytes[*at] == b'\'' && bytes[at - 1] != b'\\');
                close.map_or(self.rest.len(), |at| at + 1)
            }
            _ => self.rest.find(['.', '[', ']']).unwrap_or(self.rest.len()),
        };
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\x07',
            Some('b') => '\x08',
            Some('f') => '\x0c',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\x0b',
            Some('\'') => '\'',
            Some('\\') => '\\',
            Some(other) => {
                return Err(format!("invalid string literal: invalid escape char \\{other}"));
            }
            None => '\\',
        });
    }
    Ok(out)
}
