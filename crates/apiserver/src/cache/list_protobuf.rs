//! A list in protobuf, put together from the shared messages of its objects.

use std::sync::Arc;

use bytes::Bytes;
use machinery::codec::protobuf::{self, ListFrame};
use machinery::{Value, schema};

use super::list::{List, PIECE};
use super::object::Object;

impl List {
    /// The list in protobuf; `None` when its kind has no such form.
    pub fn protobuf_of(
        &self,
        (group, version): (&str, &str),
        list_kind: &str,
        metadata: &Value,
    ) -> Option<ProtobufListBody> {
        let ty = schema::builtin().kind(group, version, list_kind)?;
        let frame = ListFrame::new(ty, metadata).ok()?;
        let mut len = 0;
        for object in self.items.iter() {
            len += frame.item_len(message(object)?.len());
        }
        let api_version = machinery::gvk::GroupVersion::new(group, version).to_string();
        let head = frame.head(&api_version, list_kind, len);
        let left = (head.len() + len + frame.tail().len()) as u64;
        Some(ProtobufListBody { head, items: self.items.to_vec(), at: 0, frame, left })
    }
}

/// An object's message without its envelope, which items of a list do not have.
fn message(object: &Object) -> Option<&[u8]> {
    Some(protobuf::open(object.protobuf()?).ok()?.raw)
}

/// A list's bytes in pieces.
#[derive(Debug)]
pub struct ProtobufListBody {
    head: Vec<u8>,
    items: Vec<Arc<Object>>,
    at: usize,
    frame: ListFrame,
    left: u64,
}

impl ProtobufListBody {
    /// Bytes that are still to come.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether all was handed out.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl Iterator for ProtobufListBody {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut out = std::mem::take(&mut self.head);
        while out.len() < PIECE
            && let Some(object) = self.items.get(self.at)
        {
            self.frame.put_item(&mut out, message(object).unwrap_or_default());
            self.at += 1;
        }
        if self.at == self.items.len() {
            out.extend_from_slice(self.frame.tail());
        }
        self.left = self.left.saturating_sub(out.len() as u64);
        Some(out.into())
    }
}
