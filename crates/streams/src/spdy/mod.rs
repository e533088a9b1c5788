//! SPDY/3.1, as far as Kubernetes uses it: multiplexed streams over one upgraded connection.
//!
//! Container runtimes serve exec, attach and port-forward over it, because a stream can be
//! half-closed. There is no use of server push, priorities or credentials. The per-stream windows
//! of the specification are not enforced: no SPDY implementation in the Kubernetes world sends
//! WINDOW_UPDATE, so that waiting for one would stop every stream after 64 KiB. Back-pressure
//! comes from TCP instead: a stream that is not read stops the whole connection.

mod connection;
mod frame;
mod headers;

pub use connection::{Connection, Incoming, SpdyError, Stream, StreamReader, StreamWriter};
pub use frame::{Codec, Control, Frame, FrameError, MAX_PAYLOAD, RstStatus, StreamId};
pub use headers::{Compressor, Decompressor, HeaderError, Headers};

/// Value of the `Upgrade` header.
pub const UPGRADE_PROTOCOL: &str = "SPDY/3.1";

#[cfg(test)]
mod tests;
