//! The text grammar of label selectors.

use super::{LabelSelector, Operator, Requirement};
use crate::{field, names};

/// A selector text that does not parse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(String);

impl ParseError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Open,
    Close,
    Comma,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    In,
    NotIn,
    Word,
}

struct Parser<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

pub(super) fn parse(text: &str) -> Result<LabelSelector, ParseError> {
    let mut parser = Parser { tokens: scan(text), at: 0 };
    let mut requirements = Vec::new();
    loop {
        match parser.peek().0 {
            Token::Word | Token::Not | Token::In | Token::NotIn => {
                let requirement = parser
                    .requirement()
                    .map_err(|error| ParseError(format!("unable to parse requirement: {error}")))?;
                requirements.push(requirement);
                match parser.next() {
                    (Token::End, _) => break,
                    (Token::Comma, _) => {
                        let (token, literal) = parser.peek();
                        if !matches!(token, Token::Word | Token::Not | Token::In | Token::NotIn) {
                            return Err(found(literal, ", expected: identifier after ','"));
                        }
                    }
                    (_, literal) => {
                        return Err(found(literal, ", expected: ',' or 'end of string'"));
                    }
                }
            }
            Token::End => break,
            _ => {
                let literal = parser.peek().1;
                return Err(found(literal, ", expected: !, identifier, or 'end of string'"));
            }
        }
    }
    Ok(LabelSelector::new(requirements))
}

fn found(literal: &str, rest: &str) -> ParseError {
    ParseError(format!("found '{literal}'{rest}"))
}

impl<'a> Parser<'a> {
    fn peek(&self) -> (Token, &'a str) {
        self.tokens.get(self.at).copied().unwrap_or((Token::End, ""))
    }

    fn next(&mut self) -> (Token, &'a str) {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// The next token where a word is wanted; there, `in` and `notin` are words.
    fn next_word(&mut self) -> (Token, &'a str) {
        match self.next() {
            (Token::In | Token::NotIn, literal) => (Token::Word, literal),
            other => other,
        }
    }

    fn requirement(&mut self) -> Result<Requirement, ParseError> {
        let mut negated = false;
        let (mut token, mut key) = self.next_word();
        if token == Token::Not {
            negated = true;
            (token, key) = self.next_word();
        }
        if token != Token::Word {
            return Err(found(key, ", expected: identifier"));
        }
        let messages = names::qualified_name(key);
        if !messages.is_empty() {
            let error = field::Error::invalid(&field::Path::root(), key, messages.join("; "));
            return Err(ParseError(error.to_string()));
        }
        let ends = matches!(self.peek().0, Token::End | Token::Comma);
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if ends {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let (token, literal) = self.next();
        let operator = match token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => return Err(found(literal, ", expected: in, notin, =, ==, !=, gt, lt")),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => vec![self.exact_value()?],
        };
        Requirement::new(key, operator, values)
    }

    /// The single value after `=`; nothing is the empty value.
    fn exact_value(&mut self) -> Result<String, ParseError> {
        if matches!(self.peek().0, Token::End | Token::Comma) {
            return Ok(String::new());
        }
        match self.next_word() {
            (Token::Word, literal) => Ok(literal.to_owned()),
            (_, literal) => Err(found(literal, ", expected: identifier")),
        }
    }

    /// `(a,b,)`: blanks between commas are empty values.
    fn values(&mut self) -> Result<Vec<String>, ParseError> {
        let (token, literal) = self.next();
        if token != Token::Open {
            return Err(found(literal, " expected: '('"));
        }
        let mut values: Vec<String> = Vec::new();
        let mut add = |value: &str| {
            if !values.iter().any(|v| v == value) {
                values.push(value.to_owned());
            }
        };
        let mut expects_value = true;
        let mut any = false;
        loop {
            match self.next_word() {
                (Token::Word, literal) => {
                    if !expects_value {
                        return Err(found(literal, ", expected: ',' or ')'"));
                    }
                    add(literal);
                    expects_value = false;
                    any = true;
                }
                (Token::Comma, _) => {
                    if expects_value {
                        add("");
                    }
                    expects_value = true;
                    any = true;
                }
                (Token::Close, _) => {
                    if any && expects_value {
                        add("");
                    }
                    return Ok(values);
                }
                (_, literal) if expects_value => {
                    return Err(found(literal, ", expected: ',', ')' or identifier"));
                }
                (_, literal) => return Err(found(literal, ", expected: ',' or ')'")),
            }
        }
    }
}

fn scan(text: &str) -> Vec<(Token, &str)> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        at += 1;
        let token = match bytes[start] {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'(' => Token::Open,
            b')' => Token::Close,
            b',' => Token::Comma,
            b'>' => Token::Greater,
            b'<' => Token::Less,
            b'=' if bytes.get(at) == Some(&b'=') => {
                at += 1;
                Token::DoubleEquals
            }
            b'=' => Token::Equals,
            b'!' if bytes.get(at) == Some(&b'=') => {
                at += 1;
                Token::NotEquals
            }
            b'!' => Token::Not,
            _ => {
                while at < bytes.len() && !b" \t\r\n(),!=<>".contains(&bytes[at]) {
                    at += 1;
                }
                match &text[start..at] {
                    "in" => Token::In,
                    "notin" => Token::NotIn,
                    _ => Token::Word,
                }
            }
        };
        tokens.push((token, &text[start..at]));
    }
    tokens
}
