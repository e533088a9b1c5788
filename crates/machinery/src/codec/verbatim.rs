//! Numbers that a tree cannot hold as they are written.
//!
//! Fields of raw JSON (`RawExtension`, `JSON`) keep their bytes upstream: `1.10`, `1e3` and
//! integers of any length come out as they went in. A tree has 64 bits for a number, so one that
//! they cannot give back stands in the tree as an object with one member of a reserved name, whose
//! value is the number's text, and is written as that text again.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

/// The member's name; the one that serde_json uses for the same purpose.
const NUMBER: &str = "$serde_json::private::Number";

/// The text of a number that an object stands for.
pub(super) fn number(object: &Map<String, Value>) -> Option<&str> {
    if object.len() != 1 {
        return None;
    }
    let text = object.get(NUMBER)?.as_str()?;
    // Anybody may send such an object: only what is a number may be written without quotes.
    let is_number = serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| {
        raw.get().len() == text.len() && text.starts_with(|c: char| c == '-' || c.is_ascii_digit())
    });
    is_number.then_some(text)
}

/// Reads well-formed JSON, keeping all numbers.
///
/// # Errors
/// When the text is malformed.
pub fn read(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(&marked(text))
}

/// Whether all numbers of a text are such that a tree gives them back.
pub(super) fn is_plain(text: &str) -> bool {
    matches!(marked(text), Cow::Borrowed(_))
}

/// The text with objects in place of the numbers that a tree cannot hold.
fn marked(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut at, mut done) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = after_string(bytes, at),
            b'-' | b'0'..=b'9' => {
                let start = at;
                while at < bytes.len()
                    && matches!(bytes[at], b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
                {
                    at += 1;
                }
                let number = &text[start..at];
                if !fits(number) {
                    out.push_str(&text[done..start]);
                    out.push_str("{\"");
                    out.push_str(NUMBER);
                    out.push_str("\":\"");
                    out.push_str(number);
                    out.push_str("\"}");
                    done = at;
                }
            }
            _ => at += 1,
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// Where the string that begins at `at` is over.
fn after_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// Whether a tree gives the number back as it is written.
fn fits(number: &str) -> bool {
    let short = number.len() <= 18 && number != "-0";
    if short && !number.contains(['.', 'e', 'E']) {
        return true;
    }
    serde_json::from_str::<Number>(number).is_ok_and(|parsed| parsed.to_string() == number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::write_untyped;

    #[test]
    fn numbers_come_out_as_they_went_in() {
        let check = |text: &str| {
            let mut out = Vec::new();
            write_untyped(&mut out, &read(text).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), text);
        };
        check("123456789012345678901234567890");
        check("-123456789012345678901234567890");
        check(r#"{"a":[1,1.10,1e3,-0,18446744073709551615,{"b":0.1}],"c":"1.10","d":null}"#);
        check(r#"[12345678901234567.000000001,"é\"",true]"#);
        check("7");
    }

    #[test]
    fn a_client_can_write_nothing_but_numbers_this_way() {
        let mut out = Vec::new();
        let text = r#"{"$serde_json::private::Number":"1}, {\"x\":2"}"#;
        write_untyped(&mut out, &read(text).unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), text);
        for good in ["1 ", " 1", "true", "\"1\"", ""] {
            let mut object = Map::new();
            object.insert(NUMBER.to_owned(), good.into());
            assert_eq!(number(&object), None, "{good}");
        }
    }
}
