//! What is wrong with the schemas of a definition that only who uses them can tell: patterns that do
//! not compile and defaults that the schema itself does not allow.

use cel::rules::{Budget, Rules};
use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use serde_json::json;

use crate::structural::{Additional, Structural};
use crate::validate::validate_at;
use crate::{embedded, pattern};

/// Checks the schemas of all versions. Those that `old` has, too, are borne.
pub fn check(crd: &Value, old: Option<&Value>) -> ErrorList {
    fn schemas(crd: &Value) -> Vec<&Value> {
        let versions = crd["spec"]["versions"].as_array().into_iter().flatten();
        versions.map(|version| &version["schema"]["openAPIV3Schema"]).collect()
    }
    let (all, before) = (schemas(crd), old.map(schemas).unwrap_or_default());
    let spec = Path::new("spec");
    let mut errors = ErrorList::new();
    let mut check = |schema: &Value, path: Path| {
        if !before.contains(&schema) {
            errors.extend(check_schema(schema, &path.child("openAPIV3Schema")));
        }
    };
    match all.first() {
        // What all versions share stands beside them to upstream.
        Some(first) if all.iter().all(|other| other == first) => {
            check(first, spec.child("validation"));
        }
        _ => {
            for (at, schema) in all.iter().enumerate() {
                check(schema, spec.child("versions").index(at).child("schema"));
            }
        }
    }
    errors
}

fn check_schema(schema: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    patterns(schema, path, &mut errors);
    if errors.is_empty() {
        let mut root = schema.clone();
        root[EMBEDDED] = true.into();
        let inside = Inside { of_metadata: false, root: &root, steps: &[] };
        defaults(&root, path, &inside, &mut errors);
    }
    errors
}

/// The parts of a schema that describe what is inside of a value, with the names of members.
fn inner<'s>(schema: &'s Value, path: &Path) -> Vec<(Option<&'s str>, &'s Value, Path)> {
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let properties = properties.map(|(name, schema)| {
        (Some(name.as_str()), schema, path.child("properties").key(name.as_str()))
    });
    let items = schema.get("items").map(|items| (None, items, path.child("items")));
    properties.chain(items).collect()
}

fn patterns(schema: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(text) = schema.get("pattern").and_then(Value::as_str)
        && let Err(error) = pattern::compile(text)
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(Error::invalid(&path.child("pattern"), text, detail));
    }
    let mut parts = inner(schema, path);
    for single in ["additionalProperties", "not"] {
        let part = schema.get(single).filter(|part| part.is_object());
        parts.extend(part.map(|part| (None, part, path.child(single))));
    }
    for list in ["allOf", "anyOf", "oneOf"] {
        let all = schema.get(list).and_then(Value::as_array).into_iter().flatten();
        parts.extend(all.enumerate().map(|(at, part)| (None, part, path.child(list).index(at))));
    }
    for (_, part, path) in parts {
        patterns(part, &path, errors);
    }
}

const EMBEDDED: &str = "x-kubernetes-embedded-resource";

/// Where in an object a schema stands.
struct Inside<'a> {
    /// Whether that is in what every object has.
    of_metadata: bool,
    /// The schema of the object.
    root: &'a Value,
    /// The names of members on the way; none is for items of a list.
    steps: &'a [Option<&'a str>],
}

impl Inside<'_> {
    /// The smallest object that has a value here.
    fn object_with(&self, value: &Value) -> Value {
        let mut object = self.steps.iter().rev().fold(value.clone(), |inner, step| match step {
            Some(name) => json!({ *name: inner }),
            None => json!([inner]),
        });
        for (field, stands_for) in [("apiVersion", "validation/v1"), ("kind", "Validation")] {
            if object.get(field).is_none() {
                object[field] = stands_for.into();
            }
        }
        object
    }
}

/// Defaults are what their own schema allows, and nothing of them would be pruned. Those of what
/// every object has make it a valid object.
fn defaults(schema: &Value, path: &Path, inside: &Inside<'_>, errors: &mut ErrorList) {
    let embedded = schema.get(EMBEDDED).is_some_and(|flag| flag == true);
    let new_root = Inside { of_metadata: false, root: schema, steps: &[] };
    let inside = if embedded { &new_root } else { inside };
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let at = path.child("default");
        let structural = Structural::new(schema);
        if inside.of_metadata {
            let mut wrong = ErrorList::new();
            let object = inside.object_with(default);
            let root = Structural::new(inside.root);
            embedded::check(&object, &root, &Path::root(), &mut wrong);
            if wrong.is_empty() {
                errors.extend(validate_at(default, &structural, &at));
            } else {
                let detail = format!("must result in valid metadata: {}", wrong.aggregate());
                errors.push(Error::invalid(&at, default.clone(), detail));
            }
        } else {
            if has_unknown(default, &structural) {
                errors.push(Error::invalid(&at, default.clone(), "must not have unknown fields"));
            }
            errors.extend(misfits(default, schema, &structural, &at));
        }
    }
    for (name, part, path) in inner(schema, path) {
        let of_all = name.is_some_and(|name| matches!(name, "apiVersion" | "kind" | "metadata"));
        let steps: Vec<Option<&str>> = inside.steps.iter().copied().chain([name]).collect();
        let of_metadata = inside.of_metadata || (embedded && of_all);
        let below = Inside { of_metadata, root: inside.root, steps: &steps };
        defaults(part, &path, &below, errors);
    }
}

/// The first kind of thing that is wrong with a default.
fn misfits(default: &Value, schema: &Value, structural: &Structural, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    embedded::check(default, structural, at, &mut errors);
    if errors.is_empty() {
        errors.extend(validate_at(default, structural, at));
    }
    // Rules that do not compile are refused elsewhere.
    if errors.is_empty()
        && let Ok(rules) = Rules::compile_part(schema, at)
    {
        errors.extend(rules.validate(at, default, None, &mut Budget::new()));
    }
    errors
}

/// Whether pruning would remove something.
fn has_unknown(value: &Value, schema: &Structural) -> bool {
    let is_own =
        |name: &str| schema.embedded_resource && matches!(name, "apiVersion" | "kind" | "metadata");
    let keeps =
        schema.preserves_unknown_fields || matches!(schema.additional, Additional::Allowed(true));
    match value {
        Value::Object(members) => {
            members.iter().filter(|(name, _)| !is_own(name)).any(|(name, member)| {
                schema.member(name).map_or(!keeps, |schema| has_unknown(member, schema))
            })
        }
        Value::Array(items) => schema
            .items
            .as_ref()
            .is_some_and(|schema| items.iter().any(|item| has_unknown(item, schema))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_what_their_schema_allows() {
        let check = |schema: Value, expected: &[&str]| {
            let errors = check_schema(&schema, &Path::new("schema"));
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{schema}");
        };
        let of = |schema: Value| json!({"type": "object", "properties": {"a": schema}});
        check(of(json!({"type": "integer", "default": 1})), &[]);
        check(
            of(json!({"type": "integer", "default": "x"})),
            &["schema.properties[a].default: Invalid value: \"string\": \
               schema.properties[a].default in body must be of type integer: \"string\""],
        );
        check(
            of(json!({"type": "object", "default": {"x": 1}})),
            &[
                "schema.properties[a].default: Invalid value: {\"x\":1}: must not have unknown fields",
            ],
        );
        let open = json!({"type": "object", "default": {"x": 1},
            "x-kubernetes-preserve-unknown-fields": true});
        check(of(open), &[]);
        let map = json!({"type": "object", "default": {"x": 1},
            "additionalProperties": {"type": "integer"}});
        check(of(map), &[]);
        let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true,
            "default": {"apiVersion": "v1", "kind": "X", "metadata": {"name": "x"}}});
        check(of(embedded), &[]);
        let nameless = json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true, "default": {"apiVersion": "v1"}});
        check(of(nameless), &["schema.properties[a].default.kind: Required value"]);
        let ruled = json!({"type": "integer", "default": 1,
            "x-kubernetes-validations": [{"rule": "self > 1"}]});
        check(
            of(ruled),
            &["schema.properties[a].default: Invalid value: \"integer\": failed rule: self > 1"],
        );
    }

    #[test]
    fn defaults_in_metadata_make_valid_objects() {
        let check = |schema: Value, expected: &[&str]| {
            let errors = check_schema(&schema, &Path::new("schema"));
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{schema}");
        };
        let named = |name: &str| {
            json!({"type": "object", "properties": {"metadata": {
            "type": "object", "properties": {"name": {"type": "string", "default": name}}}}})
        };
        check(named("good"), &[]);
        check(
            named("a/b"),
            &[
                "schema.properties[metadata].properties[name].default: Invalid value: \"a/b\": must result in valid metadata: metadata.name: Invalid value: \"a/b\": may not contain '/'",
            ],
        );
        let kind =
            json!({"type": "object", "properties": {"kind": {"type": "string", "default": "a b"}}});
        check(
            kind,
            &[
                "schema.properties[kind].default: Invalid value: \"a b\": must result in valid metadata: kind: Invalid value: \"a b\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
            ],
        );
        // An object within is one by itself.
        let mut inner = named("a/b");
        inner[EMBEDDED] = true.into();
        let outer = json!({"type": "object", "properties": {"o": inner}});
        check(
            outer,
            &[
                "schema.properties[o].properties[metadata].properties[name].default: Invalid value: \"a/b\": must result in valid metadata: metadata.name: Invalid value: \"a/b\": may not contain '/'",
            ],
        );
    }

    #[test]
    fn patterns_compile() {
        let schema = json!({"type": "object", "additionalProperties": {"type": "string",
            "pattern": "(", "default": 1}, "properties": {"a": {"pattern": "^a$"}}});
        let errors = check_schema(&schema, &Path::new("schema"));
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1);
        let start = "schema.additionalProperties.pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: error parsing regexp: ";
        assert!(found[0].starts_with(start), "{found:?}");
    }
}
