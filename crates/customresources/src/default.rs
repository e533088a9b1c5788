//! Defaults: what stands for an absent member.
//!
//! As upstream, a null where the schema does not allow one counts as absent, and defaults apply only
//! inside of what is there.

use machinery::Value;
use serde_json::Map;

use crate::structural::Structural;

/// Fills absent members that have a default, all the way down. Members that are null, may not be and
/// have no default go.
pub fn apply(value: &mut Value, schema: &Structural) {
    match value {
        Value::Object(members) => {
            members.retain(|name, member| {
                let own = schema.member(name).filter(|_| member.is_null());
                own.is_none_or(|schema| schema.nullable || schema.default.is_some())
            });
            for (name, property) in &schema.properties {
                fill(members, name, property);
            }
            for (name, member) in members.iter_mut() {
                if let Some(schema) = schema.member(name) {
                    apply_member(member, schema);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items.iter_mut().for_each(|item| apply_member(item, schema));
            }
        }
        _ => {}
    }
}

/// An item or entry that is null where it may not be is its default; then what is below it.
fn apply_member(value: &mut Value, schema: &Structural) {
    if value.is_null()
        && !schema.nullable
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
    apply(value, schema);
}

fn fill(members: &mut Map<String, Value>, name: &str, schema: &Structural) {
    let Some(default) = &schema.default else { return };
    let absent = match members.get(name) {
        None => true,
        Some(Value::Null) => !schema.nullable,
        Some(_) => false,
    };
    if absent {
        members.insert(name.to_owned(), default.clone());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults() {
        let schema = serde_yaml::from_str::<Value>(
            "{type: object, properties: {
                a: {type: string, default: x}, n: {type: string, nullable: true, default: x},
                o: {type: object, default: {}, properties: {p: {type: integer, default: 1}}},
                q: {type: object, properties: {p: {type: integer, default: 1}}},
                l: {type: array, items: {type: string, default: y}},
                m: {type: object, additionalProperties: {type: object, properties: {p: {type: integer, default: 1}}}}}}",
        );
        let schema = Structural::new(&schema.unwrap());
        assert!(schema.has_defaults());
        let check = |mut value: Value, expected: Value| {
            apply(&mut value, &schema);
            assert_eq!(value, expected);
            apply(&mut value, &schema);
            assert_eq!(value, expected);
        };
        check(json!({}), json!({"a": "x", "n": "x", "o": {"p": 1}}));
        check(
            json!({"a": null, "n": null, "o": null, "q": {}}),
            json!({"a": "x", "n": null, "o": {"p": 1}, "q": {"p": 1}}),
        );
        check(
            json!({"a": "x", "n": "x", "o": {"p": 1}, "q": null, "l": null, "unknown": null}),
            json!({"a": "x", "n": "x", "o": {"p": 1}, "unknown": null}),
        );
        check(
            json!({"a": "", "n": "", "o": {"p": 2}, "l": [null, "z"], "m": {"k": {}, "x": null}}),
            json!({"a": "", "n": "", "o": {"p": 2}, "l": ["y", "z"], "m": {"k": {"p": 1}}}),
        );
    }
}
