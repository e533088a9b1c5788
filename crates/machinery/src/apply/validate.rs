//! Whether an applied configuration fits its type.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::element::Element;
use super::node::{Identity, Place, Scalar, Shape};
use super::set::Path;

/// What does not fit, each with its path.
#[derive(Debug, Default)]
pub struct Misfits(Vec<(Path, String)>);

impl fmt::Display for Misfits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = |f: &mut fmt::Formatter<'_>, (path, text): &(Path, String)| {
            let colon = if path.0.is_empty() { "" } else { ": " };
            write!(f, "{path}{colon}{text}")
        };
        match self.0.as_slice() {
            [only] => one(f, only),
            several => {
                f.write_str("errors:")?;
                several.iter().try_for_each(|misfit| {
                    f.write_str("\n  ")?;
                    one(f, misfit)
                })
            }
        }
    }
}

impl std::error::Error for Misfits {}

/// Checks a value as a client applies it.
///
/// # Errors
/// Fields that the type lacks, values of the wrong form, list items without identity or twice.
pub fn validate(value: &Value, place: Place<'_>) -> Result<(), Misfits> {
    let mut misfits = Misfits::default();
    check(value, place, &mut Path::default(), &mut misfits);
    if misfits.0.is_empty() { Ok(()) } else { Err(misfits) }
}

fn check(value: &Value, place: Place<'_>, path: &mut Path, misfits: &mut Misfits) {
    if value.is_null() {
        return;
    }
    let node = place.node();
    let mut refuse = |text: String| misfits.0.push((path.clone(), text));
    match (&node.shape, value) {
        (Shape::Untyped, _) => {}
        (Shape::Scalar(scalar), value) => {
            if let Some(text) = misfit(*scalar, value) {
                refuse(text);
            }
        }
        (Shape::List { items, identity }, Value::Array(list)) => {
            let items = *items;
            let indexed = matches!(identity, Identity::Index);
            let mut seen = BTreeSet::new();
            for (at, item) in list.iter().enumerate() {
                let element = if indexed {
                    Element::Index(i64::try_from(at).unwrap_or(i64::MAX))
                } else {
                    match node.step(item) {
                        Ok(element) => element,
                        Err(error) => {
                            misfits.0.push((path.clone(), format!("element {at}: {error}")));
                            return;
                        }
                    }
                };
                if !indexed && !seen.insert(element.clone()) {
                    let text = format!("duplicate entries for key {element}");
                    misfits.0.push((path.clone(), text));
                }
                path.0.push(element);
                check(item, items, path, misfits);
                path.0.pop();
            }
        }
        (Shape::Map(_) | Shape::Struct { .. }, Value::Object(members)) => {
            for (name, value) in members {
                path.0.push(Element::field(name));
                match node.member(name) {
                    Some(place) => check(value, place, path, misfits),
                    None => {
                        misfits.0.push((path.clone(), "field not declared in schema".to_owned()));
                    }
                }
                path.0.pop();
            }
        }
        (Shape::List { .. }, other) => refuse(format!("expected list, got &{{{}}}", plain(other))),
        (_, other) => refuse(format!("expected map, got &{{{}}}", plain(other))),
    }
}

fn misfit(scalar: Scalar, value: &Value) -> Option<String> {
    let fits = match scalar {
        Scalar::Numeric => value.is_number(),
        Scalar::String => value.is_string(),
        Scalar::Boolean => value.is_boolean(),
        Scalar::Any => !value.is_object() && !value.is_array(),
    };
    if fits {
        return None;
    }
    Some(match scalar {
        Scalar::Numeric => {
            format!("expected numeric (int or float), got {}", go_type(value))
        }
        Scalar::String => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", syntax(value))
        }
        Scalar::Boolean => format!("expected boolean, got &{{{}}}", plain(value)),
        Scalar::Any => format!("expected any scalar, got &{{{}}}", plain(value)),
    })
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// As Go prints a tree: `map[a:1 b:[x y]]`.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(" "))
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            let texts = members.iter().map(|(key, value)| format!("{key}:{}", plain(value)));
            format!("map[{}]", texts.collect::<Vec<_>>().join(" "))
        }
        other => other.to_string(),
    }
}

/// As Go writes a tree in its own syntax: `map[string]interface {}{"a":1}`.
fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::String(text) => crate::field::quote(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| key.as_str());
            let members = members
                .iter()
                .map(|(key, value)| format!("{}:{}", crate::field::quote(key), syntax(value)));
            format!("map[string]interface {{}}{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
