//! gzip for large answers, as upstream does it: only above a size where it pays, at the level that
//! costs least, and in pieces, so that a long list is never held whole.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, VARY};

use super::body::Body;
use super::respond::Reply;

/// Answers of up to this size go out as they are.
const THRESHOLD: u64 = 128 << 10;
/// About how much is compressed, and handed out, at once.
const PIECE: usize = 64 << 10;

/// The reply, compressed if the client takes that and the reply is large. Streams stay as they
/// are: their events must not wait for each other.
pub fn compressed(mut reply: Reply, request: &HeaderMap) -> Reply {
    let len = match reply.body() {
        Body::Full(Some(bytes)) => bytes.len() as u64,
        Body::Lazy(_, len) => *len,
        Body::Full(None) | Body::Stream(_) => 0,
    };
    if len <= THRESHOLD || reply.headers().contains_key(CONTENT_ENCODING) || !takes_gzip(request) {
        return reply;
    }
    let parts: Box<dyn Iterator<Item = Bytes> + Send> =
        match std::mem::replace(reply.body_mut(), Body::empty()) {
            Body::Full(bytes) => Box::new(Slices(bytes.unwrap_or_default())),
            Body::Lazy(parts, _) => parts,
            Body::Stream(_) => Box::new(std::iter::empty()),
        };
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let pieces = Gzip { parts, encoder: Some(encoder) };
    *reply.body_mut() = Body::stream(stream::iter(pieces.map(Ok)));
    reply.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    reply.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    reply
}

/// Upstream looks for the bare word.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.split(',').any(|coding| coding.trim() == "gzip"))
}

/// Bytes in pieces.
struct Slices(Bytes);

impl Iterator for Slices {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let len = self.0.len().min(PIECE);
        (len > 0).then(|| self.0.split_to(len))
    }
}

struct Gzip {
    parts: Box<dyn Iterator<Item = Bytes> + Send>,
    /// `None` once finished.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl Iterator for Gzip {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        const INTO_MEMORY: &str = "memory takes every byte";
        let encoder = self.encoder.as_mut()?;
        for part in self.parts.by_ref() {
            encoder.write_all(&part).expect(INTO_MEMORY);
            if !encoder.get_ref().is_empty() {
                return Some(std::mem::take(encoder.get_mut()).into());
            }
        }
        let rest = self.encoder.take()?.finish().expect(INTO_MEMORY);
        Some(rest.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http::StatusCode;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::http::respond;

    async fn check(len: usize, accept: &str, is_compressed: bool) {
        let text: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        for lazy in [false, true] {
            let mut reply = respond::json_bytes(StatusCode::OK, text.clone());
            if lazy {
                let slices = Slices(text.clone().into());
                *reply.body_mut() = Body::lazy(slices, len as u64);
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
}
