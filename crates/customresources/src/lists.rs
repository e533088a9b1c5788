//! Lists of type set and map have no two items that are the same.

use std::collections::HashSet;

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::schema::ListType;
use serde_json::Map;

use crate::structural::Structural;

/// Reports every item that is there twice, all the way down.
pub(crate) fn check(value: &Value, schema: &Structural, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Array(items) => {
            match schema.list_type {
                Some(ListType::Set) => duplicates(items.iter().cloned(), path, errors),
                Some(ListType::Map) => {
                    duplicates(items.iter().map(|item| keys_of(item, schema)), path, errors);
                }
                Some(ListType::Atomic) | None => {}
            }
            if let Some(schema) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    check(item, schema, &path.index(at), errors);
                }
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if let Some(property) = schema.properties.get(name) {
                    check(member, property, &path.child(name.clone()), errors);
                } else if let Some(values) = schema.additional.schema() {
                    check(member, values, &path.key(name.as_str()), errors);
                }
            }
        }
        _ => {}
    }
}

fn duplicates(items: impl Iterator<Item = Value>, path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    let mut reported = HashSet::new();
    for (at, item) in items.enumerate() {
        let mut sorted = item.clone();
        sorted.sort_all_objects();
        let text = sorted.to_string();
        if !seen.insert(text.clone()) && reported.insert(text) {
            errors.push(Error::duplicate(&path.index(at), item));
        }
    }
}

/// What identifies an item; keys that are absent have their defaults by now or are no part of it.
fn keys_of(item: &Value, schema: &Structural) -> Value {
    let keys = schema.list_keys.iter();
    let keys: Map<String, Value> =
        keys.filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect();
    Value::Object(keys)
}
