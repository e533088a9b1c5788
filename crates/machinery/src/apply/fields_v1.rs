//! Sets of fields in the form in which objects carry them: `FieldsV1`.
//!
//! A JSON object whose keys are steps and whose values are the sets below; a path that is in the
//! set and has others through it is marked by the key `.`.

use serde_json::{Map, Value};

use super::element::{Element, ElementError};
use super::set::{Node, Set};

/// Why a value is no set of fields.
#[derive(Debug, thiserror::Error)]
pub enum FieldsError {
    /// Not an object.
    #[error("fieldsV1 is not an object")]
    NoObject,
    /// A key that is no step.
    #[error("parsing key as path element: {0}")]
    Element(#[from] ElementError),
}

/// Reads a set.
///
/// # Errors
/// When it is none.
pub fn decode(fields: &Value) -> Result<Set, FieldsError> {
    match fields {
        Value::Object(members) => below(members),
        Value::Null => Ok(Set::default()),
        _ => Err(FieldsError::NoObject),
    }
}

fn below(members: &Map<String, Value>) -> Result<Set, FieldsError> {
    let mut nodes = Vec::with_capacity(members.len());
    for (key, value) in members {
        if key == "." {
            continue;
        }
        let Some(element) = Element::parse(key)? else { continue };
        let inner = match value {
            Value::Object(members) => members,
            Value::Null => {
                nodes.push(Node { element, member: true, below: Set::default() });
                continue;
            }
            _ => return Err(FieldsError::NoObject),
        };
        let below = below(inner)?;
        let member = below.is_empty() || inner.contains_key(".");
        nodes.push(Node { element, member, below });
    }
    Ok(Set::from_nodes(nodes))
}

/// Writes a set, steps in order.
pub fn encode(set: &Set) -> Value {
    Value::Object(
        set.nodes().iter().map(|node| (node.element.to_text(), encode_node(node))).collect(),
    )
}

fn encode_node(node: &Node) -> Value {
    let mut members = Map::with_capacity(node.below.nodes().len() + 1);
    if node.member && !node.below.is_empty() {
        members.insert(".".to_owned(), Value::Object(Map::new()));
    }
    for inner in node.below.nodes() {
        members.insert(inner.element.to_text(), encode_node(inner));
    }
    Value::Object(members)
}
