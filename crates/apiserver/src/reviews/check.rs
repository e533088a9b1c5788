//! What questions about permissions must look like.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::names;
use machinery::selector::{FieldSelector, LabelSelector};
use serde_json::json;

use super::{text, texts};

/// Everything that is wrong with a question that was asked in a namespace, which is empty for
/// those that have none.
pub(super) fn access(resource: &str, review: &Value, namespace: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = review.get("spec").unwrap_or(&Value::Null);
    let present = |field: &str| spec.get(field).filter(|value| value.is_object());
    let (wanted, path) = (present("resourceAttributes"), present("nonResourceAttributes"));
    let root = Path::new("spec");
    let (wanted_at, path_at) =
        (root.child("resourceAttributes"), root.child("nonResourceAttributes"));
    // Upstream shows the internal form here.
    let shown = |path: &Value| json!({"Path": text(path, "path"), "Verb": text(path, "verb")});
    match (wanted, path) {
        (Some(_), Some(path)) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            errors.push(Error::invalid(&path_at, shown(path), detail));
        }
        (None, None) => {
            let detail =
                "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(Error::invalid(&wanted_at, Value::Null, detail));
        }
        _ => {}
    }
    let of_others = resource != "selfsubjectaccessreviews";
    if of_others && text(spec, "user").is_empty() && texts(spec, "groups").is_empty() {
        let detail = "at least one of user or group must be specified";
        errors.push(Error::invalid(&root.child("user"), "", detail));
    }
    for (field, check) in SELECTORS {
        if let Some(selector) =
            wanted.and_then(|wanted| wanted.get(field)).filter(|s| s.is_object())
        {
            check_selector(selector, &wanted_at.child(field), check, &mut errors);
        }
    }
    let local = resource == "localsubjectaccessreviews";
    metadata(review, local, &mut errors);
    if local {
        let of = wanted.map(|wanted| text(wanted, "namespace"));
        if let Some(of) = of.filter(|of| *of != namespace) {
            let at = wanted_at.child("namespace");
            errors.push(Error::invalid(&at, of, "must match metadata.namespace"));
        }
        if let Some(path) = path {
            let detail = "disallowed on this kind of request";
            errors.push(Error::invalid(&path_at, shown(path), detail));
        }
    }
    errors
}

/// Questions are not objects and have no metadata.
fn metadata(review: &Value, local: bool, errors: &mut ErrorList) {
    let Some(metadata) = review.get("metadata").and_then(Value::as_object) else { return };
    let ignored = |field: &str| field == "managedFields" || local && field == "namespace";
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) => false,
    };
    if metadata.iter().any(|(field, value)| !ignored(field) && !empty(value)) {
        let but = if local { " except for namespace" } else { "" };
        let detail = format!("must be empty{but}");
        errors.push(Error::invalid(&Path::new("metadata"), metadata.clone(), detail));
    }
}

type KeyRule = fn(&str, &Path, &mut ErrorList);

const SELECTORS: [(&str, KeyRule); 2] =
    [("fieldSelector", field_key), ("labelSelector", label_key)];

fn field_key(key: &str, path: &Path, errors: &mut ErrorList) {
    if key.is_empty() {
        errors.push(Error::required(path, "must be specified"));
    }
}

fn label_key(key: &str, path: &Path, errors: &mut ErrorList) {
    for message in names::qualified_name(key) {
        errors.push(Error::invalid(path, key, message));
    }
}

fn requirements(selector: &Value) -> impl Iterator<Item = &Value> {
    selector.get("requirements").and_then(Value::as_array).into_iter().flatten()
}

/// Operators that are not known here may be in use elsewhere.
fn check_selector(selector: &Value, path: &Path, check_key: KeyRule, errors: &mut ErrorList) {
    let raw = text(selector, "rawSelector");
    let count = requirements(selector).count();
    if !raw.is_empty() && count > 0 {
        let detail = "may not specified at the same time as requirements";
        errors.push(Error::invalid(&path.child("rawSelector"), raw, detail));
    }
    if raw.is_empty() && count == 0 {
        let detail = format!("when {path} is specified, requirements or rawSelector is required");
        errors.push(Error::required(&path.child("requirements"), detail));
    }
    for (i, requirement) in requirements(selector).enumerate() {
        let path = path.child("requirements").index(i);
        let values = texts(requirement, "values");
        match text(requirement, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(Error::required(&path.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(Error::forbidden(&path.child("values"), detail));
            }
            _ => {}
        }
        check_key(text(requirement, "key"), &path.child("key"), errors);
    }
}

/// What of the selectors of a question is understood.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Selectors {
    /// The field selector in the form that it has in a query.
    pub(super) fields: String,
    /// What is said about the parts that are not understood.
    pub(super) ignored: Vec<String>,
}

impl Selectors {
    /// Of `resourceAttributes`.
    pub(super) fn of(wanted: &Value) -> Self {
        let mut selectors = Self::default();
        let null = Value::Null;
        let part = |name: &str| wanted.get(name).unwrap_or(&null);
        let (fields, labels) = (part("fieldSelector"), part("labelSelector"));
        let raw = text(fields, "rawSelector");
        let (terms, wrong): (Vec<_>, Vec<_>) =
            requirements(fields).map(field_term).partition(Option::is_some);
        if wrong.is_empty() && FieldSelector::parse(raw).is_ok() {
            selectors.fields = raw.to_owned();
        } else {
            selectors.ignore("fieldSelector", !terms.is_empty());
        }
        if !terms.is_empty() {
            selectors.fields = terms.into_iter().flatten().collect::<Vec<_>>().join(",");
        }
        let raw = text(labels, "rawSelector");
        let (known, unknown): (Vec<_>, Vec<_>) = requirements(labels).partition(|requirement| {
            let selector = json!({"matchExpressions": [requirement]});
            LabelSelector::from_value(Some(&selector)).is_ok()
        });
        if !unknown.is_empty() || LabelSelector::parse(raw).is_err() {
            selectors.ignore("labelSelector", !known.is_empty());
        }
        selectors
    }

    fn ignore(&mut self, selector: &str, partially: bool) {
        let how = if partially { "partially ignored" } else { "ignored" };
        self.ignored.push(format!("spec.resourceAttributes.{selector} {how} due to parse error"));
    }
}

/// One requirement in the form that it has in a query, if it has one.
fn field_term(requirement: &Value) -> Option<String> {
    let values = texts(requirement, "values");
    let [value] = &values[..] else { return None };
    let operator = match text(requirement, "operator") {
        "In" => "=",
        "NotIn" => "!=",
        _ => return None,
    };
    Some(format!("{}{operator}{value}", text(requirement, "key")))
}

#[cfg(test)]
mod tests;
