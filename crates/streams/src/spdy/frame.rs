//! Frames and their bytes. Header blocks are still compressed here, because compression has state
//! that belongs to the connection.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// Number of a stream: odd when the client opened it, even when the server did.
pub type StreamId = u32;

/// Longest payload of a frame: its length has 24 bits.
pub const MAX_PAYLOAD: usize = (1 << 24) - 1;

const VERSION: u16 = 3;
const CONTROL_BIT: u16 = 0x8000;
const FLAG_FIN: u8 = 0x01;
const FLAG_UNIDIRECTIONAL: u8 = 0x02;
const STREAM_MASK: u32 = 0x7fff_ffff;
const HEAD: usize = 8;

/// Why a byte sequence is no frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Not SPDY/3.
    #[error("SPDY version {0} is not supported")]
    Version(u16),
    /// The payload is too short or too long for its type.
    #[error("malformed SPDY frame of type {0}")]
    Malformed(u16),
    /// The payload does not fit into a frame.
    #[error("SPDY frame of {0} bytes is too long")]
    TooLong(usize),
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Why a stream was reset (section 2.6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RstStatus(pub u32);

impl RstStatus {
    /// The frame broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// There is no such stream.
    pub const INVALID_STREAM: Self = Self(2);
    /// The stream is not wanted.
    pub const REFUSED_STREAM: Self = Self(3);
    /// The opener has no more use for it.
    pub const CANCEL: Self = Self(5);
}

/// Control frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// Opens a stream.
    SynStream {
        /// The new stream.
        stream: StreamId,
        /// Stream that this one belongs to, or 0.
        associated: StreamId,
        /// 0 (highest) to 7.
        priority: u8,
        /// The sender will send no data.
        fin: bool,
        /// The receiver may send no data.
        unidirectional: bool,
        /// Compressed header block.
        headers: Bytes,
    },
    /// Accepts a stream.
    SynReply {
        /// The stream.
        stream: StreamId,
        /// The sender will send no data.
        fin: bool,
        /// Compressed header block.
        headers: Bytes,
    },
    /// Ends a stream at once.
    RstStream {
        /// The stream.
        stream: StreamId,
        /// Why.
        status: RstStatus,
    },
    /// Parameters of the connection: flags, id, value.
    Settings(Vec<(u8, u32, u32)>),
    /// To be sent back as it is.
    Ping(u32),
    /// No new streams after this one.
    GoAway {
        /// Last stream that was taken.
        last: StreamId,
        /// 0 is a regular end.
        status: u32,
    },
    /// Further headers of a stream.
    Headers {
        /// The stream.
        stream: StreamId,
        /// The sender will send no more.
        fin: bool,
        /// Compressed header block.
        headers: Bytes,
    },
    /// The receiver has room for more.
    WindowUpdate {
        /// The stream, or 0 for the connection.
        stream: StreamId,
        /// Bytes.
        delta: u32,
    },
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// About the connection or its streams.
    Control(Control),
    /// Bytes of a stream.
    Data {
        /// The stream.
        stream: StreamId,
        /// The sender will send no more.
        fin: bool,
        /// The bytes.
        data: Bytes,
    },
    /// A control frame of a type that this side does not know; to be skipped.
    Unknown(u16),
}

/// Encoder and decoder for `tokio_util::codec`.
#[derive(Debug, Default)]
pub struct Codec;

impl Encoder<Frame> for Codec {
    type Error = FrameError;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), FrameError> {
        let control = match frame {
            Frame::Data { stream, fin, data } => {
                check_length(data.len())?;
                out.reserve(HEAD + data.len());
                out.put_u32(stream & STREAM_MASK);
                put_flags_and_length(out, flag(fin, FLAG_FIN), data.len());
                out.put_slice(&data);
                return Ok(());
            }
            Frame::Unknown(_) => return Ok(()),
            Frame::Control(control) => control,
        };
        let (kind, flags, payload) = control.into_payload();
        check_length(payload.len())?;
        out.reserve(HEAD + payload.len());
        out.put_u16(CONTROL_BIT | VERSION);
        out.put_u16(kind);
        put_flags_and_length(out, flags, payload.len());
        out.put_slice(&payload);
        Ok(())
    }
}

fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

fn check_length(length: usize) -> Result<(), FrameError> {
    if length > MAX_PAYLOAD { Err(FrameError::TooLong(length)) } else { Ok(()) }
}

fn put_flags_and_length(out: &mut BytesMut, flags: u8, length: usize) {
    out.put_u32((u32::from(flags) << 24) | length as u32);
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(head) = input.get(..HEAD) else {
            return Ok(None);
        };
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let second = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
        let flags = (second >> 24) as u8;
        let length = (second & MAX_PAYLOAD as u32) as usize;
        let is_control = first >> 31 == 1;
        let version = (first >> 16) as u16 & !CONTROL_BIT;
        if is_control && version != VERSION {
            return Err(FrameError::Version(version));
        }
        if input.len() < HEAD + length {
            // Not reserved in one go: the peer has announced the length, not sent it.
            return Ok(None);
        }
        input.advance(HEAD);
        let payload = input.split_to(length).freeze();
        if !is_control {
            let fin = flags & FLAG_FIN != 0;
            return Ok(Some(Frame::Data { stream: first & STREAM_MASK, fin, data: payload }));
        }
        let kind = first as u16;
        Control::from_payload(kind, flags, payload)
            .map(|control| Some(control.map_or(Frame::Unknown(kind), Frame::Control)))
            .ok_or(FrameError::Malformed(kind))
    }
}

impl Control {
    fn into_payload(self) -> (u16, u8, BytesMut) {
        let mut out = BytesMut::new();
        let (kind, flags) = match self {
            Self::SynStream { stream, associated, priority, fin, unidirectional, headers } => {
                out.put_u32(stream & STREAM_MASK);
                out.put_u32(associated & STREAM_MASK);
                out.put_u8((priority & 7) << 5);
                out.put_u8(0);
                out.put_slice(&headers);
                (1, flag(fin, FLAG_FIN) | flag(unidirectional, FLAG_UNIDIRECTIONAL))
            }
            Self::SynReply { stream, fin, headers } => {
                out.put_u32(stream & STREAM_MASK);
                out.put_slice(&headers);
                (2, flag(fin, FLAG_FIN))
            }
            Self::RstStream { stream, status } => {
                out.put_u32(stream & STREAM_MASK);
                out.put_u32(status.0);
                (3, 0)
            }
            Self::Settings(entries) => {
                out.put_u32(entries.len() as u32);
                for (flags, id, value) in entries {
                    out.put_u32((u32::from(flags) << 24) | (id & 0x00ff_ffff));
                    out.put_u32(value);
                }
                (4, 0)
            }
            Self::Ping(id) => {
                out.put_u32(id);
                (6, 0)
            }
            Self::GoAway { last, status } => {
                out.put_u32(last & STREAM_MASK);
                out.put_u32(status);
                (7, 0)
            }
            Self::Headers { stream, fin, headers } => {
                out.put_u32(stream & STREAM_MASK);
                out.put_slice(&headers);
                (8, flag(fin, FLAG_FIN))
            }
            Self::WindowUpdate { stream, delta } => {
                out.put_u32(stream & STREAM_MASK);
                out.put_u32(delta & STREAM_MASK);
                (9, 0)
            }
        };
        (kind, flags, out)
    }

    /// `None` when malformed, `Some(None)` for an unknown type.
    fn from_payload(kind: u16, flags: u8, mut payload: Bytes) -> Option<Option<Self>> {
        let fin = flags & FLAG_FIN != 0;
        let control = match kind {
            1 => {
                let stream = payload.try_get_u32().ok()? & STREAM_MASK;
                let associated = payload.try_get_u32().ok()? & STREAM_MASK;
                let priority = payload.try_get_u8().ok()? >> 5;
                payload.try_get_u8().ok()?;
                let unidirectional = flags & FLAG_UNIDIRECTIONAL != 0;
                let headers = payload;
                Self::SynStream { stream, associated, priority, fin, unidirectional, headers }
            }
            2 => {
                let stream = payload.try_get_u32().ok()? & STREAM_MASK;
                Self::SynReply { stream, fin, headers: payload }
            }
            3 => {
                let stream = payload.try_get_u32().ok()? & STREAM_MASK;
                Self::RstStream { stream, status: RstStatus(payload.try_get_u32().ok()?) }
            }
            4 => {
                let count = payload.try_get_u32().ok()? as usize;
                if payload.len() != count.checked_mul(8)? {
                    return None;
                }
                let mut entries = Vec::with_capacity(count);
                for _ in 0..count {
                    let head = payload.try_get_u32().ok()?;
                    let value = payload.try_get_u32().ok()?;
                    entries.push(((head >> 24) as u8, head & 0x00ff_ffff, value));
                }
                Self::Settings(entries)
            }
            6 => Self::Ping(payload.try_get_u32().ok()?),
            7 => {
                let last = payload.try_get_u32().ok()? & STREAM_MASK;
                Self::GoAway { last, status: payload.try_get_u32().ok()? }
            }
            8 => {
                let stream = payload.try_get_u32().ok()? & STREAM_MASK;
                Self::Headers { stream, fin, headers: payload }
            }
            9 => {
                let stream = payload.try_get_u32().ok()? & STREAM_MASK;
                Self::WindowUpdate { stream, delta: payload.try_get_u32().ok()? & STREAM_MASK }
            }
            _ => return Some(None),
        };
        Some(Some(control))
    }
}
