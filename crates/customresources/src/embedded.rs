//! Objects within objects: what makes a value an object of the API.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupVersion;
use machinery::names;
use resources::check_embedded_metadata;

use crate::structural::Structural;

/// Checks all embedded objects, all the way down.
pub(crate) fn check(value: &Value, schema: &Structural, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::Object(members) => {
            if schema.embedded_resource {
                own(value, path, errors);
            }
            for (name, member) in members {
                if let Some(property) = schema.properties.get(name) {
                    check(member, property, &path.child(name.clone()), errors);
                } else if let Some(values) = schema.additional.schema() {
                    check(member, values, &path.key(name.as_str()), errors);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    check(item, schema, &path.index(at), errors);
                }
            }
        }
        _ => {}
    }
}

fn own(object: &Value, path: &Path, errors: &mut ErrorList) {
    text(object, "apiVersion", path, errors, |version| match GroupVersion::parse(version) {
        Ok(_) => None,
        Err(_) => Some(format!("unexpected GroupVersion string: {version}")),
    });
    text(object, "kind", path, errors, |kind| {
        let problems = names::dns1035_label(&kind.to_lowercase());
        let detail =
            || format!("may have mixed case, but should otherwise match: {}", problems.join(","));
        (!problems.is_empty()).then(detail)
    });
    if let Some(metadata) = object.get("metadata") {
        errors.extend(check_embedded_metadata(metadata, &path.child("metadata")));
    }
}

/// Checks a text that must be there.
fn text(
    object: &Value,
    name: &str,
    path: &Path,
    errors: &mut ErrorList,
    problem: impl Fn(&str) -> Option<String>,
) {
    let path = path.child(name.to_owned());
    match object.get(name) {
        None => errors.push(Error::required(&path, "")),
        Some(Value::String(text)) if text.is_empty() => errors.push(Error::required(&path, "")),
        Some(Value::String(text)) => {
            if let Some(detail) = problem(text) {
                errors.push(Error::invalid(&path, text.as_str(), detail));
            }
        }
        Some(other) => errors.push(Error::invalid(&path, other.clone(), "must be a string")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_makes_an_object() {
        let schema = json!({"type": "object", "properties": {"l": {"type": "array", "items": {
            "type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true}}}});
        let schema = Structural::new(&schema);
        let check = |object: Value, expected: &[&str]| {
            let mut errors = ErrorList::new();
            super::check(&json!({"l": [object]}), &schema, &Path::root(), &mut errors);
            let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        };
        let named = json!({"name": "x", "namespace": "n", "labels": {"a": "b"}});
        check(json!({"apiVersion": "v1", "kind": "Pod", "metadata": named}), &[]);
        check(json!({"apiVersion": "a/v1", "kind": "X", "metadata": {}}), &[]);
        check(json!({}), &["l[0].apiVersion: Required value", "l[0].kind: Required value"]);
        check(
            json!({"apiVersion": "a/b/c", "kind": 1}),
            &[
                "l[0].apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                "l[0].kind: Invalid value: 1: must be a string",
            ],
        );
        let metadata = json!({"name": "a/b", "namespace": "N", "labels": {"?": "v"}});
        check(
            json!({"apiVersion": "v1", "kind": "A", "metadata": metadata}),
            &[
                "l[0].metadata.name: Invalid value: \"a/b\": may not contain '/'",
                "l[0].metadata.namespace: Invalid value: \"N\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                "l[0].metadata.labels: Invalid value: \"?\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            ],
        );
    }
}
