//! Tokens.

use std::sync::Arc;

use super::source::Mistake;
use super::strings;

/// A piece of the text, with the position of its first character.
#[derive(Clone, Debug)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) position: u32,
    /// The text itself, for messages.
    pub(super) text: Box<str>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    /// Operators and punctuation, by their text.
    Symbol(&'static str),
    /// A name, reserved ones included.
    Ident,
    /// Digits, not yet a number: the sign may matter.
    Int,
    Uint,
    Double,
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    End,
}

/// Longest first, so that `<=` is not `<`.
const SYMBOLS: [&str; 25] = [
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":",
    "+", "*", "/", "%", "<", ">", "=",
];

/// Splits the text.
///
/// # Errors
/// The pieces that are no tokens.
pub(super) fn tokens(source: &str) -> Result<Vec<Token>, Vec<Mistake>> {
    let mut lexer = Lexer { rest: source, position: 0, tokens: Vec::new(), mistakes: Vec::new() };
    while lexer.next() {}
    if lexer.mistakes.is_empty() { Ok(lexer.tokens) } else { Err(lexer.mistakes) }
}

struct Lexer<'a> {
    rest: &'a str,
    position: u32,
    tokens: Vec<Token>,
    mistakes: Vec<Mistake>,
}

impl<'a> Lexer<'a> {
    /// Takes one token or blank; false at the end.
    fn next(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else {
            self.push(TokenKind::End, 0);
            return false;
        };
        if matches!(first, ' ' | '\t' | '\n' | '\r' | '\x0c') {
            self.skip(1);
        } else if self.rest.starts_with("//") {
            let end = self.rest.find('\n').unwrap_or(self.rest.len());
            self.skip(end);
        } else if let Some((kind, length)) = self.string() {
            match kind {
                Ok(kind) => self.push(kind, length),
                Err(message) => self.mistake(message, length),
            }
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            self.push(TokenKind::Ident, end.unwrap_or(self.rest.len()));
        } else if first.is_ascii_digit() || first == '.' && self.digit_at(1) {
            let (kind, length) = number(self.rest);
            self.push(kind, length);
        } else if let Some(symbol) = SYMBOLS.iter().find(|s| self.rest.starts_with(**s)) {
            self.push(TokenKind::Symbol(symbol), symbol.len());
        } else {
            let text = format!("Syntax error: token recognition error at: '{first}'");
            self.mistake(text, first.len_utf8());
        }
        self.mistakes.len() < 20
    }

    fn string(&self) -> Option<(Result<TokenKind, String>, usize)> {
        let scanned = strings::scan(self.rest)?;
        Some(match scanned {
            Ok(strings::Scanned { content, length }) => (
                Ok(match content {
                    strings::Content::Text(text) => TokenKind::String(text.into()),
                    strings::Content::Bytes(bytes) => TokenKind::Bytes(bytes.into()),
                }),
                length,
            ),
            Err((message, length)) => (Err(message), length),
        })
    }

    fn digit_at(&self, at: usize) -> bool {
        self.rest.as_bytes().get(at).is_some_and(u8::is_ascii_digit)
    }

    fn push(&mut self, kind: TokenKind, length: usize) {
        let text = self.rest[..length].into();
        self.tokens.push(Token { kind, position: self.position, text });
        self.skip(length);
    }

    fn mistake(&mut self, message: String, length: usize) {
        self.mistakes.push(Mistake { position: Some(self.position), message });
        self.skip(length.max(1));
    }

    fn skip(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.position += taken.chars().count() as u32;
        self.rest = rest;
    }
}

fn number(text: &str) -> (TokenKind, usize) {
    let bytes = text.as_bytes();
    let digits = |from: usize, test: fn(&u8) -> bool| {
        bytes[from..].iter().take_while(|byte| test(byte)).count()
    };
    if text.starts_with("0x") || text.starts_with("0X") {
        let hex = digits(2, u8::is_ascii_hexdigit);
        if hex > 0 {
            return unsigned(bytes, 2 + hex);
        }
    }
    let mut end = digits(0, u8::is_ascii_digit);
    let mut double = false;
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1).is_some_and(u8::is_ascii_digit) {
        double = true;
        end += 1 + digits(end + 1, u8::is_ascii_digit);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = digits((end + 1 + sign).min(bytes.len()), u8::is_ascii_digit);
        if exponent > 0 {
            double = true;
            end += 1 + sign + exponent;
        }
    }
    if double { (TokenKind::Double, end) } else { unsigned(bytes, end) }
}

fn unsigned(bytes: &[u8], end: usize) -> (TokenKind, usize) {
    match bytes.get(end) {
        Some(b'u' | b'U') => (TokenKind::Uint, end + 1),
        _ => (TokenKind::Int, end),
    }
}
