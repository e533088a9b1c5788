//! What stands around encoded objects: lists of ready objects, watch events.

use serde_json::Value;

use super::read::{Head, Reader};
use super::write::{ARRAY, MAP, head, untyped, write_bytes};
use super::{Error, MAGIC};

/// A list that is put together from its encoded items while it is sent: [`Self::head`], each item
/// by [`Self::put_item`], [`Self::tail`].
#[derive(Debug, Clone)]
pub struct ListFrame {
    head: Vec<u8>,
    tail: Vec<u8>,
    with_type: bool,
}

impl ListFrame {
    /// The frame of a list of `count` items. `with_type` leaves apiVersion and kind on the items,
    /// as custom resources have it.
    pub fn new(
        api_version: &str,
        kind: &str,
        metadata: &Value,
        count: usize,
        with_type: bool,
    ) -> Self {
        // In the order of encoded keys.
        let mut start = MAGIC.to_vec();
        head(&mut start, MAP, 4);
        write_bytes(&mut start, b"kind");
        write_bytes(&mut start, kind.as_bytes());
        write_bytes(&mut start, b"items");
        head(&mut start, ARRAY, count as u64);
        let mut tail = Vec::new();
        write_bytes(&mut tail, b"metadata");
        untyped(&mut tail, metadata);
        write_bytes(&mut tail, b"apiVersion");
        write_bytes(&mut tail, api_version.as_bytes());
        Self { head: start, tail, with_type }
    }

    /// What stands before the items.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// What stands behind them.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Appends an item, given as the encoded object.
    pub fn put_item(&self, out: &mut Vec<u8>, object: &[u8]) {
        let inner = object.strip_prefix(&MAGIC).unwrap_or(object);
        if self.with_type || without_type(out, inner).is_err() {
            out.extend_from_slice(inner);
        }
    }
}

/// Appends a map without the members apiVersion and kind. Appends nothing on failure.
fn without_type(out: &mut Vec<u8>, object: &[u8]) -> Result<(), Error> {
    let mut reader = Reader::new(object);
    let Head::Map(Some(members)) = reader.head()? else { return Err(Error::Key("object")) };
    let first = reader.position();
    let mut dropped = [(0, 0); 2];
    let mut count = 0;
    for _ in 0..members {
        let start = reader.position();
        let key = reader.head()?;
        let key = reader.string(key)?;
        reader.skip()?;
        if matches!(&*key, b"kind" | b"apiVersion") && count < 2 {
            dropped[count] = (start, reader.position());
            count += 1;
        }
    }
    head(out, MAP, members - count as u64);
    let mut from = first;
    for (start, end) in &dropped[..count] {
        out.extend_from_slice(&object[from..*start]);
        from = *end;
    }
    out.extend_from_slice(&object[from..]);
    Ok(())
}

/// A watch event; `object` is encoded, and keeps its own tag.
pub fn watch_event(kind: &str, object: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len() + kind.len() + 24);
    out.extend_from_slice(&MAGIC);
    head(&mut out, MAP, 2);
    write_bytes(&mut out, b"type");
    write_bytes(&mut out, kind.as_bytes());
    write_bytes(&mut out, b"object");
    out.extend_from_slice(object);
    out
}
