//! The CRI log format: `<RFC 3339 time> <stdout|stderr> <tags> <content>`, where the tag `P` says
//! that the line of output goes on in the next log line.

use std::str;

/// Stream that a line was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A line of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When, as the runtime wrote it.
    pub time: &'a str,
    /// Where to.
    pub stream: Stream,
    /// Whether the output's line goes on.
    pub partial: bool,
    /// The output, without line end.
    pub content: &'a [u8],
}

/// Reads one line, with or without its line end; `None` for what is not of the format.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (time, rest) = cut(line)?;
    let (stream, rest) = cut(rest)?;
    // A line without content may lack the blank after the tags.
    let (tags, content) = cut(rest).unwrap_or((rest, b""));
    let stream = match stream {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    let time = str::from_utf8(time).ok()?;
    let partial = match tags.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Line { time, stream, partial, content })
}

fn cut(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = text.iter().position(|byte| *byte == b' ')?;
    Some((&text[..blank], &text[blank + 1..]))
}
