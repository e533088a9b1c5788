//! The objects of a list: runs of shared chunks, so that a list of everything copies nothing.

use std::ops::{Index, Range};
use std::sync::Arc;

use super::chunk::Chunk;
use super::object::Object;

/// Objects in key order; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Items(Vec<Run>);

/// Part of a chunk, never empty.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) chunk: Arc<Chunk>,
    pub(super) range: Range<usize>,
}

impl Items {
    pub(super) fn push(&mut self, chunk: &Arc<Chunk>, range: Range<usize>) {
        if !range.is_empty() {
            self.0.push(Run { chunk: chunk.clone(), range });
        }
    }

    pub(super) fn runs(self) -> std::vec::IntoIter<Run> {
        self.0.into_iter()
    }

    pub(super) fn as_runs(&self) -> &[Run] {
        &self.0
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.iter().map(|run| run.range.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The objects in order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.0.iter().flat_map(|run| &run.chunk[run.range.clone()])
    }

    /// The last object.
    pub fn last(&self) -> Option<&Arc<Object>> {
        self.0.last().and_then(|run| run.chunk.get(run.range.end - 1))
    }

    /// Keeps the first `count` objects; returns how many are left out.
    pub fn truncate(&mut self, count: usize) -> usize {
        let before = self.len();
        let mut left = count;
        self.0.retain_mut(|run| {
            run.range.end = run.range.start + run.range.len().min(left);
            left -= run.range.len();
            !run.range.is_empty()
        });
        before.saturating_sub(count)
    }

    /// The objects one by one.
    pub fn to_vec(&self) -> Vec<Arc<Object>> {
        self.iter().cloned().collect()
    }
}

impl From<Vec<Arc<Object>>> for Items {
    fn from(objects: Vec<Arc<Object>>) -> Self {
        let mut items = Self::default();
        let range = 0..objects.len();
        items.push(&Arc::new(objects.into()), range);
        items
    }
}

impl FromIterator<Arc<Object>> for Items {
    fn from_iter<I: IntoIterator<Item = Arc<Object>>>(objects: I) -> Self {
        Vec::from_iter(objects).into()
    }
}

impl Index<usize> for Items {
    type Output = Arc<Object>;

    fn index(&self, index: usize) -> &Arc<Object> {
        self.iter().nth(index).expect("an index within the list")
    }
}
