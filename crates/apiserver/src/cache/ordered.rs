//! Objects in key order, with snapshots that cost nothing.
//!
//! A two-level tree: a list of chunks of shared objects. A snapshot shares everything; the next
//! change after it copies one chunk and the list of chunks, nothing else.

use std::sync::Arc;

use super::chunk::Chunk;
use super::items::Items;
use super::object::Object;

/// A full chunk is split in two.
const CHUNK: usize = 128;

/// Objects in key order; clones are snapshots.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    chunks: Arc<Vec<Arc<Chunk>>>,
    len: usize,
}

impl Snapshot {
    /// The number of objects.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunk that has the key, or would.
    fn chunk_of(&self, key: &str) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.first().is_some_and(|first| first.key() <= key))
            .saturating_sub(1)
    }

    /// An object by its key.
    pub fn get(&self, key: &str) -> Option<&Arc<Object>> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.binary_search_by(|object| object.key().cmp(key)).ok()?;
        Some(&chunk[at])
    }

    /// Adds or replaces an object; returns the one replaced.
    pub(super) fn insert(&mut self, object: Arc<Object>) -> Option<Arc<Object>> {
        let chunk_at = self.chunk_of(object.key());
        let chunks = Arc::make_mut(&mut self.chunks);
        if chunks.is_empty() {
            chunks.push(Arc::default());
        }
        let chunk = Arc::make_mut(&mut chunks[chunk_at]).objects_mut();
        match chunk.binary_search_by(|other| other.key().cmp(object.key())) {
            Ok(at) => Some(std::mem::replace(&mut chunk[at], object)),
            Err(at) => {
                let last = at == chunk.len();
                chunk.insert(at, object);
                self.len += 1;
                if chunk.len() > CHUNK {
                    // Keys that come in order fill their chunks.
                    let half = if last { CHUNK } else { CHUNK / 2 };
                    let right = chunk.split_off(half);
                    chunks.insert(chunk_at + 1, Arc::new(right.into()));
                }
                None
            }
        }
    }

    /// Removes an object by its key.
    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Object>> {
        self.get(key)?;
        let chunk_at = self.chunk_of(key);
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[chunk_at]).objects_mut();
        let at = chunk.binary_search_by(|other| other.key().cmp(key)).ok()?;
        let removed = chunk.remove(at);
        if chunk.is_empty() {
            chunks.remove(chunk_at);
        }
        self.len -= 1;
        Some(removed)
    }

    /// Objects whose key is at least `start` and begins with `prefix`, in order.
    pub fn items(&self, start: &str, prefix: &str) -> Items {
        let start = start.max(prefix);
        let mut items = Items::default();
        for chunk in self.chunks.iter().skip(self.chunk_of(start)) {
            let from = match chunk.first() {
                Some(first) if first.key() < start => {
                    chunk.partition_point(|object| object.key() < start)
                }
                _ => 0,
            };
            let all = chunk.last().is_some_and(|last| last.key().starts_with(prefix));
            let to = match all {
                true => chunk.len(),
                false => from + chunk[from..].partition_point(|o| o.key().starts_with(prefix)),
            };
            items.push(chunk, from..to);
            if to < chunk.len() {
                break;
            }
        }
        items
    }

    /// Called every few seconds; see [`super::chunk`].
    pub(super) fn cool(&self) {
        self.chunks.iter().for_each(|chunk| chunk.cool());
    }

    /// All objects in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }
}

impl FromIterator<Arc<Object>> for Snapshot {
    fn from_iter<I: IntoIterator<Item = Arc<Object>>>(objects: I) -> Self {
        let mut snapshot = Self::default();
        for object in objects {
            snapshot.insert(object);
        }
        snapshot
    }
}
