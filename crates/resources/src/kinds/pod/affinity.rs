//! Rules for affinity to Nodes and to other Pods.

use machinery::field::{Error, ErrorList};
use machinery::names;

use super::options::Options;
use super::scheduling::{label_selector_with, node_selector_term, node_selector_with};
use super::spread::match_label_keys;
use crate::cursor::At;

pub(super) const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
pub(super) const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Checks the three kinds of affinity.
pub(super) fn check(affinity: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    let node = affinity.get("nodeAffinity");
    let required = node.get(REQUIRED);
    if required.is_set() {
        node_selector_with(&required, !options.odd_node_values, errors);
    }
    for preferred in node.get(PREFERRED).list() {
        weight(&preferred.get("weight"), errors);
        node_selector_term(&preferred.get("preference"), false, errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pod = affinity.get(kind);
        for term in pod.get(REQUIRED).list() {
            pod_term(&term, options, errors);
        }
        for preferred in pod.get(PREFERRED).list() {
            weight(&preferred.get("weight"), errors);
            pod_term(&preferred.get("podAffinityTerm"), options, errors);
        }
    }
}

/// All terms about other Pods, in the order in which the server goes through them.
pub(super) fn pod_terms<'a>(affinity: &At<'a>) -> Vec<At<'a>> {
    let mut terms = Vec::new();
    for kind in ["podAffinity", "podAntiAffinity"] {
        let pod = affinity.get(kind);
        terms.extend(pod.get(PREFERRED).list().map(|term| term.get("podAffinityTerm")));
        terms.extend(pod.get(REQUIRED).list());
    }
    terms
}

/// Whether a selector of other Pods asks for values that no label can have.
pub(super) fn has_odd_values(affinity: &At<'_>) -> bool {
    pod_terms(affinity).iter().any(|term| {
        ["labelSelector", "namespaceSelector"].into_iter().any(|selector| {
            let requirements = term.get(selector).get("matchExpressions");
            requirements
                .list()
                .flat_map(|requirement| requirement.get("values").list())
                .any(|value| !names::label_value(value.str()).is_empty())
        })
    })
}

fn weight(weight: &At<'_>, errors: &mut ErrorList) {
    let n = weight.int_or_zero();
    if !(1..=100).contains(&n) {
        errors.push(Error::invalid(&weight.path, n, "must be in the range 1-100"));
    }
}

fn pod_term(term: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    label_selector_with(&term.get("labelSelector"), !options.odd_pod_values, errors);
    label_selector_with(&term.get("namespaceSelector"), !options.odd_pod_values, errors);
    for namespace in term.get("namespaces").items() {
        let name = namespace.as_str().unwrap_or_default();
        for message in names::dns1123_label(name) {
            errors.push(Error::invalid(&term.path.child("namespace"), name, message));
        }
    }
    match_label_keys(term, errors);
    let key = term.get("topologyKey");
    if key.is_empty() {
        key.required(errors, "can not be empty");
    }
    for message in names::qualified_name(key.str()) {
        errors.push(Error::invalid(&key.path, key.str(), message));
    }
}
