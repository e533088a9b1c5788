//! The fields of a new object, written at once.
//!
//! Every creation needs them, and nobody else owns anything yet: they are what the object has over
//! an empty one of its type. The general way, by comparing the two and encoding the set, gives the
//! same, and a test says so.

use serde_json::{Map, Value};

use super::element::{Element, same_value};
use super::node::Place;
use super::set::Set;
use crate::codec::{is_always_written, zero};
use crate::schema::{Kind, TypeRef};

/// What an empty object of the type has where the new one has a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empty {
    Nothing,
    Null,
    Zero,
}

/// The fields of a new object in the form of `FieldsV1`, without those in `untracked`, and without
/// `ignored` and all below it. None when nothing is left.
pub(super) fn fields(
    object: &Value,
    ty: TypeRef<'_>,
    untracked: &Set,
    ignored: &Set,
) -> Option<Value> {
    let writer = Writer { empty: Empty::Zero, untracked: Some(untracked), ignored: Some(ignored) };
    let (_, fields) = writer.value(object, ty.into(), Some(ty));
    (!fields.is_empty()).then_some(Value::Object(fields))
}

/// What there is to know at a place on the way down.
#[derive(Clone, Copy)]
struct Writer<'a> {
    empty: Empty,
    untracked: Option<&'a Set>,
    ignored: Option<&'a Set>,
}

impl<'a> Writer<'a> {
    /// Whether the path itself is owned, and the steps to what is owned below.
    fn value(
        self,
        value: &Value,
        place: Place<'_>,
        ty: Option<TypeRef<'_>>,
    ) -> (bool, Map<String, Value>) {
        let nothing = Map::new;
        let node = place.node();
        let new = self.empty == Empty::Nothing;
        if node.is_leaf(value) {
            let differs = match (self.empty, ty) {
                (Empty::Nothing, _) => true,
                (Empty::Zero, Some(ty)) => !same_value(value, &zero(ty)),
                _ => !value.is_null(),
            };
            return (differs, nothing());
        }
        match value {
            Value::Object(members) if members.is_empty() => {
                let zero = self.empty == Empty::Zero
                    && ty.is_some_and(|ty| matches!(ty.kind(), Kind::Struct));
                (!zero, nothing())
            }
            Value::Object(members) => {
                let is_struct = ty.is_some_and(TypeRef::is_struct);
                // Empty custom objects have nothing at all.
                let zero = self.empty == Empty::Zero && ty.is_some_and(|ty| !ty.is_custom());
                let mut found: Vec<(&str, Value)> = Vec::with_capacity(members.len());
                for (name, value) in members {
                    let Some(inner) = node.member(name) else { continue };
                    let field = ty.filter(|_| is_struct).and_then(|ty| ty.field(name));
                    let empty =
                        match field {
                            Some(field) if zero && is_always_written(field) => {
                                if field.is_pointer() { Empty::Null } else { Empty::Zero }
                            }
                            _ => Empty::Nothing,
                        };
                    let step = Element::field(name);
                    let Some((member, writer)) = self.below(&step, empty) else { continue };
                    let (owned, below) = writer.value(value, inner, inner.type_ref());
                    if let Some(entry) = entry(owned && member, below) {
                        found.push((name, entry));
                    }
                }
                found.sort_unstable_by_key(|(name, _)| *name);
                let fields = found.into_iter().map(|(name, entry)| (format!("f:{name}"), entry));
                (new, fields.collect())
            }
            Value::Array(items) if items.is_empty() => (true, nothing()),
            Value::Array(items) => {
                let inner = node.items();
                let mut found: Vec<(Element, Value)> = Vec::with_capacity(items.len());
                for item in items {
                    let Ok(step) = node.step(item) else { continue };
                    let Some((member, writer)) = self.below(&step, Empty::Nothing) else {
                        continue;
                    };
                    let (owned, below) = writer.value(item, inner, inner.type_ref());
                    if let Some(entry) = entry(owned && member, below) {
                        found.push((step, entry));
                    }
                }
                found.sort_by(|a, b| a.0.cmp(&b.0));
                found.dedup_by(|next, first| {
                    let twice = next.0 == first.0;
                    if twice {
                        // What is there twice is owned as a whole.
                        first.1 = Value::Object(nothing());
                    }
                    twice
                });
                let fields = found.into_iter().map(|(step, entry)| (step.to_text(), entry));
                (new, fields.collect())
            }
            // Null where a struct, a map or a list may be.
            _ => (new, nothing()),
        }
    }

    /// Whether a step leads to a path that may be owned, and what is known there; none if nothing
    /// below may be.
    fn below(&self, step: &Element, empty: Empty) -> Option<(bool, Self)> {
        if self.untracked.is_none() && self.ignored.is_none() {
            return Some((true, Self { empty, untracked: None, ignored: None }));
        }
        let ignored = self.ignored.and_then(|set| set.node(step));
        if ignored.is_some_and(|node| node.member) {
            return None;
        }
        let untracked = self.untracked.and_then(|set| set.node(step));
        Some((
            !untracked.is_some_and(|node| node.member),
            Self {
                empty,
                untracked: untracked.map(|node| &node.below).filter(|set| !set.is_empty()),
                ignored: ignored.map(|node| &node.below).filter(|set| !set.is_empty()),
            },
        ))
    }
}

fn entry(owned: bool, below: Map<String, Value>) -> Option<Value> {
    if !owned || below.is_empty() {
        return (owned || !below.is_empty()).then_some(Value::Object(below));
    }
    let mut marked = Map::with_capacity(below.len() + 1);
    marked.insert(".".to_owned(), Value::Object(Map::new()));
    marked.extend(below);
    Some(Value::Object(marked))
}
