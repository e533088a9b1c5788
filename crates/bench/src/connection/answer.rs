//! The answer to an HTTP/1.1 request, taken apart as its bytes come.

use super::Error;

/// Headers in an answer.
const HEADERS: usize = 64;
/// The most that a head or a line between chunks may have.
const LINE: usize = 64 << 10;

/// What has come of an answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// Its status; 0 before it came.
    pub(super) status: u16,
    part: Part,
    /// The start of a head or of a line that has not come whole.
    begun: Vec<u8>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    /// So much of the body, and then nothing.
    Known(u64),
    /// So much of this chunk.
    Chunk(u64),
    ChunkEnd,
    ChunkSize,
    Trailer,
    Done,
}

impl Answer {
    /// Forgets the last answer.
    pub(super) fn clear(&mut self) {
        self.status = 0;
        self.part = Part::Head;
        self.begun.clear();
    }

    /// Whether all of it has come.
    pub(super) fn is_done(&self) -> bool {
        self.part == Part::Done
    }

    /// Whether its head has come.
    pub(super) fn has_begun(&self) -> bool {
        self.part != Part::Head
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Takes in the next bytes and hands on those of the body, with whether they are those of a
    /// success.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut body: impl FnMut(bool, &[u8]),
    ) -> Result<(), Error> {
        while !bytes.is_empty() {
            match self.part {
                Part::Done => {
                    return Err(Error::Malformed("more bytes than the answer has".to_owned()));
                }
                Part::Known(left) | Part::Chunk(left) => {
                    let taken = usize::try_from(left).unwrap_or(bytes.len()).min(bytes.len());
                    body(self.is_success(), &bytes[..taken]);
                    bytes = &bytes[taken..];
                    let left = left - taken as u64;
                    self.part = match (self.part, left) {
                        (Part::Known(_), 0) => Part::Done,
                        (Part::Known(_), left) => Part::Known(left),
                        (_, 0) => Part::ChunkEnd,
                        (_, left) => Part::Chunk(left),
                    };
                }
                Part::Head => bytes = self.head(bytes)?,
                Part::ChunkEnd | Part::ChunkSize | Part::Trailer => bytes = self.line(bytes)?,
            }
        }
        Ok(())
    }

    /// Takes in some of the head; what is left is behind it.
    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        let before = self.begun.len();
        let found = if before == 0 {
            parse(bytes)?
        } else {
            self.begun.extend_from_slice(bytes);
            parse(&self.begun)?
        };
        let Some((status, part, used)) = found else {
            if before == 0 {
                self.begun.extend_from_slice(bytes);
            }
            return self.bounded().map(|()| &bytes[bytes.len()..]);
        };
        self.begun.clear();
        if status != 100 {
            (self.status, self.part) = (status, part);
        }
        Ok(&bytes[used - before..])
    }

    /// Takes in some of a line; what is left is behind it.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Error> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.begun.extend_from_slice(bytes);
            return self.bounded().map(|()| &bytes[bytes.len()..]);
        };
        self.begun.extend_from_slice(&bytes[..end]);
        let line = String::from_utf8_lossy(&self.begun);
        let line = line.trim_end_matches('\r');
        self.part = match self.part {
            Part::ChunkEnd => Part::ChunkSize,
            Part::Trailer if line.is_empty() => Part::Done,
            Part::Trailer => Part::Trailer,
            _ => {
                let digits = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(digits, 16)
                    .map_err(|_| Error::Malformed(format!("chunk size {digits:?}")))?;
                if size == 0 { Part::Trailer } else { Part::Chunk(size) }
            }
        };
        self.begun.clear();
        Ok(&bytes[end + 1..])
    }

    fn bounded(&self) -> Result<(), Error> {
        match self.begun.len() {
            0..LINE => Ok(()),
            _ => Err(Error::Malformed("the head of the answer is too long".to_owned())),
        }
    }
}

/// Status, how the body comes and the length of a head, once it is there whole.
fn parse(bytes: &[u8]) -> Result<Option<(u16, Part, usize)>, Error> {
    let malformed = |error: &dyn std::fmt::Display| Error::Malformed(error.to_string());
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response.parse(bytes).map_err(|error| malformed(&error))? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(used) => used,
    };
    let mut part = Part::Done;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let digits = String::from_utf8_lossy(header.value);
            part = match digits.trim().parse().map_err(|error| malformed(&error))? {
                0 => Part::Done,
                len => Part::Known(len),
            };
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            part = Part::ChunkSize;
        }
    }
    Ok(Some((response.code.unwrap_or_default(), part, used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut, the same answer comes out.
    fn check(text: &str, status: u16, want: &str, done: bool) {
        for step in [1, 2, 7, text.len()] {
            let (mut answer, mut body) = (Answer::default(), Vec::new());
            for piece in text.as_bytes().chunks(step) {
                answer.feed(piece, |_, bytes| body.extend_from_slice(bytes)).unwrap();
            }
            assert_eq!(answer.status, status, "{text} by {step}");
            assert_eq!(String::from_utf8(body).unwrap(), want, "{text} by {step}");
            assert_eq!(answer.is_done(), done, "{text} by {step}");
        }
    }

    #[test]
    fn heads_say_how_the_body_comes() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", 0, "", false);
        check("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nrest", 200, "rest", false);
        check("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nrest", 200, "rest", true);
        check("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true);
        let head = "HTTP/1.1 100 Continue\r\n\r\n\
                    HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n";
        check(
            &format!("{head}4\r\nwiki\r\nB;x=y\r\npedia in ch\r\n"),
            201,
            "wikipedia in ch",
            false,
        );
        check(&format!("{head}1\r\na\r\n0\r\nx: y\r\n\r\n"), 201, "a", true);
    }

    #[test]
    fn what_is_not_http_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
            "SSH-2.0-x\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        ] {
            assert!(Answer::default().feed(text.as_bytes(), |_, _| {}).is_err(), "{text}");
        }
        let endless = vec![b'x'; LINE + 1];
        let mut answer = Answer::default();
        answer.feed(b"HTTP/1.1 200 OK\r\nx: ", |_, _| {}).unwrap();
        assert!(answer.feed(&endless, |_, _| {}).is_err());
    }
}
