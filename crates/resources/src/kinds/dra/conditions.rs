//! Conditions that devices wait for before Pods are bound.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;

use super::forms;
use crate::cursor::At;

const MAX_CONDITIONS: usize = 4;

/// Checks the conditions of a device, or of a result: those of failure differ from the others, and
/// one kind does not come without the other.
pub(super) fn check(of: &At<'_>, errors: &mut ErrorList) {
    let (wanted, failed) = (of.get("bindingConditions"), of.get("bindingFailureConditions"));
    for list in [&wanted, &failed] {
        forms::items(list, MAX_CONDITIONS, errors, |condition, errors| {
            condition.form(errors, names::qualified_name);
        });
    }
    forms::duplicates(&wanted, errors, |item| (forms::text_key(item), item.value.clone()));
    let mut taken = BTreeSet::new();
    for condition in failed.list() {
        if !taken.insert(condition.str()) {
            condition.duplicate(errors);
        }
        if wanted.items().contains(condition.value) {
            let detail = "bindingFailureConditions must not overlap with bindingConditions";
            condition.invalid(errors, detail);
        }
    }
    for (missing, other, detail) in [
        (&wanted, &failed, "bindingConditions are required to use bindingFailureConditions"),
        (&failed, &wanted, "bindingFailureConditions are required to use bindingConditions"),
    ] {
        if missing.is_empty() && !other.is_empty() {
            errors.push(Error::invalid(&missing.path, Value::Null, detail));
        }
    }
}
