//! The versions of a definition.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;

use super::schema;
use crate::cursor::{At, same};
use crate::kinds::forms;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
/// Fields of a version that selectors may name.
const MAX_SELECTABLE_FIELDS: usize = 8;
/// Longest warning about a deprecated version, in bytes.
const MAX_WARNING: usize = 256;

/// Checks the versions of a definition that replaces another, if it does.
pub(super) fn check(spec: &At<'_>, before: Option<&At<'_>>, errors: &mut ErrorList) {
    let versions = spec.get("versions");
    // Whether a version of the same name had this schema before.
    let stored = |name: &str, schema: &At<'_>| {
        let known = before.map(|before| before.get("versions"));
        known.is_some_and(|known| {
            known.list().any(|version| {
                version.get("name").str() == name
                    && same(version.get("schema").get("openAPIV3Schema").value, schema.value)
            })
        })
    };
    let mut taken = BTreeSet::new();
    for version in versions.list() {
        taken.insert(version.get("name").str());
        let schema = version.get("schema").get("openAPIV3Schema");
        if !schema.is_set() {
            schema.required(errors, "schemas are required");
        }
        forms::joined(&version.get("name"), names::dns1035_label, errors);
        check_deprecation(&version, errors);
    }
    if taken.len() < versions.len() {
        versions.invalid(errors, "must contain unique version names");
    }
    if versions.list().filter(|version| version.get("storage").bool()).count() != 1 {
        versions.invalid(errors, "must have exactly one version marked as storage version");
    }
    let schemas = per_version(spec, "schema", "validation");
    let schema_is_shared = schemas.iter().any(|(_, version)| version.is_none());
    for (schema, version) in schemas {
        let schema = schema.get("openAPIV3Schema");
        if schema.is_set() {
            let has_status = |version: &At<'_>| version.get("subresources").get("status").is_set();
            let is_stored = |version: &At<'_>| stored(version.get("name").str(), &schema);
            let (has_status, is_stored) = match version {
                Some(version) => (has_status(&version), is_stored(&version)),
                None => (
                    versions.list().any(|version| has_status(&version)),
                    versions.list().any(|version| is_stored(&version)),
                ),
            };
            schema::check(&schema, has_status, is_stored, errors);
        }
    }
    for (subresources, _) in per_version(spec, "subresources", "subresources") {
        check_scale(&subresources.get("scale"), errors);
    }
    for (columns, _) in per_version(spec, "additionalPrinterColumns", "additionalPrinterColumns") {
        columns.list().for_each(|column| check_column(&column, errors));
    }
    // They are about the schema, and are not shared without it.
    let selectable = match schema_is_shared {
        true => per_version(spec, "selectableFields", "selectableFields"),
        false => versions.list().map(|v| (v.get("selectableFields"), Some(v))).collect(),
    };
    for (fields, version) in selectable {
        let schema = version.or_else(|| versions.list().next());
        let schema = schema.map(|version| version.get("schema").get("openAPIV3Schema"));
        if let Some(schema) = schema.filter(|_| !fields.is_empty()) {
            check_selectable(&fields, schema.value, errors);
        }
    }
}

/// A field of each version, with the version; what all versions share stands beside them to
/// upstream, under a name of its own.
fn per_version<'a>(
    spec: &At<'a>,
    field: &'static str,
    shared: &'static str,
) -> Vec<(At<'a>, Option<At<'a>>)> {
    let fields: Vec<(At<'a>, Option<At<'a>>)> =
        spec.get("versions").list().map(|version| (version.get(field), Some(version))).collect();
    match fields.first() {
        Some((first, _)) if fields.iter().all(|(other, _)| same(first.value, other.value)) => {
            vec![(At::new(first.value, spec.path.child(shared)), None)]
        }
        _ => fields,
    }
}

fn check_deprecation(version: &At<'_>, errors: &mut ErrorList) {
    let warning = version.get("deprecationWarning");
    if !warning.is_set() {
        return;
    }
    if !version.get("deprecated").bool() {
        warning.invalid(errors, "can only be set for deprecated versions");
        return;
    }
    let text = warning.str();
    if text.len() > MAX_WARNING {
        warning.invalid(errors, format!("must be <= {MAX_WARNING} characters long"));
    }
    if text.is_empty() {
        warning.invalid(errors, "must not be an empty string");
    }
    let odd = text.char_indices().find(|(_, c)| c.is_control() || (c.is_whitespace() && *c != ' '));
    if let Some((at, _)) = odd {
        let detail = format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        );
        warning.invalid(errors, detail);
    }
}

/// Fields that selectors may name: single values of the schema.
fn check_selectable(fields: &At<'_>, schema: &Value, errors: &mut ErrorList) {
    if schema.is_null() {
        let detail =
            "selectableFields may only be set when version.schema.openAPIV3Schema is not included";
        errors.push(Error::invalid(&fields.path, "", detail));
        return;
    }
    let mut known = BTreeSet::new();
    for field in fields.list() {
        let path = field.get("jsonPath");
        if !path.must(errors) {
            continue;
        }
        let found = match path.str().contains('[') {
            true => Err("expected [ or . but got: [".to_owned()),
            false => cel::rules::field_of(path.str(), schema),
        };
        let (name, found) = match found {
            Ok(found) => found,
            Err(why) => {
                path.invalid(errors, format!("is an invalid path: {why}"));
                continue;
            }
        };
        if name == "metadata" || name.starts_with("metadata.") {
            path.invalid(errors, "must not point to fields in metadata");
        }
        let kind = found.get("type").and_then(Value::as_str).unwrap_or_default();
        if !matches!(kind, "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            path.invalid(errors, detail);
        }
        if !known.insert(name) {
            path.duplicate(errors);
        }
    }
    if known.len() > MAX_SELECTABLE_FIELDS {
        errors.push(Error::too_many(&fields.path, known.len(), MAX_SELECTABLE_FIELDS));
    }
}

fn check_scale(scale: &At<'_>, errors: &mut ErrorList) {
    if !scale.is_set() {
        return;
    }
    for (field, below) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let path = scale.get(field);
        if path.must(errors) {
            let detail = format!("should be a json path under {}", below.trim_end_matches('.'));
            path_below(&path, &[below], &detail, errors);
        }
    }
    let selector = scale.get("labelSelectorPath");
    if !selector.is_empty() {
        let detail = "should be a json path under either .spec or .status";
        path_below(&selector, &[".spec.", ".status."], detail, errors);
    }
}

fn path_below(path: &At<'_>, prefixes: &[&str], detail: &str, errors: &mut ErrorList) {
    if simple_path(path, errors) && !prefixes.iter().any(|prefix| path.str().starts_with(prefix)) {
        path.invalid(errors, detail);
    }
}

fn simple_path(path: &At<'_>, errors: &mut ErrorList) -> bool {
    let is_simple = path.str().starts_with('.');
    if !is_simple {
        path.invalid(errors, "must be a simple json path starting with .");
    }
    is_simple
}

fn check_column(column: &At<'_>, errors: &mut ErrorList) {
    column.get("name").must(errors);
    let kind = column.get("type");
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.is_empty() {
        kind.required(errors, types);
    } else if !COLUMN_TYPES.contains(&kind.str()) {
        kind.invalid(errors, types);
    }
    let format = column.get("format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format.str()) {
        format.invalid(errors, format!("must be one of {}", COLUMN_FORMATS.join(",")));
    }
    // The name of the field in an older form, which upstream checks.
    let path = At::new(column.get("jsonPath").value, column.path.child("JSONPath"));
    if path.must(errors) {
        simple_path(&path, errors);
    }
}
