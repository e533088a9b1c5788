//! Text and octets between quotes.

/// What stands between the quotes, and how long the whole token is.
pub(super) struct Scanned {
    pub(super) content: Content,
    pub(super) length: usize,
}

pub(super) enum Content {
    Text(String),
    Bytes(Vec<u8>),
}

/// Takes a literal off the start of `text`; `None` when there is none. An unreadable one is an
/// error with the number of bytes to skip.
pub(super) fn scan(text: &str) -> Option<Result<Scanned, (String, usize)>> {
    let (mut raw, mut bytes, mut start) = (false, false, 0);
    for byte in text.bytes().take(2) {
        match byte {
            b'r' | b'R' if !raw => raw = true,
            b'b' | b'B' if !bytes && !raw => bytes = true,
            _ => break,
        }
        start += 1;
    }
    let quote = text[start..].chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let triple: String = [quote; 3].iter().collect();
    let delimiter = if text[start..].starts_with(&triple) { triple } else { quote.to_string() };
    let body_start = start + delimiter.len();
    let Some(body_length) = body_end(&text[body_start..], &delimiter, raw) else {
        let end = text.find('\n').unwrap_or(text.len());
        let shown: String = text[..end].chars().take(100).collect();
        return Some(Err((format!("Syntax error: token recognition error at: '{shown}'"), end)));
    };
    let length = body_start + body_length + delimiter.len();
    let body = text[body_start..body_start + body_length].replace("\r\n", "\n");
    let content = if raw {
        Some(if bytes { Content::Bytes(body.into_bytes()) } else { Content::Text(body) })
    } else {
        unescape(&body, bytes)
    };
    Some(match content {
        Some(content) => Ok(Scanned { content, length }),
        None => {
            let kind = if bytes { "bytes" } else { "string" };
            Err((format!("Syntax error: invalid {kind} literal"), length))
        }
    })
}

fn body_end(text: &str, delimiter: &str, raw: bool) -> Option<usize> {
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if text[at..].starts_with(delimiter) {
            return Some(at);
        }
        match c {
            '\\' if !raw => {
                chars.next()?;
            }
            '\n' | '\r' if delimiter.len() == 1 => return None,
            _ => {}
        }
    }
    None
}

fn unescape(body: &str, bytes: bool) -> Option<Content> {
    let mut text: Vec<u8> = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            push(&mut text, c);
            continue;
        }
        let escape = rest.chars().next()?;
        rest = &rest[escape.len_utf8()..];
        let simple = match escape {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '\\' | '\'' | '"' | '`' | '?' => escape,
            'x' | 'X' | 'u' | 'U' | '0'..='3' => {
                let (code, after) = number(escape, rest, bytes)?;
                rest = after;
                match u8::try_from(code) {
                    Ok(octet) if bytes => text.push(octet),
                    _ => push(&mut text, char::from_u32(code)?),
                }
                continue;
            }
            _ => return None,
        };
        push(&mut text, simple);
    }
    Some(if bytes { Content::Bytes(text) } else { Content::Text(String::from_utf8(text).ok()?) })
}

fn number(escape: char, rest: &str, bytes: bool) -> Option<(u32, &str)> {
    let (length, radix) = match escape {
        'x' | 'X' => (2, 16),
        'u' if !bytes => (4, 16),
        'U' if !bytes => (8, 16),
        '0'..='3' => (2, 8),
        _ => return None,
    };
    let digits = rest.get(..length)?;
    let code = u32::from_str_radix(digits, radix).ok()?;
    let high = if radix == 8 { escape.to_digit(8)? * 64 } else { 0 };
    Some((high + code, &rest[length..]))
}

fn push(text: &mut Vec<u8>, c: char) {
    text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}
