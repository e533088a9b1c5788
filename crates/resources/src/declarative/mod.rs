//! Rules that stand in the table of types as markers (`k8s:required`, `k8s:maxItems=8`, …), and
//! the fields that belong to features which are off.
//!
//! Rules that upstream runs only to compare them with written ones (`k8s:alpha(…)`) are left out:
//! clients see the written ones. As there, what an update leaves as it was is not checked again.

mod gates;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::schema::{Field, Kind, TypeRef};

pub(crate) use self::gates::drop_disabled;
pub use self::gates::follows as follows_feature;
use self::rule::{Rule, rules};
use crate::cursor::{At, same};
use crate::reach::Reach;

static NULL: Value = Value::Null;

/// Checks an object, or the change from `old` to it, by the markers of its type.
pub(crate) fn validate(new: &Value, old: Option<&Value>, ty: TypeRef<'_>, errors: &mut ErrorList) {
    if REACH.includes(ty) {
        members(&At::root(new), old, ty, errors);
    }
}

/// The types in which there is a marker that is acted on.
static REACH: LazyLock<Reach> = LazyLock::new(|| {
    Reach::new(|ty, field| gates::is_disabled(ty, field) || rules(field).next().is_some())
});

fn members(at: &At<'_>, old: Option<&Value>, ty: TypeRef<'_>, errors: &mut ErrorList) {
    union(at, ty, errors);
    for field in ty.fields() {
        let value = at.value.get(field.name()).unwrap_or(&NULL);
        let before = old.map(|old| old.get(field.name()).unwrap_or(&NULL));
        let at = At::new(value, at.path.child(field.name().to_owned()));
        if before.is_some_and(|before| same(value, before)) {
            continue;
        }
        if check(&at, before, field, errors) {
            below(&at, before, field.type_ref(), errors);
        }
    }
}

/// What is in a struct, list or map.
fn below(at: &At<'_>, old: Option<&Value>, ty: TypeRef<'_>, errors: &mut ErrorList) {
    match ty.kind() {
        Kind::Struct if at.value.is_object() && REACH.includes(ty) => members(at, old, ty, errors),
        Kind::List(item) if REACH.includes(item) => {
            for item_at in at.list() {
                // An item that was there before is checked by what it is now all the same, unless
                // it is unchanged.
                let was = old.and_then(Value::as_array).into_iter().flatten();
                if was.into_iter().any(|before| same(before, item_at.value)) {
                    continue;
                }
                below(&item_at, None, item, errors);
            }
        }
        Kind::Map(item) if REACH.includes(item) => {
            for (key, entry) in at.entries() {
                let before = old.and_then(|old| old.get(key));
                if before.is_none_or(|before| !same(before, entry.value)) {
                    below(&entry, before, item, errors);
                }
            }
        }
        _ => {}
    }
}

/// Checks one field by its own markers; says whether to go on with what is in it.
fn check(at: &At<'_>, old: Option<&Value>, field: Field<'_>, errors: &mut ErrorList) -> bool {
    let absent = if field.is_pointer() { !at.is_set() } else { at.is_empty() };
    let mut optional = false;
    for rule in rules(field) {
        match rule {
            Rule::Required if absent => {
                at.required(errors, "");
                return false;
            }
            Rule::Forbidden if !absent => {
                at.forbidden(errors, "");
                return false;
            }
            Rule::Immutable => {
                if let Some(old) = old
                    && !same(at.value, old)
                {
                    at.invalid(errors, "field is immutable");
                    return false;
                }
            }
            Rule::Optional => optional = true,
            _ => {}
        }
    }
    if absent && (optional || !at.is_set()) {
        return false;
    }
    for rule in rules(field) {
        one(at, rule, errors);
    }
    true
}

fn one(at: &At<'_>, rule: Rule<'_>, errors: &mut ErrorList) {
    match rule {
        Rule::Minimum(min) if at.int_or_zero() < min => {
            let detail = format!("must be greater than or equal to {min}");
            errors.push(Error::invalid(&at.path, at.int_or_zero(), detail));
        }
        Rule::Maximum(max) if at.int_or_zero() > max => {
            at.invalid(errors, format!("must be less than or equal to {max}"));
        }
        Rule::MaxItems(max) if at.len() > max => {
            errors.push(Error::too_many(&at.path, at.len(), max));
        }
        Rule::MaxLength(max) if at.str().chars().count() > max => {
            errors.push(Error::too_long_characters(&at.path, max));
        }
        Rule::MaxBytes(max) if at.str().len() > max => {
            errors.push(Error::too_long(&at.path, max));
        }
        Rule::Format(form) => {
            for message in form(at.str()) {
                at.invalid(errors, message);
            }
        }
        Rule::Keys(keys) => {
            let mut taken = BTreeSet::new();
            for item in at.list() {
                let key: Vec<String> = keys
                    .iter()
                    .map(|key| item.value.get(*key).unwrap_or(&NULL).to_string())
                    .collect();
                if !taken.insert(key) {
                    item.duplicate(errors);
                }
            }
        }
        _ => {}
    }
}

/// Of the members of a union exactly one is set.
fn union(at: &At<'_>, ty: TypeRef<'_>, errors: &mut ErrorList) {
    let names: Vec<&str> = ty
        .fields()
        .filter(|field| rules(*field).any(|rule| matches!(rule, Rule::UnionMember)))
        .map(Field::name)
        .collect();
    if names.is_empty() {
        return;
    }
    let set: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| at.value.get(*name).is_some_and(|value| !value.is_null()))
        .collect();
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let mut wrong = |value: String, detail: String| {
        let path: &Path = &at.path;
        errors.push(Error::invalid(path, value, detail));
    };
    match set.len() {
        1 => {}
        0 => wrong(String::new(), format!("must specify one of: {}", quoted.join(", "))),
        _ => wrong(
            format!("{{{}}}", set.join(", ")),
            format!("must specify exactly one of: {}", quoted.join(", ")),
        ),
    }
}
