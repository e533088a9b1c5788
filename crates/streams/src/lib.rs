//! Streams between kubectl and a container: remote command and port forwarding plumbing that the
//! API server and the kubelet share.
//!
//! Data flow of `kubectl exec`: kubectl ⇄ WebSocket ⇄ API server (`relay`, bytes untouched) ⇄ TLS
//! (`upgrade`) ⇄ kubelet (`websocket` channels) ⇄ `bridge` ⇄ `spdy` ⇄ the runtime's streaming server.
//!
//! Invariants: every queue is bounded, so a reader that stops stops the writer at the other end;
//! the end of standard input travels as a half-close on every hop; an exit status is delivered
//! after all output, or not at all.

pub mod bridge;
pub mod relay;
pub mod remotecommand;
pub mod spdy;
pub mod tls;
pub mod upgrade;
pub mod websocket;

use tokio::io::{AsyncRead, AsyncWrite};

/// A two-way byte stream: a socket, a TLS session or an upgraded HTTP connection.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A byte stream whose transport does not matter to the user.
pub type BoxIo = Box<dyn Io>;
