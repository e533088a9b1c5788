//! Schemas under logical junctors: they limit values, and the structure is elsewhere.

use machinery::field::{Error, ErrorList};

use crate::cursor::At;

const JUNCTORS: [&str; 3] = ["anyOf", "allOf", "oneOf"];

/// Keywords that say what the structure is, and what they have to be for a schema that does not.
const STRUCTURE: [(&str, &str); 14] = [
    ("type", "empty"),
    ("additionalProperties", "undefined"),
    ("default", "undefined"),
    ("title", "empty"),
    ("description", "empty"),
    ("externalDocs", "empty"),
    ("nullable", "false"),
    ("x-kubernetes-preserve-unknown-fields", "false"),
    ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"),
    ("x-kubernetes-validations", "empty"),
];

/// Where the types of an integer or text may be named.
#[derive(Clone, Copy, Default)]
pub(super) struct Exempt {
    /// Right here.
    pub(super) any_of: bool,
    /// In the first of `allOf`.
    pub(super) any_of_in_first_all_of: bool,
}

/// Checks all that stands under the junctors of a schema.
pub(super) fn check(schema: &At<'_>, exempt: Exempt, errors: &mut ErrorList) {
    for list in JUNCTORS {
        if list == "anyOf" && exempt.any_of {
            continue;
        }
        for (at, part) in schema.get(list).list().enumerate() {
            let any_of = list == "allOf" && at == 0 && exempt.any_of_in_first_all_of;
            nested(&part, Exempt { any_of, ..Exempt::default() }, errors);
        }
    }
    if schema.get("not").is_set() {
        nested(&schema.get("not"), Exempt::default(), errors);
    }
}

fn nested(schema: &At<'_>, exempt: Exempt, errors: &mut ErrorList) {
    check(schema, exempt, errors);
    if schema.get("items").value.is_object() {
        nested(&schema.get("items"), Exempt::default(), errors);
    }
    for (name, property) in schema.get("properties").entries() {
        nested(&property, Exempt::default(), errors);
        if name == "metadata" {
            property.forbidden(errors, "must not be specified in a nested context");
        }
    }
    for (keyword, wanted) in STRUCTURE {
        let value = schema.get(keyword);
        let is_said = if wanted == "undefined" { value.is_set() } else { !value.is_empty() };
        if is_said {
            value.forbidden(errors, format!("must be {wanted} to be structural"));
        }
    }
}

/// Checks that all of which something is demanded is a part of the structure.
pub(super) fn check_completeness(schema: &At<'_>, errors: &mut ErrorList) {
    junctors(schema, schema, errors);
    let items = schema.get("items");
    if items.value.is_object() {
        check_completeness(&items, errors);
    }
    for (_, property) in schema.get("properties").entries() {
        check_completeness(&property, errors);
    }
}

fn junctors(limits: &At<'_>, structure: &At<'_>, errors: &mut ErrorList) {
    if limits.get("not").is_set() {
        complete(&limits.get("not"), structure, errors);
    }
    for list in JUNCTORS {
        limits.get(list).list().for_each(|part| complete(&part, structure, errors));
    }
}

fn complete(limits: &At<'_>, structure: &At<'_>, errors: &mut ErrorList) {
    junctors(limits, structure, errors);
    let mut below = |limits: At<'_>, structure: At<'_>| {
        if structure.is_set() {
            complete(&limits, &structure, errors);
        } else {
            let detail = format!("because it is defined in {}", limits.path);
            errors.push(Error::required(&structure.path, detail));
        }
    };
    if limits.get("items").value.is_object() {
        below(limits.get("items"), structure.get("items"));
    }
    let properties = structure.get("properties");
    for (name, property) in limits.get("properties").entries() {
        let known = properties.value.get(name).unwrap_or(&machinery::Value::Null);
        below(property, At::new(known, properties.path.key(name)));
    }
}
