//! Rules for what tells the scheduler where a Pod may go.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;

use crate::cursor::{At, same};
use crate::object_meta;

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks tolerations.
pub(crate) fn tolerations(tolerations: &At<'_>, errors: &mut ErrorList) {
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
            _ => operator.unsupported(errors, &["Equal", "Exists"]),
        }
        effect.may_be_one_of(errors, &EFFECTS);
    }
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
            let mut error = Error::duplicate(&taint.path, taint.value.clone());
            error.detail = detail.to_owned();
            errors.push(error);
        }
    }
}

/// Checks a `meta/v1` LabelSelector.
pub(crate) fn label_selector(selector: &At<'_>, errors: &mut ErrorList) {
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
        for value in values.list() {
            value.form(errors, names::label_value);
        }
    }
}

/// Checks a selector of Nodes.
pub(crate) fn node_selector(selector: &At<'_>, errors: &mut ErrorList) {
    let terms = selector.get("nodeSelectorTerms");
    if terms.is_empty() {
        terms.required(errors, "must have at least one node selector term");
        return;
    }
    for term in terms.list() {
        node_selector_term(&term, true, errors);
    }
}

fn node_selector_term(term: &At<'_>, check_values: bool, errors: &mut ErrorList) {
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
        for value in values.list().filter(|_| check_values) {
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

/// Checks the three kinds of affinity.
pub(super) fn affinity(affinity: &At<'_>, errors: &mut ErrorList) {
    let node = affinity.get("nodeAffinity");
    let required = node.get("requiredDuringSchedulingIgnoredDuringExecution");
    if required.is_set() {
        node_selector(&required, errors);
    }
    for preferred in node.get("preferredDuringSchedulingIgnoredDuringExecution").list() {
        weight(&preferred.get("weight"), errors);
        node_selector_term(&preferred.get("preference"), false, errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pod = affinity.get(kind);
        for term in pod.get("requiredDuringSchedulingIgnoredDuringExecution").list() {
            pod_affinity_term(&term, errors);
        }
        for preferred in pod.get("preferredDuringSchedulingIgnoredDuringExecution").list() {
            weight(&preferred.get("weight"), errors);
            pod_affinity_term(&preferred.get("podAffinityTerm"), errors);
        }
    }
}

fn weight(weight: &At<'_>, errors: &mut ErrorList) {
    let n = weight.int_or_zero();
    if !(1..=100).contains(&n) {
        errors.push(Error::invalid(&weight.path, n, "must be in the range 1-100"));
    }
}

fn pod_affinity_term(term: &At<'_>, errors: &mut ErrorList) {
    label_selector(&term.get("labelSelector"), errors);
    label_selector(&term.get("namespaceSelector"), errors);
    for namespace in term.get("namespaces").items() {
        let name = namespace.as_str().unwrap_or_default();
        for message in names::dns1123_label(name) {
            errors.push(Error::invalid(&term.path.child("namespace"), name, message));
        }
    }
    let key = term.get("topologyKey");
    if key.is_empty() {
        key.required(errors, "can not be empty");
    }
    for message in names::qualified_name(key.str()) {
        errors.push(Error::invalid(&key.path, key.str(), message));
    }
}

/// Checks how a Pod's siblings are to be spread.
pub(super) fn topology_spread(constraints: &At<'_>, errors: &mut ErrorList) {
    for (i, constraint) in constraints.list().enumerate() {
        constraint.get("maxSkew").positive(errors);
        let key = constraint.get("topologyKey");
        if key.is_empty() {
            key.required(errors, "can not be empty");
        } else {
            key.form(errors, names::qualified_name);
        }
        let policy = constraint.get("whenUnsatisfiable");
        policy.may_be_one_of(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        if policy.is_empty() {
            policy.unsupported(errors, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        let domains = constraint.get("minDomains");
        if let Some(n) = domains.int() {
            if n <= 0 {
                domains.invalid(errors, "must be greater than zero");
            }
            if policy.str() != "DoNotSchedule" {
                let detail = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                    policy.str()
                );
                domains.invalid(errors, detail);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            constraint.get(field).may_be_one_of(errors, &["Honor", "Ignore"]);
        }
        label_selector(&constraint.get("labelSelector"), errors);
        let pair = |c: &At<'_>| {
            (c.get("topologyKey").str().to_owned(), c.get("whenUnsatisfiable").str().to_owned())
        };
        if constraints.list().take(i).any(|other| pair(&other) == pair(&constraint)) {
            let (key, policy) = pair(&constraint);
            let text = format!("{{{key}, {policy}}}");
            let path = constraint.path.child("{topologyKey, whenUnsatisfiable}");
            errors.push(Error::duplicate(&path, text));
        }
    }
}

/// Tolerations may be added, and their seconds changed; nothing else.
pub(super) fn only_added_tolerations(new: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
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
    tolerations(new, errors);
}
