//! URLs: absolute ones and absolute paths.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Declared, no_overload, opaque, text};
use crate::eval::EvalError;
use crate::value::{Key, Opaque, Value};

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
    fragment: String,
}

pub(super) const DECLARED: &[Declared] = &[
    Declared("string_to_url", "url(string) -> kubernetes.URL", |_, args| {
        parse(text(args, 0)?).map(|url| Value::Opaque(Opaque::Url(Arc::new(url)))).map_err(
            |reason| {
                EvalError::message(format!(
                    "URL parse error during conversion from string: {reason}"
                ))
            },
        )
    }),
    Declared("is_url_string", "isURL(string) -> bool", |_, args| {
        Ok(Value::Bool(parse(text(args, 0)?).is_ok()))
    }),
    Declared("url_get_scheme", "kubernetes.URL::getScheme() -> string", |_, args| {
        Ok(Value::string(of(args)?.scheme.as_str()))
    }),
    Declared("url_get_host", "kubernetes.URL::getHost() -> string", |_, args| {
        Ok(Value::string(of(args)?.host.as_str()))
    }),
    Declared("url_get_hostname", "kubernetes.URL::getHostname() -> string", |_, args| {
        Ok(Value::string(of(args)?.host_and_port().0))
    }),
    Declared("url_get_port", "kubernetes.URL::getPort() -> string", |_, args| {
        Ok(Value::string(of(args)?.host_and_port().1))
    }),
    Declared("url_get_escaped_path", "kubernetes.URL::getEscapedPath() -> string", |_, args| {
        Ok(Value::string(escaped(&of(args)?.path)))
    }),
    Declared(
        "url_get_query",
        "kubernetes.URL::getQuery() -> map(string, list(string))",
        |_, args| Ok(of(args)?.query()),
    ),
];

fn of(args: &[Value]) -> Result<&Url, EvalError> {
    match opaque(args, 0)? {
        Opaque::Url(url) => Ok(url),
        _ => Err(no_overload()),
    }
}

/// Reads what may stand in a request line: an absolute URL or an absolute path.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let shown: String = text.chars().take(200).collect();
    let error = |reason: &str| Err(format!("parse {shown:?}: {reason}"));
    if text.is_empty() {
        return error("empty url");
    }
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return error("net/url: invalid control character in URL");
    }
    let (scheme, mut rest) = match scheme_end(text) {
        Some(end) => (text[..end].to_ascii_lowercase(), &text[end + 1..]),
        None => (String::new(), text),
    };
    if text.starts_with(':') {
        return error("missing protocol scheme");
    }
    let mut query = String::new();
    if let Some((before, after)) = rest.split_once('?') {
        query = after.to_owned();
        rest = before;
    }
    if !rest.starts_with('/') {
        // An opaque URL such as `mailto:a` has no path that could be asked for.
        return match scheme.is_empty() {
            true => error("invalid URI for request"),
            false => Ok(Url {
                scheme,
                host: String::new(),
                path: String::new(),
                query,
                fragment: String::new(),
            }),
        };
    }
    let (mut host, mut path) = ("", rest);
    if let Some(authority) = rest.strip_prefix("//")
        && (!scheme.is_empty() || !rest.starts_with("///"))
    {
        let end = authority.find('/').unwrap_or(authority.len());
        host = authority[..end].rsplit_once('@').map_or(&authority[..end], |(_, host)| host);
        path = &authority[end..];
    }
    if let Err(reason) = check_host(host) {
        return error(&reason);
    }
    if let Err(escape) = check_escapes(path) {
        return error(&format!("invalid URL escape {escape:?}"));
    }
    Ok(Url { scheme, host: host.to_owned(), path: path.to_owned(), query, fragment: String::new() })
}

fn scheme_end(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)))?;
    let fits = text[end..].starts_with(':') && text.starts_with(|c: char| c.is_ascii_alphabetic());
    fits.then_some(end)
}

fn check_host(host: &str) -> Result<(), String> {
    if let Some(bad) = host.chars().find(|c| " <>\"\\^`{|}".contains(*c)) {
        return Err(format!("invalid character {:?} in host name", bad.to_string()));
    }
    let port = match (host.starts_with('['), host.rfind(']')) {
        (true, Some(end)) => &host[end + 1..],
        (true, None) => return Err("missing ']' in host".to_owned()),
        (false, _) => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    if digits.bytes().all(|byte| byte.is_ascii_digit())
        && (port.is_empty() || port.starts_with(':'))
    {
        Ok(())
    } else {
        Err(format!("invalid port {port:?} after host"))
    }
}

fn check_escapes(text: &str) -> Result<(), &str> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
        if !hex(at + 1) || !hex(at + 2) {
            let mut end = (at + 3).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            return Err(&text[at..end]);
        }
    }
    Ok(())
}

/// The path with what may not stand in one escaped.
fn escaped(path: &str) -> String {
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*%[]".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

impl Url {
    fn host_and_port(&self) -> (&str, &str) {
        let host = self.host.as_str();
        if let Some(rest) = host.strip_prefix('[')
            && let Some((address, port)) = rest.split_once(']')
        {
            return (address, port.strip_prefix(':').unwrap_or(""));
        }
        host.rsplit_once(':').unwrap_or((host, ""))
    }

    fn query(&self) -> Value {
        let mut query: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
        for pair in self.query.split('&') {
            if pair.is_empty() || pair.contains(';') {
                continue;
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Some(name), Some(value)) = (unescaped(name), unescaped(value)) {
                query.entry(Key::string(name)).or_default().push(Value::string(value));
            }
        }
        Value::Map(Arc::new(query.into_iter().map(|(name, v)| (name, Value::list(v))).collect()))
    }
}

fn unescaped(text: &str) -> Option<String> {
    check_escapes(text).ok()?;
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'%' => {
                out.push(u8::from_str_radix(text.get(at + 1..at + 3)?, 16).ok()?);
                at += 2;
            }
            b'+' => out.push(b' '),
            byte => out.push(*byte),
        }
        at += 1;
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}
