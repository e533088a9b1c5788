//! Schemas of custom resources: what OpenAPI allows and the API does not, and the structure that
//! pruning and defaulting need.

mod nested;
mod plain;
mod structure;

use cel::rules::Rules;
use machinery::field::{Error, ErrorList};

use crate::cursor::At;

/// What may stand at the root if the status is written apart from the rest, by its name in Go and in
/// JSON: the schema of the status by itself loses nothing then.
const BESIDE_STATUS: [(&str, &str); 22] = [
    ("Description", "description"),
    ("Type", "type"),
    ("Format", "format"),
    ("Title", "title"),
    ("Maximum", "maximum"),
    ("ExclusiveMaximum", "exclusiveMaximum"),
    ("Minimum", "minimum"),
    ("ExclusiveMinimum", "exclusiveMinimum"),
    ("MaxLength", "maxLength"),
    ("MinLength", "minLength"),
    ("Pattern", "pattern"),
    ("MaxItems", "maxItems"),
    ("MinItems", "minItems"),
    ("UniqueItems", "uniqueItems"),
    ("MultipleOf", "multipleOf"),
    ("Required", "required"),
    ("Items", "items"),
    ("Properties", "properties"),
    ("ExternalDocs", "externalDocs"),
    ("Example", "example"),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
    ("XValidations", "x-kubernetes-validations"),
];

/// Checks the schema of a version, of which `has_status` says whether it has the subresource. The
/// rules of one that is `stored` may cost more than is allowed today.
pub(super) fn check(schema: &At<'_>, has_status: bool, stored: bool, errors: &mut ErrorList) {
    let before = errors.len();
    if has_status {
        beside_status(schema, errors);
    }
    if schema.get("nullable").bool() {
        schema.get("nullable").forbidden(errors, "nullable cannot be true at the root");
    }
    let is_structural = structure::check(schema, errors);
    plain::check(schema, errors);
    // Rules are about types, which have to be known.
    if is_structural && errors.len() == before {
        let compile = if stored { Rules::compile_unlimited } else { Rules::compile };
        if let Err(found) = compile(schema.value, &schema.path) {
            errors.extend(found);
        }
    }
}

fn beside_status(schema: &At<'_>, errors: &mut ErrorList) {
    for (keyword, value) in schema.value.as_object().into_iter().flatten() {
        if At::new(value, schema.path.clone()).is_empty() {
            continue;
        }
        if keyword == "type" {
            if value != "object" {
                let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                schema.get("type").invalid(errors, detail);
                return;
            }
        } else if !BESIDE_STATUS.iter().any(|(_, name)| name == keyword) {
            let names = BESIDE_STATUS.map(|(name, _)| name).join(" ");
            let detail = format!(
                "only [{names}] fields are allowed at the root of the schema if the status subresource is enabled"
            );
            errors.push(Error::invalid(&schema.path, schema.value.clone(), detail));
            return;
        }
    }
}
