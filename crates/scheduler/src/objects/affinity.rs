//! Affinity terms and spread constraints, compiled.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use machinery::selector::{Expression, LabelSelector, Operator, Requirement};

use super::Node;

/// spec.affinity.nodeAffinity.
#[derive(Clone, Debug, Default)]
pub struct NodeAffinity {
    /// One of these must match; `None` when the Pod has no such rule.
    pub required: Option<Vec<NodeTerm>>,
    /// Matching ones add their weight.
    pub preferred: Vec<Weighted<NodeTerm>>,
}

/// A node selector term: all requirements must hold.
#[derive(Clone, Debug, Default)]
pub struct NodeTerm {
    /// On labels.
    pub labels: Vec<NodeRequirement>,
    /// On fields, of which metadata.name is the only one.
    pub fields: Vec<NodeRequirement>,
}

/// One requirement on a node.
#[derive(Clone, Debug)]
pub struct NodeRequirement {
    /// The label or field.
    pub key: String,
    /// In, NotIn, Exists, DoesNotExist, Gt or Lt.
    pub operator: String,
    /// What it is compared with.
    pub values: Vec<String>,
}

/// Something with a weight.
#[derive(Clone, Debug)]
pub struct Weighted<T> {
    /// 1 to 100.
    pub weight: i64,
    /// What is weighed.
    pub item: T,
}

/// spec.affinity.podAffinity and podAntiAffinity.
#[derive(Clone, Debug, Default)]
pub struct PodAffinity {
    /// Must share a domain with matching Pods.
    pub required: Vec<AffinityTerm>,
    /// Should.
    pub preferred: Vec<Weighted<AffinityTerm>>,
    /// Must not share a domain with matching Pods.
    pub required_anti: Vec<AffinityTerm>,
    /// Should not.
    pub preferred_anti: Vec<Weighted<AffinityTerm>>,
}

/// Which Pods, and over which node label.
#[derive(Clone, Debug)]
pub struct AffinityTerm {
    /// Namespaces by name.
    pub namespaces: Vec<String>,
    /// Namespaces by label.
    pub namespace_selector: LabelSelector,
    /// Pods by label.
    pub selector: LabelSelector,
    /// The node label whose values are the domains.
    pub topology_key: String,
}

/// A topology spread constraint.
#[derive(Clone, Debug)]
pub struct Spread {
    /// Largest allowed difference.
    pub max_skew: i64,
    /// The node label whose values are the domains.
    pub topology_key: String,
    /// DoNotSchedule rather than ScheduleAnyway.
    pub hard: bool,
    /// Which Pods count.
    pub selector: LabelSelector,
    /// Least number of domains.
    pub min_domains: i64,
    /// Nodes that the Pod's node affinity excludes do not count.
    pub honor_affinity: bool,
    /// Nodes with taints that the Pod does not tolerate do not count.
    pub honor_taints: bool,
}

// === impl NodeTerm ===

impl NodeTerm {
    pub(super) fn compile(term: api::NodeSelectorTerm) -> Self {
        let compile = |list: Option<Vec<api::NodeSelectorRequirement>>| {
            list.unwrap_or_default()
                .into_iter()
                .map(|r| NodeRequirement {
                    key: r.key,
                    operator: r.operator,
                    values: r.values.unwrap_or_default(),
                })
                .collect()
        };
        NodeTerm { labels: compile(term.match_expressions), fields: compile(term.match_fields) }
    }

    /// Whether the node satisfies all requirements; a term without any matches nothing.
    pub fn matches(&self, node: &Node) -> bool {
        if self.labels.is_empty() && self.fields.is_empty() {
            return false;
        }
        self.labels.iter().all(|r| r.matches(node.label(&r.key)))
            && self.fields.iter().all(|r| r.key == "metadata.name" && r.matches(Some(node.name())))
    }

    /// The node names that the term is limited to, if it names them.
    pub fn names(&self) -> Option<&[String]> {
        let by_name = |r: &&NodeRequirement| r.key == "metadata.name" && r.operator == "In";
        self.fields.iter().find(by_name).map(|r| r.values.as_slice())
    }
}

// === impl NodeRequirement ===

impl NodeRequirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|v| self.values.iter().any(|w| w == v));
        let compare = |want: fn(&i64, &i64) -> bool| {
            let number = |text: Option<&str>| text.and_then(|t| t.parse::<i64>().ok());
            match (number(value), number(self.values.first().map(String::as_str))) {
                (Some(have), Some(limit)) => want(&have, &limit),
                _ => false,
            }
        };
        match self.operator.as_str() {
            "In" => listed(),
            "NotIn" => !listed(),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "Gt" => compare(i64::gt),
            "Lt" => compare(i64::lt),
            _ => false,
        }
    }
}

// === impl NodeAffinity ===

impl NodeAffinity {
    pub(super) fn compile(affinity: api::NodeAffinity) -> Self {
        let required = affinity.required_during_scheduling_ignored_during_execution;
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution;
        NodeAffinity {
            required: required
                .map(|s| s.node_selector_terms.into_iter().map(NodeTerm::compile).collect()),
            preferred: preferred
                .unwrap_or_default()
                .into_iter()
                .map(|p| Weighted {
                    weight: i64::from(p.weight),
                    item: NodeTerm::compile(p.preference),
                })
                .collect(),
        }
    }
}

// === impl PodAffinity ===

impl PodAffinity {
    pub(super) fn compile(affinity: &mut api::Affinity, namespace: &str) -> Option<Box<Self>> {
        let term = |t| AffinityTerm::compile(t, namespace);
        let weighted = |w: api::WeightedPodAffinityTerm| Weighted {
            weight: i64::from(w.weight),
            item: term(w.pod_affinity_term),
        };
        let mut compiled = PodAffinity::default();
        if let Some(a) = affinity.pod_affinity.take() {
            let required = a.required_during_scheduling_ignored_during_execution;
            let preferred = a.preferred_during_scheduling_ignored_during_execution;
            compiled.required = required.unwrap_or_default().into_iter().map(term).collect();
            compiled.preferred = preferred.unwrap_or_default().into_iter().map(weighted).collect();
        }
        if let Some(a) = affinity.pod_anti_affinity.take() {
            let required = a.required_during_scheduling_ignored_during_execution;
            let preferred = a.preferred_during_scheduling_ignored_during_execution;
            compiled.required_anti = required.unwrap_or_default().into_iter().map(term).collect();
            compiled.preferred_anti =
                preferred.unwrap_or_default().into_iter().map(weighted).collect();
        }
        let empty = compiled.required.is_empty()
            && compiled.preferred.is_empty()
            && compiled.required_anti.is_empty()
            && compiled.preferred_anti.is_empty();
        (!empty).then(|| Box::new(compiled))
    }
}

// === impl AffinityTerm ===

impl AffinityTerm {
    fn compile(term: api::PodAffinityTerm, namespace: &str) -> Self {
        let mut namespaces = term.namespaces.unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(namespace.to_owned());
        }
        AffinityTerm {
            namespaces,
            namespace_selector: selector(term.namespace_selector.as_ref()),
            selector: selector(term.label_selector.as_ref()),
            topology_key: term.topology_key,
        }
    }
}

// === impl Spread ===

impl Spread {
    pub(super) fn compile(
        constraint: api::TopologySpreadConstraint,
        labels: Option<&BTreeMap<String, String>>,
    ) -> Self {
        let mut chosen = selector(constraint.label_selector.as_ref());
        let keys = constraint.match_label_keys.unwrap_or_default();
        let wanted: Vec<Requirement> = keys
            .iter()
            .filter_map(|key| Some((key, labels?.get(key)?)))
            .filter_map(|(key, value)| {
                Requirement::new(key, Operator::In, vec![value.clone()]).ok()
            })
            .collect();
        if !wanted.is_empty() {
            let all = chosen.requirements().iter().cloned().chain(wanted);
            chosen = LabelSelector::new(all.collect::<Vec<_>>());
        }
        Spread {
            max_skew: i64::from(constraint.max_skew),
            topology_key: constraint.topology_key,
            hard: constraint.when_unsatisfiable == "DoNotSchedule",
            selector: chosen,
            min_domains: i64::from(constraint.min_domains.unwrap_or(1)),
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}

/// A selector object compiled; one that does not parse selects nothing, as the API server lets none
/// through.
pub(super) fn selector(selector: Option<&meta::LabelSelector>) -> LabelSelector {
    let Some(selector) = selector else {
        return LabelSelector::nothing();
    };
    let none = Vec::new();
    let expressions = selector.match_expressions.iter().flatten().map(|e| Expression {
        key: &e.key,
        operator: &e.operator,
        values: e.values.as_ref().unwrap_or(&none),
    });
    let labels = selector.match_labels.iter().flatten().map(|(k, v)| (k.as_str(), v.as_str()));
    LabelSelector::from_parts(labels, expressions).unwrap_or_else(|_| LabelSelector::nothing())
}
