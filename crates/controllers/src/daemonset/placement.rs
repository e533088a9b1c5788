//! On which nodes a daemon belongs, and the Pod that is made for a node. Pure.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Toleration,
};

use crate::history::REVISION_LABEL;
use crate::object::{Meta, controller_reference};
use crate::{pods, scheduling};

const GENERATION_LABEL: &str = "pod-template-generation";
const GENERATION_ANNOTATION: &str = "deprecated.daemonset.template.generation";
const NAME_FIELD: &str = "metadata.name";

/// Whether a daemon is to be started on a node, and whether one may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fit {
    pub(super) should_run: bool,
    pub(super) may_stay: bool,
}

/// Judges a node by name, selector, affinity and taints.
pub(super) fn fit(set: &DaemonSet, node: &Node) -> Fit {
    let no = Fit { should_run: false, may_stay: false };
    let Some(template) = set.spec.as_ref().and_then(|s| s.template.spec.as_ref()) else {
        return no;
    };
    let named = template.node_name.as_deref().filter(|n| !n.is_empty());
    if named.is_some_and(|name| name != node.nm()) || !scheduling::matches_node(template, node) {
        return no;
    }
    let tolerations = tolerations(template);
    let untolerated = |effects: &[&str]| {
        scheduling::taints(node)
            .iter()
            .filter(|taint| effects.contains(&taint.effect.as_str()))
            .any(|taint| !tolerations.iter().any(|t| scheduling::tolerates(t, taint)))
    };
    if untolerated(&["NoSchedule", "NoExecute"]) {
        return Fit { should_run: false, may_stay: !untolerated(&["NoExecute"]) };
    }
    Fit { should_run: true, may_stay: true }
}

/// The template's tolerations and those that every daemon has: troubles of a node are no reason
/// for what serves the node to leave it.
pub(super) fn tolerations(template: &PodSpec) -> Vec<Toleration> {
    let mut all = template.tolerations.clone().unwrap_or_default();
    let mut every = vec![
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    if template.host_network == Some(true) {
        every.push(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    }
    for (key, effect) in every {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        if !all.contains(&toleration) {
            all.push(toleration);
        }
    }
    all
}

/// The Pod for one node; the scheduler binds it, affinity leaves it no choice.
pub(super) fn pod_for(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let mut pod = pods::from_template(&template, set.ns(), controller_reference(set));
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(REVISION_LABEL.to_owned(), hash.to_owned());
    if let Some(generation) = set.annotation(GENERATION_ANNOTATION) {
        labels.insert(GENERATION_LABEL.to_owned(), generation.to_owned());
    }
    let spec = pod.spec.get_or_insert_default();
    spec.tolerations = Some(tolerations(spec));
    let affinity = spec.affinity.get_or_insert_default().node_affinity.get_or_insert_default();
    pin(affinity, node);
    pod
}

fn pin(affinity: &mut NodeAffinity, node: &str) {
    let by_name = vec![NodeSelectorRequirement {
        key: NAME_FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    }];
    let required = &mut affinity.required_during_scheduling_ignored_during_execution;
    // Other terms were judged when the node was chosen; a term that names it is as good.
    *required = Some(NodeSelector {
        node_selector_terms: vec![NodeSelectorTerm {
            match_fields: Some(by_name),
            match_expressions: None,
        }],
    });
}

/// The node that a daemon is on or meant for.
pub(super) fn node_of(pod: &Pod) -> Option<&str> {
    pods::node_name(pod).or_else(|| {
        let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
        required.node_selector_terms.iter().find_map(|term| {
            let field = term.match_fields.iter().flatten().find(|f| f.key == NAME_FIELD)?;
            match field.values.as_deref() {
                Some([only]) if field.operator == "In" => Some(only.as_str()),
                _ => None,
            }
        })
    })
}
