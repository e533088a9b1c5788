//! The text of an expression and the mistakes found in it.

use std::fmt;

/// What is wrong with an expression, shown with the lines that hold the mistakes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct CompileError {
    /// The mistakes in the order of the text.
    pub mistakes: Vec<Mistake>,
    text: String,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, in characters from the start; `None` when it is about the whole.
    pub position: Option<u32>,
    /// What.
    pub message: String,
}

/// No more mistakes than these are shown.
const SHOWN: usize = 100;
/// Longer lines are not repeated in messages.
const LINE_SHOWN: usize = 1024;

impl CompileError {
    /// The mistakes with the text that they are in.
    pub(crate) fn new(source: &str, mut mistakes: Vec<Mistake>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.position);
        mistakes.truncate(SHOWN);
        let shown: Vec<String> =
            mistakes.iter().map(|mistake| Shown { source, mistake }.to_string()).collect();
        Self { text: shown.join("\n"), mistakes }
    }

    /// A single mistake about the whole text.
    pub(crate) fn whole(message: String) -> Self {
        Self::new("", vec![Mistake { position: None, message }])
    }
}

struct Shown<'a> {
    source: &'a str,
    mistake: &'a Mistake,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = &self.mistake.message;
        let Some(position) = self.mistake.position else {
            return write!(f, "ERROR: <input>:-1:0: {message}");
        };
        let (line, column) = locate(self.source, position as usize);
        write!(f, "ERROR: <input>:{}:{}: {message}", line + 1, column + 1)?;
        match self.source.split('\n').nth(line) {
            Some(text) if text.len() <= LINE_SHOWN => {
                let text = text.replace('\t', " ");
                write!(f, "\n | {text}\n | {}^", ".".repeat(column))
            }
            _ => Ok(()),
        }
    }
}

/// Line and column of a character, from zero.
fn locate(source: &str, position: usize) -> (usize, usize) {
    let (mut line, mut column) = (0, 0);
    for c in source.chars().take(position) {
        if c == '\n' {
            line += 1;
            column = 0;
        } else {
            column += 1;
        }
    }
    (line, column)
}
