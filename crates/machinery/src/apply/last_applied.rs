//! From client-side to server-side apply: the annotation in which kubectl keeps what it applied.
//!
//! While the annotation is there, server-side applies of kubectl keep it current, so that users can
//! go back; and what it says was applied is theirs to change without a conflict.

use serde_json::{Map, Value};

use super::compare::compare;
use super::fields::fields_of;
use super::manager::Request;
use super::set::Set;
use super::validate::validate;
use crate::{codec, meta};

/// The manager that this holds for.
pub(super) const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// All annotations together may be so long.
const ANNOTATIONS_MAX: usize = 256 * 1024;

/// The fields that were applied on the client's side and still are as they were then.
pub(super) fn fields(request: &Request<'_>, live: &Value) -> Option<Set> {
    let text = meta::annotation(live, ANNOTATION).filter(|text| !text.is_empty())?;
    let applied: Value = serde_json::from_str(text).ok()?;
    if meta::api_version(&applied) != request.api_version {
        return None;
    }
    let place = request.ty.into();
    validate(&applied, place).ok()?;
    let comparison = compare(&applied, live, place);
    Some(
        fields_of(&applied, place)
            .difference(&comparison.modified)
            .difference(&comparison.added)
            .difference(&comparison.removed),
    )
}

/// Writes down what is applied now, if the annotation is there.
pub(super) fn refresh(object: &mut Value, applied: &Value) {
    if meta::annotation(object, ANNOTATION).is_none_or(str::is_empty) {
        return;
    }
    let mut text = Vec::new();
    codec::write_untyped(&mut text, &sorted(applied, true));
    text.push(b'\n');
    let text = String::from_utf8(text).expect("the encoder writes UTF-8");
    let others: usize = meta::annotations(object)
        .into_iter()
        .flatten()
        .filter(|(key, _)| *key != ANNOTATION)
        .map(|(key, value)| key.len() + value.as_str().map_or(0, str::len))
        .sum();
    if others + ANNOTATION.len() + text.len() <= ANNOTATIONS_MAX {
        meta::set_annotation(object, ANNOTATION, text);
    } else if let Some(Value::Object(annotations)) =
        meta::metadata_mut(object).get_mut("annotations")
    {
        annotations.shift_remove(ANNOTATION);
    }
}

/// The tree with members in order of name, at its root without the annotation itself.
fn sorted(value: &Value, root: bool) -> Value {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            let mut object: Map<String, Value> = names
                .into_iter()
                .map(|name| (name.clone(), sorted(&members[name], false)))
                .collect();
            if root
                && let Some(Value::Object(annotations)) =
                    object.get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"))
            {
                annotations.shift_remove(ANNOTATION);
            }
            Value::Object(object)
        }
        Value::Array(items) => items.iter().map(|item| sorted(item, false)).collect(),
        other => other.clone(),
    }
}
