//! Regular expressions as Go writes them.
//!
//! Both dialects come from RE2. The differences that schemas run into are evened out before
//! compiling: perl classes and word boundaries are ASCII in Go, a brace or bracket that starts
//! nothing is itself, and `\Q..\E` quotes.

use regex::{Regex, RegexBuilder};

/// A compiled pattern with the text it came from.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    regex: Regex,
}

/// A pattern that does not compile.
#[derive(Debug, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct PatternError(String);

/// Sizes beyond this are refused, as a pattern comes from users.
const SIZE_LIMIT: usize = 4 << 20;

/// Compiles a pattern.
///
/// # Errors
/// When it is malformed or too large.
pub fn compile(text: &str) -> Result<Pattern, PatternError> {
    let regex = RegexBuilder::new(&translate(text))
        .size_limit(SIZE_LIMIT)
        .build()
        .map_err(|error| PatternError(reason(&error)))?;
    Ok(Pattern { text: text.to_owned(), regex })
}

/// The last line of a report says what is wrong.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

impl Pattern {
    /// Whether it is found anywhere in a text.
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn translate(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_class = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let Some(escaped) = after.chars().next() else {
                    out.push('\\');
                    break;
                };
                rest = &after[escaped.len_utf8()..];
                match (escaped, in_class) {
                    ('Q', false) => {
                        let (quoted, after) = rest.split_once("\\E").unwrap_or((rest, ""));
                        out.push_str(&regex::escape(quoted));
                        rest = after;
                    }
                    ('d', false) => out.push_str("[0-9]"),
                    ('D', false) => out.push_str("[^0-9]"),
                    ('w', false) => out.push_str("[0-9A-Za-z_]"),
                    ('W', false) => out.push_str("[^0-9A-Za-z_]"),
                    ('s', false) => out.push_str("[\\t\\n\\f\\r ]"),
                    ('S', false) => out.push_str("[^\\t\\n\\f\\r ]"),
                    ('d', true) => out.push_str("0-9"),
                    ('w', true) => out.push_str("0-9A-Za-z_"),
                    ('s', true) => out.push_str("\\t\\n\\f\\r "),
                    ('b', false) => out.push_str("(?-u:\\b)"),
                    ('B', false) => out.push_str("(?-u:\\B)"),
                    _ => {
                        out.push('\\');
                        out.push(escaped);
                    }
                }
                continue;
            }
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                rest = after;
                if let Some(negated) = rest.strip_prefix('^') {
                    out.push('^');
                    rest = negated;
                }
                // A bracket that comes first is a member.
                if let Some(member) = rest.strip_prefix(']') {
                    out.push_str("\\]");
                    rest = member;
                }
                continue;
            }
            '[' if after.starts_with(':') => {
                let end = after.find(":]").map_or(0, |end| end + 2);
                out.push('[');
                out.push_str(&after[..end]);
                rest = &after[end..];
                continue;
            }
            '[' => out.push_str("\\["),
            ']' if in_class => {
                in_class = false;
                out.push(']');
            }
            '&' | '~' if in_class => {
                out.push('\\');
                out.push(c);
            }
            '-' if in_class && after.starts_with('-') => out.push_str("\\-"),
            '{' if !in_class && !repeats(after) => out.push_str("\\{"),
            _ => out.push(c),
        }
        rest = after;
    }
    out
}

/// Whether an opening brace stands before a repetition: `3}`, `3,}` or `3,5}`.
fn repeats(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_go() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} on {text}");
        };
        check(r"^\d+$", "12", true);
        check(r"^\d+$", "٣", false);
        check(r"^[\w.-]+$", "a_b.c-d", true);
        check(r"^[a-z]{2,3}$", "abc", true);
        check(r"^{x}$", "{x}", true);
        check(r"^[[a]+$", "[a", true);
        check(r"^[]a]+$", "]a", true);
        check(r"^[[:alpha:]]+$", "abc", true);
        check(r"^\Qa.b\E$", "a.b", true);
        check(r"^\Qa.b\E$", "axb", false);
        check(r"^https?:\/\/", "https://x", true);
        check(r"(?i)^ABC$", "abc", true);
        assert!(compile("(").is_err());
    }
}
