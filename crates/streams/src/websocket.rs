//! WebSocket with the Kubernetes sub-protocols: the handshake for both roles and the framing of
//! channels in binary messages.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
pub use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};

use crate::remotecommand::Channel;
use crate::upgrade::{Reply, Target, UpgradeError, is_upgrade_to};
use crate::{BoxIo, Io};

/// First byte of a message that closes a channel, in version 5.
const CLOSE_SIGNAL: u8 = 255;
/// Longest message taken from a peer.
const MAX_MESSAGE: usize = 32 << 20;

/// Sub-protocols of Kubernetes over WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subprotocol {
    /// Channels whose half-close can be signalled.
    ChannelV5,
    /// Channels; standard input cannot be closed.
    ChannelV4,
    /// A SPDY/3.1 connection inside binary messages (KEP-4006 port forwarding).
    PortForwardTunnel,
    /// Bytes as they come, in binary messages.
    Binary,
    /// Bytes as they come, in base64 in text messages.
    Base64,
}

impl Subprotocol {
    /// Name in `Sec-WebSocket-Protocol`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ChannelV5 => "v5.channel.k8s.io",
            Self::ChannelV4 => "v4.channel.k8s.io",
            Self::PortForwardTunnel => "SPDY/3.1+portforward.k8s.io",
            Self::Binary => "binary.k8s.io",
            Self::Base64 => "base64.binary.k8s.io",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::ChannelV5, Self::ChannelV4, Self::PortForwardTunnel, Self::Binary, Self::Base64]
            .into_iter()
            .find(|protocol| protocol.name() == name)
    }
}

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// The request is not a WebSocket handshake.
    #[error("not a websocket handshake: {0}")]
    Handshake(&'static str),
    /// No common sub-protocol.
    #[error(
        "unable to upgrade: unable to negotiate protocol: client supports {client:?}, server accepts {server:?}"
    )]
    Protocol {
        /// What the client offered.
        client: Vec<String>,
        /// What this side knows.
        server: Vec<&'static str>,
    },
    /// The server said no.
    #[error("websocket: bad handshake: {}", .0.status())]
    Refused(Box<Response<Incoming>>),
    /// Connecting failed.
    #[error(transparent)]
    Connect(#[from] UpgradeError),
    /// The client never completed the switch.
    #[error(transparent)]
    Switch(#[from] hyper::Error),
    /// The connection broke or the peer broke the protocol.
    #[error(transparent)]
    Socket(#[from] WsError),
    /// A message that is not of the channel protocol.
    #[error("invalid channel message: {0}")]
    Message(&'static str),
}

/// Whether the headers name sub-protocols.
pub fn offers_protocols(headers: &HeaderMap) -> bool {
    headers.contains_key(SEC_WEBSOCKET_PROTOCOL)
}

/// Whether the headers ask for a switch to WebSocket.
pub fn is_websocket(headers: &HeaderMap) -> bool {
    is_upgrade_to(headers, "websocket")
}

/// A WebSocket over an upgraded connection.
pub type Socket = WebSocketStream<BoxIo>;

/// A handshake that was accepted: send the response, then take the socket.
pub struct Accepted<P = Subprotocol> {
    /// The `101` answer.
    pub response: Response<()>,
    /// The sub-protocol agreed on.
    pub protocol: P,
    upgrade: OnUpgrade,
}

/// A handshake without channels that was accepted.
pub type Plain = Accepted<()>;

impl<P> Accepted<P> {
    /// The `101` answer with a body, which must be empty, of the type that the server uses.
    pub fn response_with<B>(&self, body: B) -> Response<B> {
        let mut response = Response::new(body);
        *response.status_mut() = self.response.status();
        *response.headers_mut() = self.response.headers().clone();
        response
    }

    /// The socket, once the response has been sent.
    pub async fn socket(self) -> Result<Socket, WebSocketError> {
        let upgraded = self.upgrade.await?;
        Ok(server_socket(Box::new(TokioIo::new(upgraded))).await)
    }
}

/// Wraps a connection on which the handshake is over, in the server's role.
pub async fn server_socket(io: BoxIo) -> Socket {
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config())).await
}

/// Wraps a connection on which the handshake is over, in the client's role.
pub async fn client_socket(io: BoxIo) -> Socket {
    WebSocketStream::from_raw_socket(io, Role::Client, Some(config())).await
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
        .write_buffer_size(0)
}

/// Answers a WebSocket handshake with the first protocol that the client offers and `supported`
/// contains.
pub fn accept<B>(
    request: &mut Request<B>,
    supported: &[Subprotocol],
) -> Result<Accepted, WebSocketError> {
    let mut response = switch(request.headers())?;
    let offered = offered(request.headers());
    let protocol = offered
        .iter()
        .filter_map(|name| Subprotocol::parse(name))
        .find(|protocol| supported.contains(protocol))
        .ok_or_else(|| WebSocketError::Protocol {
            client: offered.clone(),
            server: supported.iter().map(|protocol| protocol.name()).collect(),
        })?;
    let name = HeaderValue::from_static(protocol.name());
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
    Ok(Accepted { response, protocol, upgrade: hyper::upgrade::on(request) })
}

/// Answers a WebSocket handshake whose messages are of no protocol of ours. If the client names
/// one, it is agreed to; with several there is no telling which one is meant.
pub fn accept_plain<B>(request: &mut Request<B>) -> Result<Plain, WebSocketError> {
    let mut response = switch(request.headers())?;
    match offered(request.headers()).as_slice() {
        [] => {}
        [only] => {
            let name = HeaderValue::from_str(only)
                .map_err(|_| WebSocketError::Handshake("unusable Sec-WebSocket-Protocol"))?;
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        _ => return Err(WebSocketError::Handshake("more than one Sec-WebSocket-Protocol")),
    }
    Ok(Accepted { response, protocol: (), upgrade: hyper::upgrade::on(request) })
}

/// The sub-protocols that a client offers.
fn offered(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The `101` answer to a handshake.
fn switch(headers: &HeaderMap) -> Result<Response<()>, WebSocketError> {
    if !is_websocket(headers) {
        return Err(WebSocketError::Handshake("no upgrade to websocket asked for"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(WebSocketError::Handshake("Sec-WebSocket-Version is not 13"));
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .ok_or(WebSocketError::Handshake("no Sec-WebSocket-Key"))?
        .as_bytes();
    let accept_key = HeaderValue::from_str(&derive_accept_key(key))
        .map_err(|_| WebSocketError::Handshake("unusable Sec-WebSocket-Key"))?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept_key);
    Ok(response)
}

/// Opens a WebSocket as a client, offering `protocols` in order of preference.
pub async fn connect(
    target: &Target,
    uri: Uri,
    headers: HeaderMap,
    protocols: &[Subprotocol],
) -> Result<(Socket, Subprotocol), WebSocketError> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    let key = tokio_tungstenite::tungstenite::handshake::client::generate_key();
    let expected = derive_accept_key(key.as_bytes());
    let names: Vec<_> = protocols.iter().map(|protocol| protocol.name()).collect();
    let insert = request.headers_mut();
    insert.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    insert.insert(UPGRADE, HeaderValue::from_static("websocket"));
    insert.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    insert.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).expect("base64 is ASCII"));
    insert.insert(
        SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_str(&names.join(", ")).expect("protocol names are ASCII"),
    );
    let (response, io) = match target.send(request).await? {
        Reply::Switched { response, io } => (response, io),
        Reply::Answered(response) => return Err(WebSocketError::Refused(Box::new(response))),
    };
    if response.headers().get(SEC_WEBSOCKET_ACCEPT).is_none_or(|accept| accept != &expected) {
        return Err(WebSocketError::Handshake("wrong Sec-WebSocket-Accept"));
    }
    let protocol = response
        .headers()
        .get(SEC_WEBSOCKET_PROTOCOL)
        .and_then(|name| name.to_str().ok())
        .and_then(Subprotocol::parse)
        .filter(|protocol| protocols.contains(protocol))
        .ok_or(WebSocketError::Handshake("no sub-protocol chosen"))?;
    Ok((client_socket(io).await, protocol))
}

/// One message of the channel protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of a channel, possibly none.
    Data(Channel, Bytes),
    /// The sender will send nothing more on the channel.
    Closed(Channel),
}

impl Frame {
    /// The payload of the binary message.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Data(channel, data) => {
                let mut message = BytesMut::with_capacity(data.len() + 1);
                message.put_u8(*channel as u8);
                message.put_slice(data);
                message.freeze()
            }
            Self::Closed(channel) => Bytes::from(vec![CLOSE_SIGNAL, *channel as u8]),
        }
    }

    /// Reads a binary message; `None` for a channel that is unknown, which is skipped.
    pub fn decode(
        mut message: Bytes,
        protocol: Subprotocol,
    ) -> Result<Option<Self>, WebSocketError> {
        if message.is_empty() {
            return Err(WebSocketError::Message("empty"));
        }
        let number = message.split_to(1)[0];
        if number == CLOSE_SIGNAL && protocol == Subprotocol::ChannelV5 {
            let channel = *message.first().ok_or(WebSocketError::Message("no channel to close"))?;
            return Ok(Channel::from_number(channel).map(Self::Closed));
        }
        Ok(Channel::from_number(number).map(|channel| Self::Data(channel, message)))
    }
}

/// Sends channel messages.
pub struct FrameSender<S> {
    sink: SplitSink<WebSocketStream<S>, Message>,
}

/// Receives channel messages; pings are answered while it is polled.
pub struct FrameReceiver<S> {
    stream: SplitStream<WebSocketStream<S>>,
    protocol: Subprotocol,
}

/// Splits a socket into its two directions.
pub fn channels<S: Io>(
    socket: WebSocketStream<S>,
    protocol: Subprotocol,
) -> (FrameSender<S>, FrameReceiver<S>) {
    let (sink, stream) = socket.split();
    (FrameSender { sink }, FrameReceiver { stream, protocol })
}

// === impl FrameSender ===

impl<S: Io> FrameSender<S> {
    /// Sends bytes of a channel.
    pub async fn send(&mut self, channel: Channel, data: Bytes) -> Result<(), WebSocketError> {
        Ok(self.sink.send(Message::Binary(Frame::Data(channel, data).encode())).await?)
    }

    /// Says that the channel ends; only for version 5.
    pub async fn close_channel(&mut self, channel: Channel) -> Result<(), WebSocketError> {
        Ok(self.sink.send(Message::Binary(Frame::Closed(channel).encode())).await?)
    }

    /// Ends the conversation in the regular way.
    pub async fn close(&mut self) -> Result<(), WebSocketError> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        match self.sink.send(Message::Close(Some(frame))).await {
            Ok(()) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

// === impl FrameReceiver ===

impl<S: Io> FrameReceiver<S> {
    /// The next message, or `None` after the peer's goodbye.
    pub async fn next(&mut self) -> Result<Option<Frame>, WebSocketError> {
        loop {
            let message = match self.stream.next().await {
                None => return Ok(None),
                Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => return Ok(None),
                Some(message) => message?,
            };
            let payload = match message {
                Message::Binary(payload) => payload,
                Message::Text(text) => Bytes::from(text),
                Message::Close(_) => return Ok(None),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            if let Some(frame) = Frame::decode(payload, self.protocol)? {
                return Ok(Some(frame));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_have_upstreams_bytes() {
        let check = |frame: Frame, bytes: &'static [u8]| {
            assert_eq!(frame.encode(), bytes);
            let decoded = Frame::decode(Bytes::from_static(bytes), Subprotocol::ChannelV5);
            assert_eq!(decoded.unwrap(), Some(frame));
        };
        check(Frame::Data(Channel::Stdin, Bytes::from_static(b"ls\n")), b"\0ls\n");
        check(Frame::Data(Channel::Error, Bytes::from_static(b"{}")), b"\x03{}");
        check(Frame::Data(Channel::Stdout, Bytes::new()), b"\x01");
        check(Frame::Closed(Channel::Stdin), b"\xff\0");
    }

    #[test]
    fn version_4_knows_no_close_and_garbage_is_refused() {
        let decode =
            |bytes: &'static [u8], protocol| Frame::decode(Bytes::from_static(bytes), protocol);
        assert_eq!(decode(b"\xff\0", Subprotocol::ChannelV4).unwrap(), None);
        assert_eq!(decode(b"\x09x", Subprotocol::ChannelV5).unwrap(), None);
        assert!(decode(b"", Subprotocol::ChannelV5).is_err());
        assert!(decode(b"\xff", Subprotocol::ChannelV5).is_err());
    }

    fn handshake(protocols: &str) -> Request<()> {
        Request::get("/exec")
            .header(CONNECTION, "keep-alive, Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==")
            .header(SEC_WEBSOCKET_PROTOCOL, protocols)
            .body(())
            .unwrap()
    }

    #[test]
    fn the_clients_order_decides() {
        let supported = [Subprotocol::ChannelV4, Subprotocol::ChannelV5];
        let accepted =
            accept(&mut handshake("v5.channel.k8s.io, v4.channel.k8s.io"), &supported).unwrap();
        assert_eq!(accepted.protocol, Subprotocol::ChannelV5);
        // The key and its answer are the example of RFC 6455.
        assert_eq!(
            accepted.response.headers()[SEC_WEBSOCKET_ACCEPT],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        let refused = accept(&mut handshake("graphql-ws"), &supported);
        assert!(matches!(refused, Err(WebSocketError::Protocol { .. })));
    }
}
