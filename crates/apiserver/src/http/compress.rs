//! gzip for large answers, as upstream does it: only above a size where it pays, at the level that
//! costs least, and in pieces, so that a long list is never held whole and holds up nobody.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::Stream;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};

use super::body::{Body, StreamError, Turn};
use super::respond::Reply;

/// Answers of up to this size go out as they are.
const THRESHOLD: u64 = 128 << 10;
/// How much is handed out at once, about.
const PIECE: usize = 32 << 10;
/// How much is compressed before others get their turn: a good half of a millisecond.
const TURN: usize = 128 << 10;

/// The reply, compressed if the client takes that and the reply is large. Streams stay as they
/// are: their events must not wait for each other.
pub fn compressed(mut reply: Reply, request: &HeaderMap) -> Reply {
    let len = match reply.body() {
        Body::Full(Some(bytes)) => bytes.len() as u64,
        Body::Lazy(parts) => parts.len(),
        Body::Full(None) | Body::Stream(_) => 0,
    };
    if len <= THRESHOLD || reply.headers().contains_key(CONTENT_ENCODING) || !takes_gzip(request) {
        return reply;
    }
    let parts: Box<dyn Iterator<Item = Bytes> + Send> =
        match std::mem::replace(reply.body_mut(), Body::empty()) {
            Body::Full(bytes) => Box::new(bytes.into_iter()),
            Body::Lazy(parts) => parts.into_inner(),
            Body::Stream(_) => Box::new(std::iter::empty()),
        };
    *reply.body_mut() = Body::stream(Gzip::new(parts));
    reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    reply.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    reply
}

/// Upstream looks for the bare word.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.split(',').any(|coding| coding.trim() == "gzip"))
        && machinery::features::enabled("APIResponseCompression") == Some(true)
}

/// Parts, compressed.
struct Gzip {
    parts: Box<dyn Iterator<Item = Bytes> + Send>,
    /// What is left of a part.
    part: Bytes,
    /// `None` once finished.
    encoder: Option<GzEncoder<Vec<u8>>>,
    turn: Turn,
}

impl Gzip {
    fn new(parts: Box<dyn Iterator<Item = Bytes> + Send>) -> Self {
        let encoder = GzEncoder::new(Vec::new(), Compression::fast());
        Self { parts, part: Bytes::new(), encoder: Some(encoder), turn: Turn::of(TURN) }
    }
}

impl Stream for Gzip {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            ready!(this.turn.poll(context));
            let Some(encoder) = &mut this.encoder else { return Poll::Ready(None) };
            if this.part.is_empty() {
                match this.parts.next() {
                    Some(part) => this.part = part,
                    None => {
                        let rest = this.encoder.take().map(GzEncoder::finish).transpose();
                        let rest = rest.map(|rest| rest.unwrap_or_default().into());
                        return Poll::Ready(Some(rest.map_err(Into::into)));
                    }
                }
            }
            let piece = this.part.split_to(this.part.len().min(TURN));
            this.turn.spend(piece.len());
            encoder.write_all(&piece)?;
            if encoder.get_ref().len() >= PIECE {
                return Poll::Ready(Some(Ok(std::mem::take(encoder.get_mut()).into())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::StatusCode;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::http::respond;

    async fn check(len: usize, accept: &str, is_compressed: bool) {
        let text: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        for lazy in [false, true] {
            let mut reply = respond::json_bytes(StatusCode::OK, text.clone());
            if lazy {
                let text = Bytes::from(text.clone());
                let parts =
                    (0..len).step_by(5000).map(move |at| text.slice(at..len.min(at + 5000)));
                *reply.body_mut() = Body::lazy(parts, len as u64);
            }
            let mut request = HeaderMap::new();
            request.insert(ACCEPT_ENCODING, accept.parse().unwrap());
            let reply = compressed(reply, &request);
            assert_eq!(reply.headers().contains_key(CONTENT_ENCODING), is_compressed, "{accept}");
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            let mut got = Vec::new();
            if is_compressed {
                flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut got).unwrap();
            } else {
                got.extend_from_slice(&body);
            }
            assert!(got == text, "{len} bytes come out otherwise");
        }
    }

    #[tokio::test]
    async fn large_answers_for_those_who_ask() {
        check(128 << 10, "gzip", false).await;
        check((128 << 10) + 1, "gzip", true).await;
        check(1 << 20, "deflate, gzip", true).await;
        check(1 << 20, "identity", false).await;
        check(0, "gzip", false).await;
    }

    /// A list that goes on for ever, read by a client that is always ready, leaves time for others
    /// on the same thread.
    #[tokio::test]
    async fn endless_answers_hold_up_nobody() {
        for gzip in [false, true] {
            let mut request = HeaderMap::new();
            if gzip {
                request.insert(ACCEPT_ENCODING, "gzip".parse().unwrap());
            }
            let mut reply = respond::json_bytes(StatusCode::OK, "x");
            *reply.body_mut() =
                Body::lazy(std::iter::repeat(Bytes::from(vec![7; 1 << 16])), u64::MAX);
            let mut body = compressed(reply, &request).into_body();
            let others = Arc::new(AtomicUsize::new(0));
            let other = tokio::spawn({
                let others = others.clone();
                async move {
                    loop {
                        others.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                }
            });
            // Without turns this does not come to an end.
            poll_fn(|context| {
                while others.load(Ordering::Relaxed) < 3 {
                    let next = http_body::Body::poll_frame(Pin::new(&mut body), context);
                    assert!(ready!(next).is_some());
                }
                Poll::Ready(())
            })
            .await;
            other.abort();
        }
    }
}
