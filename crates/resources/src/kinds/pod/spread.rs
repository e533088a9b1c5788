//! Rules for how a Pod's siblings are spread, and the keys of labels by which Pods of one revision
//! are told from those of another. KEP-895, KEP-3243, KEP-3633.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::{Value, meta, names};
use serde_json::json;

use super::affinity::{PREFERRED, REQUIRED};
use super::options::Options;
use super::scheduling::label_selector;
use crate::cursor::{At, items_mut};

const WHEN: [&str; 2] = ["DoNotSchedule", "ScheduleAnyway"];

/// Checks how a Pod's siblings are to be spread.
pub(super) fn check(constraints: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    for (i, constraint) in constraints.list().enumerate() {
        constraint.get("maxSkew").positive(errors);
        let (key, when) = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"));
        if key.is_empty() {
            key.required(errors, "can not be empty");
        }
        if !WHEN.contains(&when.str()) {
            when.unsupported(errors, &WHEN);
        }
        let repeats = |later: &Value| {
            let later = At::root(later);
            later.get("topologyKey").str() == key.str()
                && later.get("whenUnsatisfiable").str() == when.str()
        };
        if constraints.items()[i + 1..].iter().any(repeats) {
            let path = constraint.path.child("{topologyKey, whenUnsatisfiable}");
            let text = format!("{{{}, {}}}", key.str(), when.str());
            errors.push(Error::duplicate(&path, text));
        }
        min_domains(&constraint.get("minDomains"), when.str(), errors);
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = constraint.get(field);
            if policy.is_set() && !["Honor", "Ignore"].contains(&policy.str()) {
                policy.unsupported(errors, &["Honor", "Ignore"]);
            }
        }
        if options.older_spread_keys {
            older_match_label_keys(&constraint, errors);
        } else {
            match_label_keys(&constraint, errors);
        }
        if !options.odd_spread_selectors {
            label_selector(&constraint.get("labelSelector"), errors);
        }
    }
}

fn min_domains(domains: &At<'_>, when: &str, errors: &mut ErrorList) {
    if !domains.is_set() {
        return;
    }
    domains.positive(errors);
    if when != "DoNotSchedule" {
        let detail =
            format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
        domains.invalid(errors, detail);
    }
}

/// Checks `matchLabelKeys` and `mismatchLabelKeys` beside a `labelSelector`, which has the
/// requirements made of them already.
pub(super) fn match_label_keys(term: &At<'_>, errors: &mut ErrorList) {
    let (keys, others) = (term.get("matchLabelKeys"), term.get("mismatchLabelKeys"));
    let selector = term.get("labelSelector");
    for list in [&keys, &others] {
        if !list.is_empty() && !selector.is_set() {
            list.forbidden(errors, "must not be specified when labelSelector is not set");
            continue;
        }
        for key in list.list() {
            key.form(errors, names::qualified_name);
        }
    }
    let mut selected: BTreeSet<&str> =
        selector.get("matchLabels").entries().map(|(key, _)| key).collect();
    for requirement in selector.get("matchExpressions").list() {
        let key = requirement.get("key").str();
        let index = keys.items().iter().rposition(|k| k.as_str() == Some(key));
        if let Some(index) = index.filter(|_| selected.contains(key)) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(Error::invalid(&term.path.index(index), key, detail));
        }
        selected.insert(key);
    }
    for key in keys.list().filter(|key| others.items().contains(key.value)) {
        key.invalid(errors, "exists in both matchLabelKeys and mismatchLabelKeys");
    }
}

/// The rule for `matchLabelKeys` of constraints from before their requirements were made part of
/// the selector.
fn older_match_label_keys(constraint: &At<'_>, errors: &mut ErrorList) {
    let (keys, selector) = (constraint.get("matchLabelKeys"), constraint.get("labelSelector"));
    if keys.is_empty() {
        return;
    }
    if !selector.is_set() {
        keys.forbidden(errors, "must not be specified when labelSelector is not set");
    }
    let labels = selector.get("matchLabels");
    let mut selected: BTreeSet<&str> = labels.entries().map(|(key, _)| key).collect();
    let requirements = selector.get("matchExpressions");
    selected.extend(requirements.list().map(|requirement| requirement.get("key").str()));
    for key in keys.list() {
        key.form(errors, names::qualified_name);
        if selected.contains(key.str()) {
            key.invalid(errors, "exists in both matchLabelKeys and labelSelector");
        }
    }
}

/// Whether the keys of some constraint are not what they may be for new Pods.
pub(super) fn has_odd_keys(constraints: &At<'_>) -> bool {
    let mut errors = ErrorList::new();
    for constraint in constraints.list() {
        match_label_keys(&constraint, &mut errors);
    }
    !errors.is_empty()
}

/// Whether the selector of some constraint is not what it may be for new Pods.
pub(super) fn has_odd_selectors(constraints: &At<'_>) -> bool {
    let mut errors = ErrorList::new();
    for constraint in constraints.list() {
        label_selector(&constraint.get("labelSelector"), &mut errors);
    }
    !errors.is_empty()
}

/// Makes requirements of the Pod's own values of the labels that are named beside selectors.
pub(super) fn merge_label_keys(pod: &mut Value) {
    let labels = meta::labels(pod).cloned().unwrap_or_default();
    let merge = |term: &mut Value| {
        if !term.get("labelSelector").is_some_and(Value::is_object) {
            return;
        }
        for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
            let keys = term.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
            for key in keys {
                let Some(value) = key.as_str().and_then(|key| labels.get(key)) else { continue };
                let made = json!({"key": key, "operator": operator, "values": [value]});
                let requirements = &mut term["labelSelector"]["matchExpressions"];
                match requirements.as_array_mut() {
                    Some(requirements) => requirements.push(made),
                    None => *requirements = json!([made]),
                }
            }
        }
    };
    let Some(spec) = pod.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pointer = format!("/affinity/{kind}");
        let Some(affinity) = spec.pointer_mut(&pointer) else { continue };
        for preferred in items_mut(affinity, PREFERRED) {
            preferred.get_mut("podAffinityTerm").into_iter().for_each(merge);
        }
        items_mut(affinity, REQUIRED).iter_mut().for_each(merge);
    }
    items_mut(spec, "topologySpreadConstraints").iter_mut().for_each(merge);
}
