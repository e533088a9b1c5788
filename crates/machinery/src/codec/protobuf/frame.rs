//! What stands around messages: envelopes, lists of ready objects, watch events.

use serde_json::Value;

use super::encode::fields;
use super::wire::{LENGTH, message, put_bytes, put_key, put_varint, varint_len};
use super::{Error, MAGIC};
use crate::schema::TypeRef;

/// Number of the message in an envelope.
const RAW: u32 = 2;
/// Content encoding and content type, which upstream writes though they are empty.
const TAIL: [u8; 4] = [3 << 3 | LENGTH, 0, 4 << 3 | LENGTH, 0];

/// An object's message in its envelope.
pub(super) fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len() + api_version.len() + kind.len() + 24);
    begin(&mut out, api_version, kind);
    put_bytes(&mut out, RAW, raw);
    out.extend_from_slice(&TAIL);
    out
}

fn begin(out: &mut Vec<u8>, api_version: &str, kind: &str) {
    out.extend_from_slice(&MAGIC);
    message(out, 1, |out| {
        put_bytes(out, 1, api_version.as_bytes());
        put_bytes(out, 2, kind.as_bytes());
    });
}

/// A list that is put together from the messages of its items while it is sent: [`Self::head`],
/// each item by [`Self::put_item`], [`Self::tail`].
#[derive(Debug, Clone)]
pub struct ListFrame {
    metadata: Vec<u8>,
    items_tag: u32,
}

impl ListFrame {
    /// The frame of a list of type `list` with the given metadata.
    ///
    /// # Errors
    /// When the type is no list, or has no protobuf form.
    pub fn new(list: TypeRef<'_>, metadata: &Value) -> Result<Self, Error> {
        if list.lacks_protobuf() {
            return Err(Error::NoForm);
        }
        let field =
            |name| list.field(name).and_then(|field| Some((field.tag()?, field.type_ref())));
        let (tag, ty) = field("metadata").ok_or(Error::NoForm)?;
        let (items_tag, _) =
            field("items").filter(|(items, _)| *items > tag).ok_or(Error::NoForm)?;
        let mut bytes = Vec::new();
        message(&mut bytes, tag, |out| fields(out, metadata.as_object(), ty));
        Ok(Self { metadata: bytes, items_tag })
    }

    /// Bytes of an item whose message has `raw` bytes.
    pub fn item_len(&self, raw: usize) -> usize {
        let key = u64::from(self.items_tag) << 3;
        varint_len(key) + varint_len(raw as u64) + raw
    }

    /// What stands before the items, which have `items` bytes by [`Self::item_len`].
    pub fn head(&self, api_version: &str, kind: &str, items: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.metadata.len() + 96);
        begin(&mut out, api_version, kind);
        put_key(&mut out, RAW, LENGTH);
        put_varint(&mut out, (self.metadata.len() + items) as u64);
        out.extend_from_slice(&self.metadata);
        out
    }

    /// Appends an item's message.
    pub fn put_item(&self, out: &mut Vec<u8>, raw: &[u8]) {
        put_bytes(out, self.items_tag, raw);
    }

    /// What stands behind the items.
    pub fn tail(&self) -> &'static [u8] {
        &TAIL
    }
}

/// A watch event in its frame; `object` is in its envelope.
pub fn watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + kind.len() + 24);
    out.extend_from_slice(&[0; 4]);
    put_bytes(&mut out, 1, kind.as_bytes());
    message(&mut out, 2, |out| put_bytes(out, 1, object));
    let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}
