//! HTTP/1.1 without a task of its own: a request is written and its answer read by whoever waits
//! for it, and bytes that nobody wants are not copied.

use std::io::{self, Write as _};

use bytes::Bytes;
use http::HeaderValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Error, Request, Tls, refused};

/// Room for the head of an answer, and for the part of a body that is read at once.
const BUFFER: usize = 64 << 10;
/// Headers in an answer.
const HEADERS: usize = 64;

/// An open connection.
pub struct Connection {
    stream: Tls,
    /// The headers that every request has.
    headers: Vec<u8>,
    out: Vec<u8>,
    buffer: Box<[u8]>,
    /// What was read and not used yet.
    from: usize,
    to: usize,
    body: Body,
}

/// What is left of the answer's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Known(u64),
    /// So much of this chunk, then its end of line and the next chunk.
    Chunk(u64),
    /// The next thing is the size of a chunk.
    ChunkSize,
    Done,
}

struct Head {
    status: u16,
    body: Body,
}

impl Connection {
    pub(super) fn new(stream: Tls, host: &str, token: Option<&HeaderValue>) -> Self {
        let mut headers = format!("host: {host}\r\nuser-agent: ironclad-bench\r\n").into_bytes();
        if let Some(token) = token {
            headers.extend_from_slice(b"authorization: ");
            headers.extend_from_slice(token.as_bytes());
            headers.extend_from_slice(b"\r\n");
        }
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { stream, headers, out: Vec::new(), buffer, from: 0, to: 0, body: Body::Done }
    }

    pub(super) async fn exchange(
        &mut self,
        request: &Request,
        mut keep: Option<&mut Vec<u8>>,
    ) -> Result<u64, Error> {
        let status = self.start(request).await?;
        let success = (200..300).contains(&status);
        let mut said = Vec::new();
        let mut len = 0;
        while let Some(piece) = self.piece().await? {
            len += piece.len() as u64;
            if !success {
                said.extend_from_slice(piece);
            } else if let Some(kept) = &mut keep {
                kept.extend_from_slice(piece);
            }
        }
        if success { Ok(len) } else { Err(refused(status, &said)) }
    }

    pub(super) async fn begin(&mut self, request: &Request) -> Result<(), Error> {
        let status = self.start(request).await?;
        if (200..300).contains(&status) {
            return Ok(());
        }
        let mut said = Vec::new();
        while let Some(piece) = self.piece().await? {
            said.extend_from_slice(piece);
        }
        Err(refused(status, &said))
    }

    pub(super) async fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        Ok(self.piece().await?.map(Bytes::copy_from_slice))
    }

    /// Sends a request and reads the head of its answer.
    async fn start(&mut self, request: &Request) -> Result<u16, Error> {
        let accept = request.accept.media_type();
        self.out.clear();
        write!(self.out, "{} {} HTTP/1.1\r\n", request.method, request.path)?;
        self.out.extend_from_slice(&self.headers);
        write!(self.out, "accept: {accept}\r\n")?;
        if !request.body.is_empty() {
            let (kind, len) = (request.content_type, request.body.len());
            write!(self.out, "content-type: {kind}\r\ncontent-length: {len}\r\n")?;
        }
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(&request.body);
        self.stream.write_all(&self.out).await?;
        self.stream.flush().await?;
        loop {
            if let Some((head, used)) = head(&self.buffer[self.from..self.to])? {
                self.from += used;
                if head.status == 100 {
                    continue;
                }
                self.body = head.body;
                return Ok(head.status);
            }
            self.fill().await?;
        }
    }

    /// Reads more bytes behind those that are there.
    async fn fill(&mut self) -> Result<(), Error> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.to == self.buffer.len() {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        if self.to == self.buffer.len() {
            return Err(Error::Malformed("the head of the answer is too long".to_owned()));
        }
        match self.stream.read(&mut self.buffer[self.to..]).await? {
            0 => Err(Error::Broken(io::ErrorKind::UnexpectedEof.into())),
            read => {
                self.to += read;
                Ok(())
            }
        }
    }

    /// Some bytes of the body; `None` at its end.
    async fn piece(&mut self) -> Result<Option<&[u8]>, Error> {
        loop {
            match self.body {
                Body::Done | Body::Known(0) => {
                    self.body = Body::Done;
                    return Ok(None);
                }
                Body::Known(left) => {
                    let taken = self.take(left).await?;
                    self.body = Body::Known(left - taken.len() as u64);
                    return Ok(Some(&self.buffer[taken]));
                }
                Body::Chunk(0) => {
                    self.line().await?;
                    self.body = Body::ChunkSize;
                }
                Body::Chunk(left) => {
                    let taken = self.take(left).await?;
                    self.body = Body::Chunk(left - taken.len() as u64);
                    return Ok(Some(&self.buffer[taken]));
                }
                Body::ChunkSize => {
                    let line = self.line().await?;
                    let digits = line.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(digits, 16)
                        .map_err(|_| Error::Malformed(format!("chunk size {digits:?}")))?;
                    if size == 0 {
                        while !self.line().await?.is_empty() {}
                        self.body = Body::Done;
                    } else {
                        self.body = Body::Chunk(size);
                    }
                }
            }
        }
    }

    /// Where in the buffer up to `left` bytes are.
    async fn take(&mut self, left: u64) -> Result<std::ops::Range<usize>, Error> {
        if self.from == self.to {
            self.fill().await?;
        }
        let there = self.to - self.from;
        let taken = usize::try_from(left).unwrap_or(there).min(there);
        self.from += taken;
        Ok(self.from - taken..self.from)
    }

    async fn line(&mut self) -> Result<String, Error> {
        loop {
            let there = &self.buffer[self.from..self.to];
            if let Some(end) = there.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&there[..end]).into_owned();
                self.from += end + 2;
                return Ok(line);
            }
            self.fill().await?;
        }
    }
}

/// The head of an answer and its length, once it is there whole.
fn head(bytes: &[u8]) -> Result<Option<(Head, usize)>, Error> {
    let malformed = |error: &dyn std::fmt::Display| Error::Malformed(error.to_string());
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let used = match response.parse(bytes).map_err(|error| malformed(&error))? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(used) => used,
    };
    let status = response.code.unwrap_or_default();
    let mut body = Body::Done;
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = String::from_utf8_lossy(header.value);
            body = Body::Known(text.trim().parse().map_err(|error| malformed(&error))?);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            body = Body::ChunkSize;
        }
    }
    Ok(Some((Head { status, body }, used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_say_how_the_body_comes() {
        let check = |text: &str, want: Option<(u16, Body, usize)>| {
            let got = head(text.as_bytes()).unwrap();
            assert_eq!(got.map(|(head, used)| (head.status, head.body, used)), want, "{text}");
        };
        check("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", None);
        let text = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nrest";
        check(text, Some((200, Body::Known(12), text.len() - 4)));
        let text = "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n";
        check(text, Some((201, Body::ChunkSize, text.len())));
        let text = "HTTP/1.1 204 No Content\r\n\r\n";
        check(text, Some((204, Body::Done, text.len())));
        assert!(head(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n").is_err());
        assert!(head(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
