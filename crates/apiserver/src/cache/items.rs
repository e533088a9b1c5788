//! The objects of a list: runs of shared chunks, so that a list of everything copies nothing.

use std::ops::{Index, Range};
use std::sync::Arc;

use super::chunk::Chunk;
use super::list::Selection;
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

impl Run {
    /// Whether it is all of its chunk.
    pub(super) fn is_whole(&self) -> bool {
        self.range.len() == self.chunk.len()
    }

    /// The objects.
    pub(super) fn objects(&self) -> &[Arc<Object>] {
        &self.chunk[self.range.clone()]
    }
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
        self.0.iter().flat_map(Run::objects)
    }

    /// The objects that are selected, in order; all must begin with the selection's prefix.
    pub fn selected<'a>(
        &'a self,
        selection: &'a Selection,
    ) -> impl Iterator<Item = &'a Arc<Object>> {
        let demanded = selection.demanded();
        self.0.iter().flat_map(move |run| {
            let marks = if demanded.is_empty() { &[] } else { run.chunk.marks() };
            run.range
                .clone()
                .filter(move |at| marks.get(*at).is_none_or(|mark| mark.may_have(demanded)))
                .map(|at| &run.chunk[at])
                .filter(|object| selection.matches(object))
        })
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

/// Objects that one reader asked for.
impl From<Vec<Arc<Object>>> for Items {
    fn from(objects: Vec<Arc<Object>>) -> Self {
        Arc::new(Chunk::private(objects)).into()
    }
}

impl From<Arc<Chunk>> for Items {
    fn from(chunk: Arc<Chunk>) -> Self {
        let mut items = Self::default();
        items.push(&chunk, 0..chunk.len());
        items
    }
}

impl FromIterator<Run> for Items {
    fn from_iter<I: IntoIterator<Item = Run>>(runs: I) -> Self {
        Self(runs.into_iter().collect())
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
