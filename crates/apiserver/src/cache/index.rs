//! Objects by the exact value of a field, for selectors that demand one.
//!
//! Each value has an ordered map of its own, so that what a selector can find is at hand as a
//! snapshot, of the same revision as that of all objects.

use std::collections::HashMap;
use std::sync::Arc;

use super::list::Selection;
use super::object::{FieldSet, Object};
use super::ordered::Snapshot;

/// Fields whose exact value is asked for again and again in big collections: by kubelets and the
/// scheduler, and for the events of an object. Others have few values, so that an index would hold
/// the objects a second time and save little.
const INDEXED: [&str; 4] =
    ["spec.nodeName", "involvedObject.uid", "involvedObject.name", "spec.podName"];

/// The indexes of one stored resource.
#[derive(Debug, Default)]
pub(super) struct Indexes(Vec<Index>);

#[derive(Debug)]
struct Index {
    field: &'static str,
    by_value: HashMap<Box<str>, Snapshot>,
}

impl Indexes {
    /// The indexes for objects with these fields.
    pub(super) fn new(fields: &FieldSet) -> Self {
        let known = INDEXED.into_iter().filter(|field| fields.has(field));
        Self(known.map(|field| Index { field, by_value: HashMap::new() }).collect())
    }

    /// Takes in what became of an object.
    pub(super) fn change(&mut self, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) {
        for index in &mut self.0 {
            let value = |object: Option<&Arc<Object>>| -> Option<Box<str>> {
                object.and_then(|object| object.field(index.field)).map(Into::into)
            };
            let (before, after) = (value(old), value(new));
            if let Some(old) = old
                && let Some(value) = before.filter(|value| Some(value) != after.as_ref())
                && let Some(objects) = index.by_value.get_mut(&value)
            {
                objects.remove(old.key());
                if objects.is_empty() {
                    index.by_value.remove(&value);
                }
            }
            if let (Some(new), Some(value)) = (new, after) {
                index.by_value.entry(value).or_default().insert(new.clone());
            }
        }
    }

    /// All objects that a selection can select, if an index knows them.
    pub(super) fn find(&self, selection: &Selection) -> Option<Snapshot> {
        let candidates = self.0.iter().filter_map(|index| {
            let value = selection.exact(index.field)?;
            Some(index.by_value.get(value).cloned().unwrap_or_default())
        });
        candidates.min_by_key(Snapshot::len)
    }
}
