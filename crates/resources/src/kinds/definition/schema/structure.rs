//! What makes a schema say the type of everything in an object,
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.

use machinery::field::{Error, ErrorList};
use serde_json::json;

use super::nested;
use crate::cursor::At;

/// Where a schema stands; each place has its own words for a missing type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Items,
    Field,
}

/// Whether a schema is structural. What keeps it from being so is reported, in the order of the
/// texts.
pub(super) fn check(schema: &At<'_>, errors: &mut ErrorList) -> bool {
    let mut found = ErrorList::new();
    structural(schema, Place::Root, &mut found);
    nested::check_completeness(schema, &mut found);
    let mut found: Vec<Error> = found.into_iter().collect();
    found.sort_by_cached_key(ToString::to_string);
    let is_structural = found.is_empty();
    found.into_iter().for_each(|error| errors.push(error));
    is_structural
}

fn structural(schema: &At<'_>, place: Place, errors: &mut ErrorList) {
    let items = schema.get("items");
    if items.value.is_object() {
        structural(&items, Place::Items, errors);
    }
    for (_, property) in schema.get("properties").entries() {
        structural(&property, Place::Field, errors);
    }
    let additional = schema.get("additionalProperties");
    if additional.is_set() && place == Place::Root {
        additional.forbidden(errors, "must not be used at the root");
    }
    if additional.value.is_object() {
        structural(&additional, Place::Field, errors);
    }
    let (embedded, preserves) = (
        schema.get("x-kubernetes-embedded-resource"),
        schema.get("x-kubernetes-preserve-unknown-fields"),
    );
    let int_or_string = schema.get("x-kubernetes-int-or-string").bool();
    for other in [&preserves, &embedded] {
        if int_or_string && other.bool() {
            other.invalid(errors, "must be false if x-kubernetes-int-or-string is true");
        }
    }
    kind(schema, place, errors);
    if embedded.bool() && additional.is_set() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        additional.forbidden(errors, detail);
    }
    if embedded.bool() && !preserves.bool() && schema.get("properties").is_empty() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        schema.get("properties").required(errors, detail);
    }
    if place == Place::Root || embedded.bool() {
        own_fields(schema, place, errors);
    }
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let first = schema.get("allOf").value.get(0).and_then(|first| first.get("anyOf"));
    let exempt = nested::Exempt {
        any_of: int_or_string && *schema.get("anyOf").value == either,
        any_of_in_first_all_of: int_or_string && first == Some(&either),
    };
    nested::check(schema, exempt, errors);
}

/// The type of a schema's values.
fn kind(schema: &At<'_>, place: Place, errors: &mut ErrorList) {
    let flag = |name: &'static str| schema.get(name).bool();
    let kind = schema.get("type");
    if kind.str() == "array" && !schema.get("items").is_set() {
        schema.get("items").required(errors, "must be specified");
    }
    let int_or_string = flag("x-kubernetes-int-or-string");
    if int_or_string && !kind.is_empty() {
        kind.forbidden(errors, "must be empty if x-kubernetes-int-or-string is true");
    }
    if flag("x-kubernetes-embedded-resource") && kind.str() != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        if kind.is_empty() {
            kind.required(errors, detail);
        } else {
            kind.invalid(errors, detail);
        }
    } else if kind.is_empty() && !int_or_string && !flag("x-kubernetes-preserve-unknown-fields") {
        let at = match place {
            Place::Root => "at the root",
            Place::Items => "for specified array items",
            Place::Field => "for specified object fields",
        };
        kind.required(errors, format!("must not be empty {at}"));
    }
    if place == Place::Root && !kind.is_empty() && kind.str() != "object" {
        kind.invalid(errors, "must be object at the root");
    }
}

/// The fields that every object has.
fn own_fields(schema: &At<'_>, place: Place, errors: &mut ErrorList) {
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
    if place != Place::Root {
        return;
    }
    let Some(metadata) = property("metadata") else { return };
    let is_name = |name: &str| matches!(name, "name" | "generateName");
    let says_more = metadata.entries().any(|(keyword, value)| match keyword {
        "type" | "default" => false,
        "properties" => value.entries().any(|(name, _)| !is_name(name)),
        _ => !value.is_empty(),
    });
    if says_more {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        metadata.forbidden(errors, detail);
    }
}
