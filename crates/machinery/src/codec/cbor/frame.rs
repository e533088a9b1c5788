//! What stands around encoded objects: lists of ready objects, watch events.

use serde_json::Value;
use smallvec::SmallVec;

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

    /// Bytes of an item, given as the encoded object.
    pub fn item_len(&self, object: &[u8]) -> usize {
        let inner = object.strip_prefix(&MAGIC).unwrap_or(object);
        match self.members(inner) {
            None => inner.len(),
            Some(members) => {
                let dropped = members.dropped.iter().map(|(start, end)| end - start);
                let mut start = Vec::new();
                head(&mut start, MAP, members.left);
                start.len() + inner.len() - members.first - dropped.sum::<usize>()
            }
        }
    }

    /// Appends an item.
    pub fn put_item(&self, out: &mut Vec<u8>, object: &[u8]) {
        let inner = object.strip_prefix(&MAGIC).unwrap_or(object);
        let Some(members) = self.members(inner) else {
            out.extend_from_slice(inner);
            return;
        };
        head(out, MAP, members.left);
        let mut from = members.first;
        for (start, end) in members.dropped {
            out.extend_from_slice(&inner[from..start]);
            from = end;
        }
        out.extend_from_slice(&inner[from..]);
    }

    fn members(&self, object: &[u8]) -> Option<Members> {
        if self.with_type { None } else { Members::of(object).ok() }
    }
}

/// A map's members without apiVersion and kind.
struct Members {
    /// How many are left.
    left: u64,
    /// Where the first begins.
    first: usize,
    /// Where the two are.
    dropped: SmallVec<[(usize, usize); 2]>,
}

impl Members {
    fn of(object: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(object);
        let Head::Map(Some(count)) = reader.head()? else { return Err(Error::Key("object")) };
        let first = reader.position();
        let mut dropped = SmallVec::new();
        for _ in 0..count {
            let start = reader.position();
            let key = reader.head()?;
            let key = reader.string(key)?;
            reader.skip()?;
            if matches!(&*key, b"kind" | b"apiVersion") {
                dropped.push((start, reader.position()));
            }
        }
        Ok(Self { left: count - dropped.len() as u64, first, dropped })
    }
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
