//! The fields of a value: what a manager owns who applies it.

use serde_json::Value;

use super::element::Element;
use super::node::Place;
use super::set::{Mark, Node, Set};

/// The paths to all leaves of a value, items of lists and entries of maps included. Members of a
/// struct that have leaves inside are not among them.
pub fn fields_of(value: &Value, place: Place<'_>) -> Set {
    mark(value, place).below
}

fn mark(value: &Value, place: Place<'_>) -> Mark {
    let node = place.node();
    if node.is_leaf(value) {
        return Mark::leaf();
    }
    match value {
        Value::Object(members) => {
            let mut nodes = Vec::with_capacity(members.len());
            for (name, value) in members {
                let Some(place) = node.member(name) else { continue };
                let Mark { mut member, below } = mark(value, place);
                let empty = value.is_null() || value.as_object().is_some_and(|v| v.is_empty());
                member |= empty || !node.declares(name);
                if member || !below.is_empty() {
                    nodes.push(Node { element: Element::field(name), member, below });
                }
            }
            Mark { member: false, below: Set::from_nodes(nodes) }
        }
        Value::Array(items) => {
            let place = node.items();
            let mut nodes: Vec<Node> = Vec::with_capacity(items.len());
            for item in items {
                let Ok(element) = node.step(item) else { continue };
                nodes.push(Node { element, member: true, below: mark(item, place).below });
            }
            nodes.sort_by(|a, b| a.element.cmp(&b.element));
            nodes.dedup_by(|next, first| {
                let twice = next.element == first.element;
                if twice {
                    // What is there twice is owned as a whole.
                    first.below = Set::default();
                }
                twice
            });
            Mark { member: false, below: Set::from_nodes(nodes) }
        }
        _ => Mark::default(),
    }
}
