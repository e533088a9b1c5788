//! Objects within objects: what makes a value an object of the API.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupVersion;
use machinery::names;

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
    let text = |name: &str| object.get(name).and_then(Value::as_str);
    match object.get("apiVersion") {
        None => errors.push(Error::required(&path.child("apiVersion"), "must not be empty")),
        Some(_) => {
            let version = text("apiVersion").unwrap_or_default();
            if version.is_empty() {
                errors.push(Error::required(&path.child("apiVersion"), "must not be empty"));
            } else if GroupVersion::parse(version).is_err() {
                let detail = format!("unexpected GroupVersion string: {version}");
                errors.push(Error::invalid(&path.child("apiVersion"), version, detail));
            }
        }
    }
    let kind = text("kind").unwrap_or_default();
    if kind.is_empty() {
        errors.push(Error::required(&path.child("kind"), "must not be empty"));
    } else {
        let problems = names::dns1035_label(&kind.to_lowercase());
        if !problems.is_empty() {
            let detail =
                format!("may have mixed case, but should otherwise match: {}", problems.join(","));
            errors.push(Error::invalid(&path.child("kind"), kind, detail));
        }
    }
}
