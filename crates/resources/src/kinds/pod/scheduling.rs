//! Rules for what tells the scheduler where a Pod may go: tolerations of taints, and selectors of
//! labels and Nodes.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList, quote};
use machinery::names;

use crate::cursor::{At, same};
use crate::kinds::internal;
use crate::object_meta;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks tolerations.
pub(crate) fn tolerations(tolerations: &At<'_>, errors: &mut ErrorList) {
    tolerations_with(tolerations, false, errors);
}

/// Checks tolerations, which may compare numbers only where they did before.
pub(super) fn tolerations_with(tolerations: &At<'_>, numeric: bool, errors: &mut ErrorList) {
    for toleration in tolerations.list() {
        let (key, operator) = (toleration.get("key"), toleration.get("operator"));
        let (value, effect) = (toleration.get("value"), toleration.get("effect"));
        key.may_form(errors, names::qualified_name);
        if key.is_empty() && operator.str() != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.push(Error::invalid(&operator.path, operator.str(), detail));
        }
        if toleration.get("tolerationSeconds").is_set() && effect.str() != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.push(Error::invalid(&effect.path, effect.str(), detail));
        }
        match operator.str() {
            "" | "Equal" => {
                let messages = names::label_value(value.str());
                if !messages.is_empty() {
                    errors.push(Error::invalid(&operator.path, value.str(), messages.join(";")));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    errors.push(Error::invalid(&operator.path, value.str(), detail));
                }
            }
            "Lt" | "Gt" if numeric => whole_number(&value, errors),
            "Lt" | "Gt" => operator.unsupported(errors, &["Equal", "Exists", "Lt", "Gt"]),
            _ => operator.unsupported(errors, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            effect.may_be_one_of(errors, &EFFECTS);
        }
    }
}

/// A number as people write it, of 64 bits.
fn whole_number(value: &At<'_>, errors: &mut ErrorList) {
    let text = value.str();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number || digits.starts_with('0') && text != "0" {
        let detail = "must be a valid decimal integer in canonical form";
        errors.push(Error::invalid(&value.path, text, detail));
    }
    if text.parse::<i64>().is_err() {
        let why = if is_number { "value out of range" } else { "invalid syntax" };
        let detail = format!("strconv.ParseInt: parsing {}: {why}", quote(text));
        errors.push(Error::invalid(&value.path, text, detail));
    }
}

/// Whether tolerations compare numbers.
pub(super) fn are_numeric(tolerations: &At<'_>) -> bool {
    tolerations.list().any(|t| matches!(t.get("operator").str(), "Lt" | "Gt"))
}

/// Tolerations may be added, and their seconds changed; nothing else.
pub(super) fn only_added_tolerations(
    new: &At<'_>,
    old: &At<'_>,
    numeric: bool,
    errors: &mut ErrorList,
) {
    let without_seconds = |toleration: &Value| {
        let mut copy = toleration.clone();
        crate::cursor::remove(&mut copy, "tolerationSeconds");
        copy
    };
    for before in old.items() {
        let before = without_seconds(before);
        if !new.items().iter().any(|t| same(&without_seconds(t), &before)) {
            let detail = "existing toleration can not be modified except its tolerationSeconds";
            new.forbidden(errors, detail);
            return;
        }
    }
    tolerations_with(new, numeric, errors);
}

/// Checks taints of a Node.
pub(crate) fn taints(taints: &At<'_>, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for taint in taints.list() {
        let (key, effect) = (taint.get("key"), taint.get("effect"));
        for message in names::qualified_name(key.str()) {
            errors.push(Error::invalid(&key.path, key.str(), message));
        }
        let value = taint.get("value");
        let messages = names::label_value(value.str());
        if !messages.is_empty() {
            value.invalid(errors, messages.join(";"));
        }
        if effect.must(errors) {
            effect.may_be_one_of(errors, &EFFECTS);
        }
        if !taken.insert((key.str(), effect.str())) {
            let detail = "taints must be unique by key and effect pair";
            let shown = internal::form(taint.value, "Taint");
            let mut error = Error::duplicate(&taint.path, shown);
            error.detail = detail.to_owned();
            errors.push(error);
        }
    }
}

/// Checks a `meta/v1` LabelSelector.
pub(crate) fn label_selector(selector: &At<'_>, errors: &mut ErrorList) {
    label_selector_with(selector, true, errors);
}

/// Checks a `meta/v1` LabelSelector, the values of its requirements only if asked to.
pub(crate) fn label_selector_with(selector: &At<'_>, values_too: bool, errors: &mut ErrorList) {
    object_meta::labels(&selector.get("matchLabels"), errors);
    for requirement in selector.get("matchExpressions").list() {
        let (key, operator, values) =
            (requirement.get("key"), requirement.get("operator"), requirement.get("values"));
        match operator.str() {
            "In" | "NotIn" => {
                if values.is_empty() {
                    let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                    values.required(errors, detail);
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    let detail =
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    values.forbidden(errors, detail);
                }
            }
            other => {
                errors.push(Error::invalid(&operator.path, other, "not a valid selector operator"))
            }
        }
        for message in names::qualified_name(key.str()) {
            errors.push(Error::invalid(&key.path, key.str(), message));
        }
        for value in values.list().filter(|_| values_too) {
            value.form(errors, names::label_value);
        }
    }
}

/// Checks a selector of Nodes.
pub(crate) fn node_selector(selector: &At<'_>, errors: &mut ErrorList) {
    node_selector_with(selector, true, errors);
}

/// Checks a selector of Nodes, the values of its requirements only if asked to.
pub(crate) fn node_selector_with(selector: &At<'_>, values_too: bool, errors: &mut ErrorList) {
    let terms = selector.get("nodeSelectorTerms");
    if terms.is_empty() {
        terms.required(errors, "must have at least one node selector term");
        return;
    }
    for term in terms.list() {
        node_selector_term(&term, values_too, errors);
    }
}

/// Checks one term of a selector of Nodes.
pub(super) fn node_selector_term(term: &At<'_>, values_too: bool, errors: &mut ErrorList) {
    for requirement in term.get("matchExpressions").list() {
        let (operator, values) = (requirement.get("operator"), requirement.get("values"));
        match operator.str() {
            "In" | "NotIn" => {
                if values.is_empty() {
                    let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                    values.required(errors, detail);
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    let detail =
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    values.forbidden(errors, detail);
                }
            }
            "Gt" | "Lt" => {
                if values.len() != 1 {
                    let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                    values.required(errors, detail);
                }
            }
            other => {
                errors.push(Error::invalid(&operator.path, other, "not a valid selector operator"))
            }
        }
        let key = requirement.get("key");
        for message in names::qualified_name(key.str()) {
            errors.push(Error::invalid(&key.path, key.str(), message));
        }
        for value in values.list().filter(|_| values_too) {
            value.form(errors, names::label_value);
        }
    }
    for requirement in term.get("matchFields").list() {
        let (key, operator, values) =
            (requirement.get("key"), requirement.get("operator"), requirement.get("values"));
        match operator.str() {
            "In" | "NotIn" => {
                if values.len() != 1 {
                    let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                    values.required(errors, detail);
                }
            }
            other => {
                errors.push(Error::invalid(&operator.path, other, "not a valid selector operator"))
            }
        }
        if key.str() == "metadata.name" {
            for value in values.list() {
                value.form(errors, names::dns1123_subdomain);
            }
        } else {
            errors.push(Error::invalid(&key.path, key.str(), "not a valid field selector key"));
        }
    }
}

/// Whether a selector of Nodes asks for values that no label can have.
pub(crate) fn has_odd_values(selector: &At<'_>) -> bool {
    selector
        .get("nodeSelectorTerms")
        .list()
        .flat_map(|term| term.get("matchExpressions").list())
        .flat_map(|requirement| requirement.get("values").list())
        .any(|value| !names::label_value(value.str()).is_empty())
}
