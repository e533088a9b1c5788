//! HTTP/1.1 without a task of its own: a request is written and its answer read by whoever waits
//! for it, and bytes that nobody wants are not copied.

use std::io::{self, Write as _};

use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use super::answer::Answer;
use super::tls::Tls;
use super::{Error, Request, refused};

/// An open connection.
pub struct Connection {
    tls: Tls,
    /// The headers that every request has.
    headers: Vec<u8>,
    out: Vec<u8>,
    answer: Answer,
    /// Bytes of the body that came with its head.
    early: BytesMut,
}

impl Connection {
    pub(super) fn new(tls: Tls, host: &str, token: Option<&HeaderValue>) -> Self {
        let mut headers = format!("host: {host}\r\nuser-agent: ironclad-bench\r\n").into_bytes();
        if let Some(token) = token {
            headers.extend_from_slice(b"authorization: ");
            headers.extend_from_slice(token.as_bytes());
            headers.extend_from_slice(b"\r\n");
        }
        let (answer, early) = (Answer::default(), BytesMut::new());
        Self { tls, headers, out: Vec::new(), answer, early }
    }

    pub(super) async fn exchange(
        &mut self,
        request: &Request,
        mut keep: Option<&mut Vec<u8>>,
    ) -> Result<u64, Error> {
        self.send(request).await?;
        let mut said = Vec::new();
        let mut len = 0;
        while !self.answer.is_done() {
            self.receive(|success, piece| {
                len += piece.len() as u64;
                if !success {
                    said.extend_from_slice(piece);
                } else if let Some(kept) = &mut keep {
                    kept.extend_from_slice(piece);
                }
            })
            .await?;
        }
        if self.answer.is_success() { Ok(len) } else { Err(refused(self.answer.status, &said)) }
    }

    pub(super) async fn begin(&mut self, request: &Request) -> Result<(), Error> {
        self.send(request).await?;
        let mut early = std::mem::take(&mut self.early);
        early.clear();
        while !self.answer.has_begun() {
            self.receive(|_, piece| early.extend_from_slice(piece)).await?;
        }
        if self.answer.is_success() {
            self.early = early;
            return Ok(());
        }
        while !self.answer.is_done() {
            self.receive(|_, piece| early.extend_from_slice(piece)).await?;
        }
        Err(refused(self.answer.status, &early))
    }

    /// Some bytes of the body; `None` at its end.
    pub(super) async fn next_piece(&mut self) -> Result<Option<Bytes>, Error> {
        let mut came = std::mem::take(&mut self.early);
        while came.is_empty() {
            if self.answer.is_done() {
                return Ok(None);
            }
            self.receive(|_, piece| came.extend_from_slice(piece)).await?;
        }
        Ok(Some(came.freeze()))
    }

    async fn send(&mut self, request: &Request) -> Result<(), Error> {
        let accept = request.accept.media_type();
        self.out.clear();
        write!(self.out, "{} {} HTTP/1.1\r\n", request.method, request.path)?;
        self.out.extend_from_slice(&self.headers);
        write!(self.out, "accept: {accept}\r\n")?;
        if request.gzip {
            self.out.extend_from_slice(b"accept-encoding: gzip\r\n");
        }
        if !request.body.is_empty() {
            let (kind, len) = (request.content_type, request.body.len());
            write!(self.out, "content-type: {kind}\r\ncontent-length: {len}\r\n")?;
        }
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(&request.body);
        self.answer.clear();
        Ok(self.tls.send(&self.out).await?)
    }

    /// Waits for more of the answer; `body` is told whether it is a success.
    async fn receive(&mut self, mut body: impl FnMut(bool, &[u8])) -> Result<(), Error> {
        let (answer, mut result) = (&mut self.answer, Ok(()));
        let take = |plain: &[u8]| {
            if result.is_ok() {
                result = answer.feed(plain, &mut body);
            }
        };
        let more = self.tls.receive(take).await?;
        result?;
        if more { Ok(()) } else { Err(Error::Broken(io::ErrorKind::UnexpectedEof.into())) }
    }
}
