//! HTTP/2: many requests at once on one connection.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::tls::Tls;
use super::{Error, Request, refused};

/// An open connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    token: Option<HeaderValue>,
}

impl Connection {
    pub(super) async fn open(
        stream: Tls,
        host: &str,
        token: Option<&HeaderValue>,
    ) -> Result<Self, Error> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        // Its error reaches the sender too.
        tokio::spawn(async move { connection.await.ok() });
        Ok(Self { sender, host: host.to_owned(), token: token.cloned() })
    }

    pub(super) async fn exchange(
        &mut self,
        request: &Request,
        mut keep: Option<&mut Vec<u8>>,
    ) -> Result<u64, Error> {
        let mut body = self.begin(request).await?;
        let mut len = 0;
        while let Some(piece) = next_piece(&mut body).await? {
            len += piece.len() as u64;
            if let Some(kept) = &mut keep {
                kept.extend_from_slice(&piece);
            }
        }
        Ok(len)
    }

    pub(super) async fn begin(&mut self, request: &Request) -> Result<Incoming, Error> {
        let mut builder = http::Request::builder()
            .method(request.method)
            .uri(format!("https://{}{}", self.host, request.path))
            .header(USER_AGENT, "ironclad-bench")
            .header(ACCEPT, request.accept.media_type());
        if let Some(token) = &self.token {
            builder = builder.header(AUTHORIZATION, token);
        }
        if request.gzip {
            builder = builder.header(ACCEPT_ENCODING, "gzip");
        }
        if !request.body.is_empty() {
            builder = builder.header(CONTENT_TYPE, request.content_type);
        }
        self.sender.ready().await?;
        let request = builder.body(Full::new(request.body.clone()))?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let said = response.into_body().collect().await?.to_bytes();
        Err(refused(status.as_u16(), &said))
    }
}

/// The next bytes of an answer; `None` at its end.
pub(super) async fn next_piece(body: &mut Incoming) -> Result<Option<Bytes>, Error> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}
