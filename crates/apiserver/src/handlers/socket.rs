//! Answers that come bit by bit, over WebSocket, for browsers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt as _, Stream, StreamExt as _};
use http::Request;
use machinery::status::Status;
use streams::websocket::{self, Accepted, Message, Subprotocol, WebSocketError};

use crate::http::body::Body;
use crate::http::negotiate::Format;
use crate::http::respond::Reply;
use crate::pipeline::{Call, Failure};

/// Agrees to the upgrade and sends the events of a watch over it, one message each: text for JSON and
/// binary for the rest.
pub(super) fn events(
    call: &mut Call<'_>,
    format: Format,
    events: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Reply, Failure> {
    let accepted = websocket::accept_plain(&mut handshake(call)).map_err(refused)?;
    let is_text = matches!(format, Format::Json | Format::Yaml);
    Ok(serve(accepted, events.map(move |event| message(event, is_text, format))))
}

/// Agrees to the upgrade and sends bytes over it as they come, in the form that the client names:
/// binary, unless it wants base64.
pub(super) fn bytes(
    call: &mut Call<'_>,
    chunks: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Reply, Failure> {
    let mut request = handshake(call);
    if !websocket::offers_protocols(request.headers()) {
        let accepted = websocket::accept_plain(&mut request).map_err(refused)?;
        return Ok(serve(accepted, chunks.map(Message::binary)));
    }
    let known = [Subprotocol::Binary, Subprotocol::Base64];
    let accepted = websocket::accept(&mut request, &known).map_err(refused)?;
    let in_text = accepted.protocol == Subprotocol::Base64;
    let messages = chunks.map(move |chunk| match in_text {
        true => Message::text(STANDARD.encode(&chunk)),
        false => Message::binary(chunk),
    });
    Ok(serve(accepted, messages))
}

/// What of a request the handshake needs. The connection is taken out of it.
fn handshake(call: &mut Call<'_>) -> Request<()> {
    let mut request = Request::new(());
    *request.headers_mut() = call.parts.headers.clone();
    *request.extensions_mut() = std::mem::take(&mut call.parts.extensions);
    request
}

fn refused(error: WebSocketError) -> Failure {
    Box::new(Status::bad_request(error.to_string()))
}

fn serve<P: Send + 'static>(
    accepted: Accepted<P>,
    messages: impl Stream<Item = Message> + Send + 'static,
) -> Reply {
    let reply = accepted.response_with(Body::empty());
    tokio::spawn(send(accepted, messages));
    reply
}

/// Sends messages until there are no more or the client goes away, whatever comes first.
async fn send<P>(accepted: Accepted<P>, messages: impl Stream<Item = Message>) {
    let socket = match accepted.socket().await {
        Ok(socket) => socket,
        Err(error) => return tracing::debug!(%error, "an answer over WebSocket"),
    };
    let (mut sink, mut source) = socket.split();
    let mut messages = std::pin::pin!(messages);
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            // What a client says does not matter; that it is still there does.
            said = source.next() => match said {
                Some(Ok(said)) if !said.is_close() => continue,
                _ => break,
            },
        };
        let Some(message) = message else { break };
        if sink.send(message).await.is_err() {
            return;
        }
    }
    if let Err(error) = sink.close().await {
        tracing::debug!(%error, "the end of an answer over WebSocket");
    }
}

fn message(event: Bytes, is_text: bool, format: Format) -> Message {
    if is_text {
        return Message::text(String::from_utf8_lossy(&event).into_owned());
    }
    // Messages have a length of their own, so that the frame's is dropped.
    let prefix = if format == Format::Protobuf { 4.min(event.len()) } else { 0 };
    Message::binary(event.slice(prefix..))
}
