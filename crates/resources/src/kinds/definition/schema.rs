//! Schemas of custom resources: what OpenAPI allows and the API does not, and the structure that
//! pruning and defaulting need.

use machinery::Value;
use machinery::field::{Error, ErrorList};

use crate::cursor::At;

/// Where a schema stands; each place has its own words for a missing type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Items,
    Field,
}

/// Checks the schema of a version.
pub(super) fn check(schema: &At<'_>, errors: &mut ErrorList) {
    plain(schema, errors);
    structural(schema, Place::Root, errors);
    if let Err(found) = cel::rules::Rules::compile(schema.value, &schema.path) {
        errors.extend(found);
    }
}

const UNSUPPORTED: [&str; 6] =
    ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];
const KINDS: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// What no part of a schema may say.
fn plain(schema: &At<'_>, errors: &mut ErrorList) {
    for field in UNSUPPORTED {
        if !schema.get(field).is_empty() {
            schema.get(field).forbidden(errors, format!("{field} is not supported"));
        }
    }
    let kind = schema.get("type");
    if kind.str() == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        kind.forbidden(errors, detail);
    } else if !kind.is_empty() && !KINDS.contains(&kind.str()) {
        kind.unsupported(errors, &KINDS);
    }
    if schema.get("items").value.is_array() {
        let detail = "items must be a schema object and not an array";
        schema.get("items").forbidden(errors, detail);
    }
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
    list_type(schema, errors);
    let map_type = schema.get("x-kubernetes-map-type");
    if !map_type.is_empty() && !matches!(map_type.str(), "atomic" | "granular") {
        map_type.unsupported(errors, &["atomic", "granular"]);
    }
    let mut below = |part: At<'_>| {
        if part.value.is_object() {
            plain(&part, errors);
        }
    };
    below(additional);
    below(schema.get("items"));
    below(schema.get("not"));
    for list in ["allOf", "oneOf", "anyOf"] {
        schema.get(list).list().for_each(&mut below);
    }
    for (_, property) in schema.get("properties").entries() {
        below(property);
    }
}

fn list_type(schema: &At<'_>, errors: &mut ErrorList) {
    let (kind, keys) =
        (schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys"));
    if !kind.is_empty() {
        if schema.get("type").str() != "array" {
            let detail = "must be array if x-kubernetes-list-type is specified";
            let of = schema.get("type");
            if of.is_empty() {
                of.required(errors, detail);
            } else {
                of.invalid(errors, detail);
            }
        }
        if !matches!(kind.str(), "atomic" | "set" | "map") {
            kind.unsupported(errors, &["atomic", "set", "map"]);
        }
    }
    if !keys.is_empty() && kind.str() != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        if kind.is_empty() {
            kind.required(errors, detail);
        } else {
            kind.invalid(errors, detail);
        }
    }
    if kind.str() == "map" && keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        keys.required(errors, detail);
    }
    if kind.str() == "map" {
        let items = schema.get("items");
        for key in keys.list() {
            if items.get("properties").value.get(key.str()).is_none() {
                let detail = "entries must all be names of item properties";
                key.invalid(errors, detail);
            }
        }
    }
}

/// What makes a schema say the type of everything in an object.
fn structural(schema: &At<'_>, place: Place, errors: &mut ErrorList) {
    for (_, property) in schema.get("properties").entries() {
        structural(&property, Place::Field, errors);
    }
    let items = schema.get("items");
    if items.value.is_object() {
        structural(&items, Place::Items, errors);
    }
    let additional = schema.get("additionalProperties");
    if additional.value.is_object() {
        structural(&additional, Place::Field, errors);
    }
    let kind = schema.get("type");
    let flag = |name: &'static str| schema.get(name).bool();
    let embedded = flag("x-kubernetes-embedded-resource");
    let preserves = flag("x-kubernetes-preserve-unknown-fields");
    let int_or_string = flag("x-kubernetes-int-or-string");
    if kind.str() == "array" && !schema.get("items").is_set() {
        schema.get("items").required(errors, "must be specified");
    }
    if int_or_string && !kind.is_empty() {
        let detail = "must be empty if x-kubernetes-int-or-string is true";
        kind.forbidden(errors, detail);
    }
    if embedded && kind.str() != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        if kind.is_empty() {
            kind.required(errors, detail);
        } else {
            kind.invalid(errors, detail);
        }
    } else if kind.is_empty() && !int_or_string && !preserves {
        let at = match place {
            Place::Root => "at the root",
            Place::Items => "for specified array items",
            Place::Field => "for specified object fields",
        };
        kind.required(errors, format!("must not be empty {at}"));
    }
    if embedded && schema.get("additionalProperties").is_set() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        schema.get("additionalProperties").forbidden(errors, detail);
    }
    if place == Place::Root && !kind.is_empty() && kind.str() != "object" {
        kind.invalid(errors, "must be object at the root");
    }
    if embedded && !preserves && schema.get("properties").is_empty() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        schema.get("properties").required(errors, detail);
    }
    if place == Place::Root || embedded {
        own_fields(schema, errors);
    }
    for list in ["allOf", "oneOf", "anyOf"] {
        for part in schema.get(list).list() {
            nested(&part, list == "anyOf" && int_or_string, errors);
        }
    }
    if schema.get("not").is_set() {
        nested(&schema.get("not"), false, errors);
    }
}

/// The fields that every object has.
fn own_fields(schema: &At<'_>, errors: &mut ErrorList) {
    let properties = schema.get("properties");
    let property = |name: &str| {
        let value = properties.value.get(name)?;
        Some(At::new(value, properties.path.key(name)))
    };
    for (name, expected) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        if let Some(field) = property(name)
            && field.get("type").str() != expected
        {
            let kind = field.get("type");
            errors.push(Error::invalid(&kind.path, kind.str(), format!("must be {expected}")));
        }
    }
    if let Some(metadata) = property("metadata") {
        let extra = metadata
            .get("properties")
            .entries()
            .any(|(name, _)| !matches!(name, "name" | "generateName"));
        if extra {
            let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
            metadata.forbidden(errors, detail);
        }
    }
}

/// What a schema under a logical junctor may not say, since it is not where the structure is.
fn nested(schema: &At<'_>, may_have_type: bool, errors: &mut ErrorList) {
    const PLACES: [&str; 6] = [
        "default",
        "nullable",
        "title",
        "description",
        "x-kubernetes-embedded-resource",
        "x-kubernetes-preserve-unknown-fields",
    ];
    if !may_have_type && !schema.get("type").is_empty() {
        schema.get("type").forbidden(errors, "must be empty to be structural");
    }
    for field in PLACES {
        if !schema.get(field).is_empty() {
            let detail = match field {
                "nullable"
                | "x-kubernetes-embedded-resource"
                | "x-kubernetes-preserve-unknown-fields" => "must be false to be structural",
                "default" => "must be undefined to be structural",
                _ => "must be empty to be structural",
            };
            schema.get(field).forbidden(errors, detail);
        }
    }
    if schema.get("additionalProperties").is_set() {
        let detail = "must be undefined to be structural";
        schema.get("additionalProperties").forbidden(errors, detail);
    }
    for (_, property) in schema.get("properties").entries() {
        nested(&property, false, errors);
    }
    if schema.get("items").value.is_object() {
        nested(&schema.get("items"), false, errors);
    }
    for list in ["allOf", "oneOf", "anyOf"] {
        for part in schema.get(list).list() {
            nested(&part, may_have_type, errors);
        }
    }
    if schema.get("not").is_set() {
        nested(&schema.get("not"), false, errors);
    }
}
