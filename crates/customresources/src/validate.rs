//! Values against a schema, in the words of upstream's validator.
//!
//! Order and grouping follow upstream: type, alternatives, text, format, number, list, enum,
//! members. Every check of a value is made whatever the others find, except that a text or an
//! object stops at its first mistake of its own.
//!
//! Ratcheting: a value that is what it was before is not checked again, so that a schema may grow
//! stricter under objects that exist. Items of lists of type map are compared by their keys; items
//! of other lists have no old value.

use cel::rules::Keyed;
use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::schema::ListType;

use crate::format;
use crate::structural::{Additional, Kind, Structural};

/// Checks a value; `old` is what it replaces.
pub fn validate(value: &Value, schema: &Structural, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    errors.extend(check(value, schema, old, "").errors);
    errors
}

/// Checks a value that is part of something else.
pub(crate) fn validate_at(value: &Value, schema: &Structural, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    errors.extend(check(value, schema, None, &path.to_string()).errors);
    errors
}

/// What a check found: mistakes, and how much was in order, by which the best of several
/// alternatives is chosen.
#[derive(Default)]
struct Outcome {
    errors: Vec<Error>,
    matches: usize,
}

impl Outcome {
    fn merge(&mut self, other: Self) {
        self.matches += other.matches;
        self.errors.extend(other.errors);
    }

    fn fits(&self) -> bool {
        self.errors.is_empty()
    }
}

fn check(value: &Value, schema: &Structural, old: Option<&Value>, path: &str) -> Outcome {
    if old.is_some_and(|old| same(old, value)) {
        return Outcome::default();
    }
    let mut outcome = Outcome { errors: Vec::new(), matches: 1 };
    let mut note = |error: Option<Error>| match error {
        Some(error) => outcome.errors.push(error),
        None => outcome.matches += 1,
    };
    note(wrong_type(value, schema, path));
    if value.is_null() {
        note(not_listed(value, schema, path));
        return outcome;
    }
    outcome.merge(alternatives(value, schema, old, path));
    let mut note = |error: Option<Error>| match error {
        Some(error) => outcome.errors.push(error),
        None => outcome.matches += 1,
    };
    match value {
        Value::String(text) => {
            note(wrong_text(text, schema, path));
            note(wrong_format(text, schema, path));
        }
        Value::Number(_) => outcome.errors.extend(wrong_number(value, schema, path)),
        Value::Array(items) => outcome.merge(list(items, schema, old, path)),
        _ => {}
    }
    match not_listed(value, schema, path) {
        Some(error) => outcome.errors.push(error),
        None => outcome.matches += 1,
    }
    if let Value::Object(members) = value {
        outcome.merge(object(members, schema, old, path));
    }
    outcome
}

/// Equal as JSON; whole numbers are equal however they are written.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// The path as it stands in errors.
fn place(path: &str) -> Path {
    match path.trim_start_matches('.') {
        "" => Path::root(),
        path => Path::new(path.to_owned()),
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn wrong_type(value: &Value, schema: &Structural, path: &str) -> Option<Error> {
    let wanted = match schema.kind {
        _ if schema.int_or_string => "integer,string",
        Some(kind) => kind.name(),
        None => return None,
    };
    let found = type_name(value);
    let fits = match (schema.kind, value) {
        (_, Value::Null) => schema.nullable,
        (_, Value::String(_)) if schema.int_or_string => true,
        (_, Value::Number(number)) if schema.int_or_string => is_whole(number),
        (Some(Kind::Integer), Value::Number(number)) => is_whole(number),
        (Some(Kind::Number), Value::Number(_)) => true,
        _ => found == wanted,
    };
    if fits {
        return None;
    }
    // A format narrows the type, so upstream names it instead, and the format of what is there.
    let format = &schema.rules.format;
    let is_number = matches!(schema.kind, Some(Kind::Integer | Kind::Number));
    if !format.is_empty()
        && !value.is_null()
        && !matches!(value, Value::String(_) | Value::Array(_))
    {
        let found = match value {
            Value::Number(number) if number.is_f64() => "float64",
            Value::Number(_) => "int64",
            _ => "",
        };
        return Some(type_error(path, format, found));
    }
    if !format.is_empty() && !is_number && matches!(value, Value::String(_) | Value::Array(_)) {
        return None;
    }
    Some(type_error(path, wanted, found))
}

fn type_error(path: &str, wanted: &str, found: &str) -> Error {
    let text = format!("{path} in body must be of type {wanted}: {found:?}");
    Error::type_invalid(&place(path), found, text)
}

fn is_whole(number: &serde_json::Number) -> bool {
    number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

fn invalid(path: &str, value: Value, what: String) -> Error {
    Error::invalid(&place(path), value, format!("{path} in body {what}"))
}

/// `anyOf`, `oneOf`, `allOf` and `not`. What is wrong with them has no place of its own.
fn alternatives(value: &Value, schema: &Structural, old: Option<&Value>, path: &str) -> Outcome {
    let rules = &schema.rules;
    let mut outcome = Outcome { errors: Vec::new(), matches: 1 };
    let none = |text: String| Error::invalid(&Path::root(), "", format!("{path:?} must {text}"));
    if !rules.any_of.is_empty() {
        let (fitting, best) = best_of(value, &rules.any_of, path);
        if fitting == 0 {
            outcome.errors.push(none("validate at least one schema (anyOf)".to_owned()));
        }
        outcome.merge(best);
    }
    if !rules.one_of.is_empty() {
        let (fitting, best) = best_of(value, &rules.one_of, path);
        if fitting != 1 {
            let found = match fitting {
                0 => "Found none valid".to_owned(),
                several => format!("Found {several} valid alternatives"),
            };
            let text = format!("validate one and only one schema (oneOf). {found}");
            outcome.errors.push(none(text));
        }
        outcome.merge(best);
    }
    if !rules.all_of.is_empty() {
        let mut fitting = 0;
        for part in &rules.all_of {
            let result = check(value, part, old, path);
            fitting += usize::from(result.fits());
            outcome.merge(result);
        }
        if fitting < rules.all_of.len() {
            let found = if fitting == 0 { ". None validated" } else { "" };
            outcome.errors.push(none(format!("validate all the schemas (allOf){found}")));
        }
    }
    if let Some(not) = &rules.not
        && check(value, not, None, path).fits()
    {
        outcome.errors.push(none("not validate the schema (not)".to_owned()));
    }
    outcome
}

/// How many of the alternatives hold, and what the one that comes closest says.
fn best_of(value: &Value, alternatives: &[Structural], path: &str) -> (usize, Outcome) {
    let mut fitting = 0;
    let mut best_fitting: Option<Outcome> = None;
    let mut best_failing: Option<Outcome> = None;
    for alternative in alternatives {
        let outcome = check(value, alternative, None, path);
        let best = match outcome.fits() {
            true => {
                fitting += 1;
                &mut best_fitting
            }
            false => &mut best_failing,
        };
        if best.as_ref().is_none_or(|best| outcome.matches > best.matches) {
            *best = Some(outcome);
        }
    }
    (fitting, best_fitting.or(best_failing).unwrap_or_default())
}

fn wrong_text(text: &str, schema: &Structural, path: &str) -> Option<Error> {
    let rules = &schema.rules;
    if rules.max_length.is_none() && rules.min_length.is_none() && rules.pattern.is_none() {
        return None;
    }
    let length = text.chars().count() as u64;
    let value = || Value::from(text);
    if let Some(max) = rules.max_length.filter(|max| length > *max) {
        return Some(Error::too_long(&place(path), max as usize));
    }
    if let Some(min) = rules.min_length.filter(|min| length < *min) {
        return Some(invalid(path, value(), format!("should be at least {min} chars long")));
    }
    let pattern = rules.pattern.as_ref().filter(|pattern| !pattern.is_match(text))?;
    Some(invalid(path, value(), format!("should match '{}'", pattern.as_str())))
}

fn wrong_format(text: &str, schema: &Structural, path: &str) -> Option<Error> {
    let format = schema.rules.format.as_str();
    if format.is_empty() || format::check(format, text) != Some(false) {
        return None;
    }
    let detail = format!("{path} in body must be of type {format}: {text:?}");
    Some(Error::type_invalid(&place(path), text, detail))
}

fn wrong_number(value: &Value, schema: &Structural, path: &str) -> Vec<Error> {
    let rules = &schema.rules;
    let Some(number) = value.as_f64() else { return Vec::new() };
    let mut errors = Vec::new();
    let mut refuse = |what: &str, bound: f64| {
        errors.push(invalid(path, value.clone(), format!("should be {what} {}", go_float(bound))));
    };
    if let Some(factor) = rules.multiple_of.filter(|factor| (number / factor).fract() != 0.0) {
        refuse("a multiple of", factor);
    }
    if let Some(max) = rules.maximum {
        if rules.exclusive_maximum && number >= max {
            refuse("less than", max);
        } else if number > max {
            refuse("less than or equal to", max);
        }
    }
    if let Some(min) = rules.minimum {
        if rules.exclusive_minimum && number <= min {
            refuse("greater than", min);
        } else if number < min {
            refuse("greater than or equal to", min);
        }
    }
    errors
}

/// A number as Go prints it: with an exponent from a million on.
fn go_float(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 || (1e-4..1e6).contains(&size) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn not_listed(value: &Value, schema: &Structural, path: &str) -> Option<Error> {
    let values = &schema.rules.values;
    if values.is_empty() || values.iter().any(|known| same(known, value)) {
        return None;
    }
    let texts: Vec<String> = values
        .iter()
        .map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        })
        .collect();
    Some(Error::not_supported(&place(path), value.clone(), &texts))
}

fn list(items: &[Value], schema: &Structural, old: Option<&Value>, path: &str) -> Outcome {
    let rules = &schema.rules;
    let mut outcome = Outcome { errors: Vec::new(), matches: 1 };
    if let Some(schema_of_items) = &schema.items {
        let old = old.and_then(Value::as_array).filter(|_| schema.list_type == Some(ListType::Map));
        let old = old.map(|old| Keyed::new(old, &schema.list_keys));
        for (at, item) in items.iter().enumerate() {
            let old = old.as_ref().and_then(|old| old.find(item));
            outcome.merge(check(item, schema_of_items, old, &format!("{path}[{at}]")));
        }
    }
    let size = items.len() as u64;
    if let Some(min) = rules.min_items.filter(|min| size < *min) {
        outcome.errors.push(invalid(
            path,
            size.into(),
            format!("should have at least {min} items"),
        ));
    }
    if let Some(max) = rules.max_items.filter(|max| size > *max) {
        outcome.errors.push(Error::too_many(&place(path), items.len(), max as usize));
    }
    let repeats = |at: usize| items[..at].iter().any(|before| same(before, &items[at]));
    if rules.unique_items && (1..items.len()).any(repeats) {
        let value = Value::from("");
        outcome.errors.push(invalid(path, value, "shouldn't contain duplicates".to_owned()));
    }
    outcome
}

fn object(
    members: &serde_json::Map<String, Value>,
    schema: &Structural,
    old: Option<&Value>,
    path: &str,
) -> Outcome {
    let rules = &schema.rules;
    let mut outcome = Outcome { errors: Vec::new(), matches: 1 };
    let size = members.len() as u64;
    if let Some(min) = rules.min_properties.filter(|min| size < *min) {
        let text = format!("should have at least {min} properties");
        outcome.errors.push(invalid(path, size.into(), text));
        return outcome;
    }
    if let Some(max) = rules.max_properties.filter(|max| size > *max) {
        outcome.errors.push(Error::too_many(&place(path), members.len(), max as usize));
        return outcome;
    }
    let below = |name: &str| format!("{path}.{name}");
    for (name, member) in members {
        if schema.properties.contains_key(name) {
            continue;
        }
        match &schema.additional {
            Additional::Schema(values) => {
                let old = old.and_then(|old| old.get(name));
                outcome.merge(check(member, values, old, &below(name)));
            }
            Additional::Allowed(false) => {
                let text = format!("{path}.{name} in body is a forbidden property");
                outcome.errors.push(Error::invalid(&place(&below(name)), "", text));
            }
            Additional::Allowed(true) | Additional::Unsaid => {}
        }
    }
    for (name, property) in &schema.properties {
        if let Some(member) = members.get(name) {
            let old = old.and_then(|old| old.get(name));
            let path = if path.is_empty() { name.clone() } else { below(name) };
            outcome.merge(check(member, property, old, &path));
        }
    }
    for name in &rules.required {
        let has_default = || schema.properties.get(name).is_some_and(|p| p.default.is_some());
        if !members.contains_key(name) && !has_default() {
            outcome.errors.push(Error::required(&place(&below(name)), ""));
        }
    }
    outcome
}

#[cfg(test)]
mod tests;
