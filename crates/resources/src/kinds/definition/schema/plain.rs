//! What no part of a schema may say.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::ErrorList;

use crate::cursor::At;

const UNSUPPORTED: [&str; 6] =
    ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
const KINDS: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const OWN_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// What is around a part of a schema.
#[derive(Clone, Copy, Default)]
struct Within {
    is_root: bool,
    /// Inside of what every object has.
    is_own: bool,
    /// Why there may be no default.
    no_default: Option<&'static str>,
}

/// Checks a schema and all its parts.
pub(super) fn check(schema: &At<'_>, errors: &mut ErrorList) {
    part(schema, Within { is_root: true, ..Within::default() }, errors);
}

fn part(schema: &At<'_>, within: Within, errors: &mut ErrorList) {
    keywords(schema, within, errors);
    let unique = schema.get("uniqueItems");
    if unique.bool() {
        let detail =
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        unique.forbidden(errors, detail);
    }
    let additional = schema.get("additionalProperties");
    let narrows = additional.value.is_object() || additional.value == &Value::Bool(false);
    if narrows && !schema.get("properties").is_empty() {
        let detail = "additionalProperties and properties are mutual exclusive";
        additional.forbidden(errors, detail);
    }
    below(schema, within, errors);
    let preserves = schema.get("x-kubernetes-preserve-unknown-fields");
    if preserves.value == &Value::Bool(false) {
        preserves.invalid(errors, "must be true or undefined");
    }
    map_type(schema, errors);
    list_type(schema, errors);
}

fn below(schema: &At<'_>, within: Within, errors: &mut ErrorList) {
    let inner = Within { is_root: false, ..within };
    let mut check = |schema: At<'_>, within: Within| {
        if schema.value.is_object() {
            part(&schema, within, errors);
        }
    };
    let of_values = match within.is_own {
        // Nobody could tell which of the entries are pruned.
        true => Some("inside additionalProperties applying to object metadata"),
        false => within.no_default,
    };
    check(schema.get("additionalProperties"), Within { no_default: of_values, ..inner });
    let is_object = within.is_root || schema.get("x-kubernetes-embedded-resource").bool();
    for (name, property) in schema.get("properties").entries() {
        let mut inner = inner;
        if is_object && let Some(own) = OWN_FIELDS.iter().position(|field| *field == name) {
            inner.is_own = true;
            if within.is_root {
                inner.no_default = Some(
                    ["in top-level apiVersion", "in top-level kind", "in top-level metadata"][own],
                );
            }
        }
        check(property, inner);
    }
    check(schema.get("not"), inner);
    for list in ["allOf", "oneOf", "anyOf"] {
        schema.get(list).list().for_each(|schema| check(schema, inner));
    }
    check(schema.get("items"), inner);
}

/// Keywords and values that are not supported.
fn keywords(schema: &At<'_>, within: Within, errors: &mut ErrorList) {
    let kind = schema.get("type");
    if !kind.is_empty() && !KINDS.contains(&kind.str()) {
        kind.unsupported(errors, &KINDS);
    }
    let default = schema.get("default");
    if let Some(why) = within.no_default.filter(|_| default.is_set()) {
        default.forbidden(errors, format!("must not be set {why}"));
    }
    for field in UNSUPPORTED {
        if !schema.get(field).is_empty() {
            schema.get(field).forbidden(errors, format!("{field} is not supported"));
        }
    }
    if kind.str() == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        kind.forbidden(errors, detail);
    }
    if schema.get("items").value.is_array() {
        let detail = "items must be a schema object and not an array";
        schema.get("items").forbidden(errors, detail);
    }
    let embedded = schema.get("x-kubernetes-embedded-resource");
    if within.is_own && embedded.bool() {
        embedded.forbidden(errors, "must not be used inside of resource meta");
    }
}

fn map_type(schema: &At<'_>, errors: &mut ErrorList) {
    let map_type = schema.get("x-kubernetes-map-type");
    if map_type.is_empty() {
        return;
    }
    let detail = "must be object if x-kubernetes-map-type is specified";
    must_be(&schema.get("type"), "object", detail, errors);
    if !matches!(map_type.str(), "atomic" | "granular") {
        map_type.unsupported(errors, &["atomic", "granular"]);
    }
}

/// A keyword that has to have a value because of another one.
fn must_be(field: &At<'_>, wanted: &str, detail: &str, errors: &mut ErrorList) {
    if field.is_empty() {
        field.required(errors, detail);
    } else if field.str() != wanted {
        field.invalid(errors, detail);
    }
}

fn list_type(schema: &At<'_>, errors: &mut ErrorList) {
    let (kind, keys) =
        (schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys"));
    if !kind.is_empty() {
        let detail = "must be array if x-kubernetes-list-type is specified";
        must_be(&schema.get("type"), "array", detail, errors);
        if !matches!(kind.str(), "atomic" | "set" | "map") {
            kind.unsupported(errors, &["atomic", "set", "map"]);
        }
    }
    if !keys.is_empty() {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        must_be(&kind, "map", detail, errors);
    }
    let items = schema.get("items");
    match kind.str() {
        "map" => map_list(&keys, &items, errors),
        "set" => set_items(&items, errors),
        _ => return,
    }
    if items.get("nullable").bool() {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {}", kind.str());
        items.get("nullable").forbidden(errors, detail);
    }
}

/// The items of a list of type map are objects with the keys among their properties.
fn map_list(keys: &At<'_>, items: &At<'_>, errors: &mut ErrorList) {
    if keys.is_empty() {
        keys.required(errors, "must not be empty if x-kubernetes-list-type is map");
    }
    if !items.is_set() {
        items.required(errors, "must have a schema if x-kubernetes-list-type is map");
        return;
    }
    let kind = items.get("type");
    if kind.str() != "object" {
        kind.invalid(errors, "must be object if parent array's x-kubernetes-list-type is map");
        return;
    }
    let properties = items.get("properties");
    let required = items.get("required").items();
    let mut taken = BTreeSet::new();
    for key in keys.items().iter().filter_map(Value::as_str) {
        match properties.value.get(key) {
            Some(property) => {
                let property = At::new(property, properties.path.key(key));
                map_key(&property, required.iter().any(|name| name == key), errors);
            }
            None => keys.invalid(errors, "entries must all be names of item properties"),
        }
        if !taken.insert(key) {
            keys.invalid(errors, "must not contain duplicate entries");
        }
    }
}

/// A key is a value of its own, and is always there.
fn map_key(property: &At<'_>, is_required: bool, errors: &mut ErrorList) {
    let kind = property.get("type");
    if matches!(kind.str(), "array" | "object") {
        let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
        kind.invalid(errors, detail);
    }
    if !is_required && !property.get("default").is_set() {
        let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
        property.get("default").required(errors, detail);
    }
    if property.get("nullable").bool() {
        let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
        property.get("nullable").forbidden(errors, detail);
    }
}

/// The items of a set are replaced as wholes. Lists are so unless they say otherwise, objects are
/// not.
fn set_items(items: &At<'_>, errors: &mut ErrorList) {
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let (list, map) = (items.get("x-kubernetes-list-type"), items.get("x-kubernetes-map-type"));
    match items.get("type").str() {
        "array" if !matches!(list.str(), "" | "atomic") => list.invalid(errors, detail),
        "object" if map.str() != "atomic" => map.invalid(errors, detail),
        _ => {}
    }
}
