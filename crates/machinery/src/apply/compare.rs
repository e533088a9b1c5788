//! What differs between two values of a type.

use serde_json::{Map, Value};

use super::element::{Element, same_value};
use super::node::{Node as Merge, Place};
use super::set::{Mark, Node, Set};

/// The paths in which two values differ.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// Only the second value has them.
    pub added: Set,
    /// Both values have them, with other contents.
    pub modified: Set,
    /// Only the first value has them.
    pub removed: Set,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// What was added or modified.
    pub fn changed(&self) -> Set {
        self.added.union(&self.modified)
    }

    /// The comparison without what `keep` takes out of each set.
    pub(super) fn filtered(&self, keep: impl Fn(&Set) -> Set) -> Self {
        Self {
            added: keep(&self.added),
            modified: keep(&self.modified),
            removed: keep(&self.removed),
        }
    }
}

/// Compares two values of one type.
pub fn compare(old: &Value, new: &Value, place: Place<'_>) -> Comparison {
    if old == new {
        return Comparison::default();
    }
    let delta = walk(Some(old), Some(new), place);
    Comparison {
        added: delta.added.below,
        modified: delta.modified.below,
        removed: delta.removed.below,
    }
}

#[derive(Default)]
struct Delta {
    added: Mark,
    modified: Mark,
    removed: Mark,
}

impl Delta {
    fn leaf(old: Option<&Value>, new: Option<&Value>) -> Self {
        let mut delta = Self::default();
        match (old, new) {
            (None, _) => delta.added.member = true,
            (_, None) => delta.removed.member = true,
            (Some(old), Some(new)) => delta.modified.member = !same_value(old, new),
        }
        delta
    }
}

/// The nodes of the three sets while their parent is walked.
#[derive(Default)]
struct Nodes {
    added: Vec<Node>,
    modified: Vec<Node>,
    removed: Vec<Node>,
}

impl Nodes {
    fn push(&mut self, element: &Element, delta: Delta) {
        let parts = [
            (&mut self.added, delta.added),
            (&mut self.modified, delta.modified),
            (&mut self.removed, delta.removed),
        ];
        for (nodes, Mark { member, below }) in parts {
            if member || !below.is_empty() {
                nodes.push(Node { element: element.clone(), member, below });
            }
        }
    }

    fn into_delta(self) -> Delta {
        let mark = |nodes| Mark { member: false, below: Set::from_nodes(nodes) };
        Delta {
            added: mark(self.added),
            modified: mark(self.modified),
            removed: mark(self.removed),
        }
    }
}

fn walk(old: Option<&Value>, new: Option<&Value>, place: Place<'_>) -> Delta {
    let node = place.node();
    let mut delta = match (old, new) {
        (Some(one), None) | (None, Some(one)) => {
            if node.is_leaf(one) || is_empty(one) {
                return Delta::leaf(old, new);
            }
            inside(old, new, &node)
        }
        (Some(a), Some(b)) => match (node.is_leaf(a), node.is_leaf(b)) {
            (true, true) => return Delta::leaf(old, new),
            // Empty and absent differ, and so are compared as a whole.
            (false, false) if is_empty(a) && is_empty(b) => return Delta::leaf(old, new),
            (false, false) => inside(old, new, &node),
            // A value of another form than before: both what was in the one and the other itself.
            (false, true) => {
                let mut delta = inside(old, None, &node);
                delta.modified.member = true;
                delta
            }
            (true, false) => {
                let mut delta = inside(None, new, &node);
                delta.modified.member = true;
                delta
            }
        },
        (None, None) => return Delta::default(),
    };
    delta.added.member |= old.is_none();
    delta.removed.member |= new.is_none();
    delta
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn inside(old: Option<&Value>, new: Option<&Value>, node: &Merge<'_>) -> Delta {
    let object = |value: Option<&'_ Value>| value.is_some_and(Value::is_object);
    if object(old) || object(new) {
        members(old.and_then(Value::as_object), new.and_then(Value::as_object), node)
    } else {
        list(items(old), items(new), node)
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn members(
    old: Option<&Map<String, Value>>,
    new: Option<&Map<String, Value>>,
    node: &Merge<'_>,
) -> Delta {
    let mut nodes = Nodes::default();
    let mut visit = |name: &str, old: Option<&Value>, new: Option<&Value>| {
        if old == new {
            return;
        }
        let Some(place) = node.member(name) else { return };
        let delta = walk(old, new, place);
        nodes.push(&Element::field(name), delta);
    };
    for (name, value) in old.into_iter().flatten() {
        visit(name, Some(value), new.and_then(|new| new.get(name)));
    }
    for (name, value) in new.into_iter().flatten() {
        if old.is_none_or(|old| !old.contains_key(name)) {
            visit(name, None, Some(value));
        }
    }
    nodes.into_delta()
}

/// Items that are the same by their step. An item that is there more than once is whole.
struct Item<'v> {
    element: Element,
    old: Vec<&'v Value>,
    new: Vec<&'v Value>,
}

fn list(old: &[Value], new: &[Value], node: &Merge<'_>) -> Delta {
    let mut found: Vec<Item<'_>> = Vec::with_capacity(old.len().max(new.len()));
    let mut positions = std::collections::BTreeMap::new();
    for (items, is_new) in [(old, false), (new, true)] {
        for item in items {
            let Ok(element) = node.step(item) else { continue };
            let at = *positions.entry(element.clone()).or_insert_with(|| {
                found.push(Item { element, old: Vec::new(), new: Vec::new() });
                found.len() - 1
            });
            if is_new { found[at].new.push(item) } else { found[at].old.push(item) }
        }
    }
    let place = node.items();
    let mut nodes = Nodes::default();
    for Item { element, old, new } in found {
        let delta = match (old.as_slice(), new.as_slice()) {
            ([old], [new]) if old == new => continue,
            ([] | [_], [] | [_]) => walk(old.first().copied(), new.first().copied(), place),
            ([_, _, ..], [_, _, ..]) => {
                let mut delta = Delta::default();
                delta.modified.member = old != new;
                delta
            }
            ([_, _, ..], after) => {
                let after = after.first().copied();
                let mut delta = after.map(|new| walk(None, Some(new), place)).unwrap_or_default();
                delta.removed.member = true;
                delta
            }
            (before, _) => {
                let before = before.first().copied();
                let mut delta = before.map(|old| walk(Some(old), None, place)).unwrap_or_default();
                delta.added.member = true;
                delta
            }
        };
        nodes.push(&element, delta);
    }
    nodes.into_delta()
}
