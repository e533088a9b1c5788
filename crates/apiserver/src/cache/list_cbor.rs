//! A list in CBOR, put together from the shared bytes of its objects.

use std::sync::Arc;

use bytes::Bytes;
use machinery::Value;
use machinery::codec::cbor::ListFrame;

use super::list::{List, PIECE};
use super::object::Object;

impl List {
    /// The list in CBOR. `with_type` keeps kind and apiVersion on each item, as custom resources
    /// have it.
    pub fn cbor_of(
        &self,
        api_version: &str,
        list_kind: &str,
        metadata: &Value,
        with_type: bool,
    ) -> CborListBody {
        let frame = ListFrame::new(api_version, list_kind, metadata, self.items.len(), with_type);
        let items: usize = self.items.iter().map(|object| frame.item_len(&object.cbor())).sum();
        let left = (frame.head().len() + items + frame.tail().len()) as u64;
        CborListBody { frame, items: self.items.to_vec(), at: 0, started: false, left }
    }
}

/// A list's bytes in pieces.
#[derive(Debug)]
pub struct CborListBody {
    frame: ListFrame,
    items: Vec<Arc<Object>>,
    at: usize,
    started: bool,
    left: u64,
}

impl CborListBody {
    /// Bytes that are still to come.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether all was handed out.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl Iterator for CborListBody {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.started, true) {
            out.extend_from_slice(self.frame.head());
        }
        while out.len() < PIECE
            && let Some(object) = self.items.get(self.at)
        {
            self.frame.put_item(&mut out, &object.cbor());
            self.at += 1;
        }
        if self.at == self.items.len() {
            out.extend_from_slice(self.frame.tail());
        }
        self.left = self.left.saturating_sub(out.len() as u64);
        Some(out.into())
    }
}
