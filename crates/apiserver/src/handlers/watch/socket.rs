//! A watch over WebSocket, for browsers: one message per event, text for JSON and binary for the
//! rest.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::Request;
use machinery::status::Status;
use streams::websocket::{self, Message, Plain};

use super::Stream;
use crate::http::body::Body;
use crate::http::negotiate::Format;
use crate::http::respond::Reply;
use crate::pipeline::{Call, Failure};

/// Agrees to the upgrade and sends the events over it.
pub(super) fn serve(call: &mut Call<'_>, stream: Stream) -> Result<Reply, Failure> {
    let mut request = Request::new(());
    *request.headers_mut() = call.parts.headers.clone();
    *request.extensions_mut() = std::mem::take(&mut call.parts.extensions);
    let accepted = websocket::accept_plain(&mut request)
        .map_err(|error| Status::bad_request(error.to_string()))?;
    let reply = accepted.response_with(Body::empty());
    tokio::spawn(send(accepted, stream));
    Ok(reply)
}

/// Sends events until the watch ends or the client goes away, whatever comes first.
async fn send(accepted: Plain, mut stream: Stream) {
    let is_text = matches!(stream.form.accepted.format, Format::Json | Format::Yaml);
    let socket = match accepted.socket().await {
        Ok(socket) => socket,
        Err(error) => return tracing::debug!(%error, "watch over WebSocket"),
    };
    let (mut sink, mut source) = socket.split();
    loop {
        let event = tokio::select! {
            event = stream.event() => event,
            // What a client says does not matter; that it is still there does.
            message = source.next() => match message {
                Some(Ok(message)) if !message.is_close() => continue,
                _ => break,
            },
        };
        let Some(event) = event else { break };
        if sink.send(message(event, is_text, stream.form.accepted.format)).await.is_err() {
            return;
        }
    }
    if let Err(error) = sink.close().await {
        tracing::debug!(%error, "the end of a watch over WebSocket");
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
