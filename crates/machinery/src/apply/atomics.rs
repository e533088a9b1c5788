//! What of an applied configuration replaces a whole.

use serde_json::Value;

use super::element::Element;
use super::node::Place;
use super::set::Path;

/// The lists, maps and structs of a value that have one owner, whatever is inside: applying them
/// takes away what they do not say.
pub fn atomics(value: &Value, place: Place<'_>) -> Vec<Path> {
    let mut found = Vec::new();
    look(value, place, &mut Path::default(), &mut found);
    found
}

fn look(value: &Value, place: Place<'_>, path: &mut Path, found: &mut Vec<Path>) {
    let node = place.node();
    if (value.is_object() || value.is_array()) && node.is_leaf(value) {
        found.push(path.clone());
    }
    let mut below = |element: Element, value: &Value, place: Place<'_>| {
        path.0.push(element);
        look(value, place, path, found);
        path.0.pop();
    };
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(place) = node.member(name) {
                    below(Element::field(name), value, place);
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                let at = i64::try_from(at).unwrap_or(i64::MAX);
                below(Element::Index(at), item, node.items());
            }
        }
        _ => {}
    }
}
