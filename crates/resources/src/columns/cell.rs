//! Pieces that cells of many kinds are made of.

use machinery::Value;
use machinery::meta;
use machinery::selector::LabelSelector;
use machinery::time::{self, Timestamp};
use serde_json::{Map, json};

/// A text field by its path; empty when absent.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A text field, or what to say when it is empty.
pub(super) fn text_or<'a>(object: &'a Value, pointer: &str, missing: &'a str) -> &'a str {
    Some(text(object, pointer)).filter(|t| !t.is_empty()).unwrap_or(missing)
}

/// A number; 0 when absent.
pub(super) fn int(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}

/// A flag; false when absent.
pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The items of a list; none when absent.
pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The number of entries of a map or list.
pub(super) fn count(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(items)) => items.len(),
        Some(Value::Object(entries)) => entries.len(),
        _ => 0,
    }
}

/// The texts of a list, or of a field of its items.
pub(super) fn texts<'a>(object: &'a Value, pointer: &str, field: &str) -> Vec<&'a str> {
    let text = |item: &'a Value| match field {
        "" => item.as_str(),
        field => Some(item.get(field).and_then(Value::as_str).unwrap_or_default()),
    };
    items(object, pointer).iter().filter_map(text).collect()
}

pub(super) fn name(object: &Value) -> Value {
    json!(meta::name(object))
}

/// How old the object is.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    json!(time::age_of(meta::creation_timestamp(object), now))
}

/// How long ago a time was.
pub(super) fn since(object: &Value, pointer: &str, now: Timestamp) -> String {
    time::age_of(object.pointer(pointer).and_then(Value::as_str), now)
}

/// `a,b`, or `missing` for an empty list.
pub(super) fn joined_or(list: &[&str], missing: &str) -> String {
    if list.is_empty() { missing.to_owned() } else { list.join(",") }
}

/// The first three and how many more there are.
pub(super) fn first_three<S: AsRef<str>>(list: &[S], missing: &str) -> String {
    if list.is_empty() {
        return missing.to_owned();
    }
    let shown: Vec<&str> = list.iter().take(3).map(AsRef::as_ref).collect();
    let mut out = shown.join(",");
    if list.len() > 3 {
        out.push_str(&format!(" + {} more...", list.len() - 3));
    }
    out
}

/// A `meta/v1` label selector as text.
pub(super) fn label_selector(selector: Option<&Value>, missing: &str) -> String {
    match LabelSelector::from_value(selector) {
        Ok(parsed) if parsed.requirements().is_empty() => missing.to_owned(),
        Ok(parsed) => parsed.to_string(),
        Err(_) => "<error>".to_owned(),
    }
}

/// A map of labels as text, sorted.
pub(super) fn labels(labels: Option<&Map<String, Value>>, missing: &str) -> String {
    let mut pairs: Vec<String> = labels
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    if pairs.is_empty() { missing.to_owned() } else { pairs.join(",") }
}

/// Names and images of a Pod template's containers.
pub(super) fn containers(object: &Value, pod_spec: &str) -> [Value; 2] {
    let pointer = format!("{pod_spec}/containers");
    ["name", "image"].map(|field| json!(texts(object, &pointer, field).join(",")))
}

/// `Healthy` and the like: the status of one condition.
pub(super) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(object, "/status/conditions")
        .iter()
        .find(|c| c.get("type").and_then(Value::as_str) == Some(kind))
}

/// Whether a condition is `True`.
pub(super) fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|c| c.get("status").and_then(Value::as_str) == Some("True"))
}

/// A number or text as text.
pub(super) fn scalar(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(s) => Some(s.clone()),
        other => Some(other.to_string()),
    }
}

/// `RWO,RWX`.
pub(super) fn access_modes(modes: &[&str]) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let short: Vec<&str> =
        SHORT.iter().filter(|(long, _)| modes.contains(long)).map(|(_, short)| *short).collect();
    short.join(",")
}
