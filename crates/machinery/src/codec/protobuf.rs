//! Objects from and to protobuf: `application/vnd.kubernetes.protobuf`, as kubectl and upstream's
//! components speak it.
//!
//! The numbers and layouts come from the same table as everything else, and trees are the same
//! that an object has in JSON. An object stands in an envelope that names its kind; lists and
//! watches are put together from the envelopes of their objects. See
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>.

mod decode;
mod encode;
mod frame;
#[cfg(test)]
mod tests;
mod wire;

pub use self::decode::decode;
pub use self::encode::{encode, encode_builtin};
pub use self::frame::{ListFrame, watch_event};
use self::wire::Reader;

/// What every object starts with, so that it cannot be taken for something else.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// Why bytes are no object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something else altogether.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Magic,
    /// The bytes end in the middle.
    #[error("unexpected EOF")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field has another wire type than its type asks for.
    #[error("proto: wrong wireType = {0} for field {1}")]
    WireType(u8, u32),
    /// A wire type that does not exist, or a group.
    #[error("proto: illegal wireType {0}")]
    UnknownWireType(u8),
    /// A string that is not UTF-8.
    #[error("proto: invalid UTF-8 in field {0}")]
    Utf8(u32),
    /// Raw JSON that is none.
    #[error("proto: invalid JSON in field {0}")]
    Json(u32),
    /// A type that has no protobuf form.
    #[error("object does not implement the protobuf marshalling interface")]
    NoForm,
    /// Messages within messages without end.
    #[error("exceeded max depth")]
    Depth,
}

/// The envelope of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// `apps/v1`; empty when absent.
    pub api_version: &'a str,
    /// `Deployment`; empty when absent.
    pub kind: &'a str,
    /// The message itself.
    pub raw: &'a [u8],
}

/// Opens the envelope of an object.
///
/// # Errors
/// When the bytes are not a Kubernetes protobuf message.
pub fn open(bytes: &[u8]) -> Result<Envelope<'_>, Error> {
    let body = bytes.strip_prefix(&MAGIC).ok_or(Error::Magic)?;
    let mut envelope = Envelope { api_version: "", kind: "", raw: &[] };
    let mut reader = Reader::new(body);
    while let Some((tag, scalar)) = reader.next()? {
        match tag {
            1 => {
                let mut meta = Reader::new(scalar.bytes(tag)?);
                while let Some((tag, scalar)) = meta.next()? {
                    match tag {
                        1 => envelope.api_version = scalar.text(tag)?,
                        2 => envelope.kind = scalar.text(tag)?,
                        _ => {}
                    }
                }
            }
            2 => envelope.raw = scalar.bytes(tag)?,
            _ => {}
        }
    }
    Ok(envelope)
}
