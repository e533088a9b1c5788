//! Label selectors of typed objects, ready to match.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as ApiSelector;
use machinery::selector::{Expression, LabelSelector, ParseError};

/// Compiles a selector; an absent one selects nothing, an empty one everything.
pub(crate) fn compile(selector: Option<&ApiSelector>) -> Result<LabelSelector, ParseError> {
    let Some(selector) = selector else { return Ok(LabelSelector::nothing()) };
    let labels = selector.match_labels.iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()));
    let none: &[String] = &[];
    let expressions = selector.match_expressions.iter().flatten().map(|e| Expression {
        key: &e.key,
        operator: &e.operator,
        values: e.values.as_deref().unwrap_or(none),
    });
    LabelSelector::from_parts(labels, expressions)
}

/// A selector that is a plain map, as Services and ReplicationControllers have; empty selects
/// nothing.
pub(crate) fn of_map(map: Option<&BTreeMap<String, String>>) -> LabelSelector {
    match map.filter(|m| !m.is_empty()) {
        None => LabelSelector::nothing(),
        Some(map) => LabelSelector::from_set(map.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
    }
}

/// Whether `selector` selects `labels`, which may be absent.
pub(crate) fn matches(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    static EMPTY: BTreeMap<String, String> = BTreeMap::new();
    selector.matches(labels.unwrap_or(&EMPTY))
}
