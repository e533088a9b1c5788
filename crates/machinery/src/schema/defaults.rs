//! Defaults declared in the table.
//!
//! Most defaults of core, apps and batch are code upstream and live with the strategies;
//! these are the ones that a marker on the field declares. As upstream, they apply inside
//! structs that are present, and an absent struct stays absent unless it is a plain value.

use serde_json::{Map, Value};

use super::{Kind, TypeRef};

/// Fills absent fields that have a declared default, all the way down.
pub fn apply_defaults(value: &mut Value, ty: TypeRef<'_>) {
    if !ty.has_defaults() {
        return;
    }
    match (ty.kind(), value) {
        (Kind::List(item), Value::Array(items)) => {
            for entry in items {
                apply_defaults(entry, item);
            }
        }
        (Kind::Map(item), Value::Object(entries)) => {
            for entry in entries.values_mut() {
                apply_defaults(entry, item);
            }
        }
        (Kind::Struct, Value::Object(object)) => default_fields(object, ty),
        (Kind::SchemaOrBool(inner), value @ Value::Object(_))
        | (Kind::SchemaOrArray(inner), value @ Value::Object(_))
        | (Kind::SchemaOrStrings(inner), value @ Value::Object(_)) => apply_defaults(value, inner),
        _ => {}
    }
}

fn default_fields(object: &mut Map<String, Value>, ty: TypeRef<'_>) {
    for field in ty.fields() {
        let inner = field.type_ref();
        if field.default_text().is_none() && !inner.has_defaults() {
            continue;
        }
        let present = object.get_mut(field.name()).filter(|v| !v.is_null());
        match (present, field.default_value()) {
            // The zero value of a plain field is the same as its absence.
            (Some(value), Some(default)) if !field.is_pointer() && is_zero(value) => {
                if !is_zero(&default) {
                    *value = default;
                }
            }
            (Some(value), _) => apply_defaults(value, inner),
            (None, Some(default)) => {
                if field.is_pointer() || !is_zero(&default) {
                    object.insert(field.name().to_owned(), default);
                }
            }
            (None, None) => {
                if inner.is_struct() && !field.is_pointer() {
                    let mut value = Value::Object(Map::new());
                    apply_defaults(&mut value, inner);
                    if value.as_object().is_some_and(|o| !o.is_empty()) {
                        object.insert(field.name().to_owned(), value);
                    }
                }
            }
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}
