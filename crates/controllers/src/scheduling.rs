//! Taints, tolerations and node affinity, as far as controllers decide by them.

use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Taint, Toleration,
};

use crate::object::Meta;

/// Whether a toleration covers a taint.
pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let blank = |text: &Option<String>| text.as_deref().unwrap_or_default().is_empty();
    if !blank(&toleration.effect) && toleration.effect.as_deref() != Some(&taint.effect) {
        return false;
    }
    let exists = toleration.operator.as_deref() == Some("Exists");
    if blank(&toleration.key) {
        return exists;
    }
    if toleration.key.as_deref() != Some(&taint.key) {
        return false;
    }
    exists
        || toleration.value.as_deref().unwrap_or_default()
            == taint.value.as_deref().unwrap_or_default()
}

/// The taints of a node.
pub(crate) fn taints(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

/// Whether the node is one that the Pod's selector and required affinity allow.
pub(crate) fn matches_node(spec: &PodSpec, node: &Node) -> bool {
    let selected =
        spec.node_selector.iter().flatten().all(|(key, value)| node.label(key) == Some(value));
    if !selected {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let required =
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|r| r.node_selector_terms.iter().any(|term| matches_term(term, node)))
}

/// A term without requirements matches nothing.
fn matches_term(term: &NodeSelectorTerm, node: &Node) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|r| matches_requirement(r, node.label(&r.key)))
        && fields.iter().all(|r| {
            let value = (r.key == "metadata.name").then(|| node.nm());
            matches_requirement(r, value)
        })
}

fn matches_requirement(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|v| v == value));
    let compared = |test: fn(i64, i64) -> bool| {
        let bound = values.first().and_then(|v| v.parse().ok());
        let value = value.and_then(|v| v.parse().ok());
        matches!((value, bound), (Some(value), Some(bound)) if test(value, bound))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared(|value, bound| value > bound),
        "Lt" => compared(|value, bound| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: effect.into(),
            time_added: None,
        }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
        Toleration {
            key: text(key),
            operator: text(operator),
            value: text(value),
            effect: text(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn tolerations_cover_taints() {
        let t = taint("k", "v", "NoSchedule");
        for (toleration, covers) in [
            (toleration("", "Exists", "", ""), true),
            (toleration("k", "Exists", "", ""), true),
            (toleration("k", "", "v", "NoSchedule"), true),
            (toleration("k", "Equal", "w", ""), false),
            (toleration("k", "Exists", "", "NoExecute"), false),
            (toleration("x", "Exists", "", ""), false),
        ] {
            assert_eq!(tolerates(&toleration, &t), covers, "{toleration:?}");
        }
    }

    #[test]
    fn requirements_compare_labels() {
        let requirement = |operator: &str, values: &[&str]| NodeSelectorRequirement {
            key: "k".into(),
            operator: operator.into(),
            values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        };
        for (operator, values, label, fits) in [
            ("In", &["a", "b"][..], Some("a"), true),
            ("NotIn", &["a"][..], None, true),
            ("Exists", &[][..], None, false),
            ("DoesNotExist", &[][..], None, true),
            ("Gt", &["3"][..], Some("4"), true),
            ("Lt", &["3"][..], Some("x"), false),
        ] {
            assert_eq!(
                matches_requirement(&requirement(operator, values), label),
                fits,
                "{operator}"
            );
        }
    }
}
