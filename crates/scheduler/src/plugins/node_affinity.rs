//! nodeSelector and node affinity.

use crate::cluster::{Cluster, NodeInfo};
use crate::events::{Change, Events};
use crate::framework::{Filter, Plugin, PreFilter, Rejection, Score, Verdict, normalize};
use crate::objects::{Node, Pod};

pub(super) struct NodeAffinity;

#[derive(Clone)]
struct Affinity<'a> {
    pod: &'a Pod,
}

/// Whether the Pod's nodeSelector and required node affinity admit the node.
pub(super) fn admits(pod: &Pod, node: &Node) -> bool {
    let selected = pod.node_selector.iter().all(|(k, v)| node.label(k) == Some(v));
    let required = pod.node_affinity.as_ref().and_then(|a| a.required.as_ref());
    selected && required.is_none_or(|terms| terms.iter().any(|t| t.matches(node)))
}

impl Plugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn unblocked_by(&self) -> Events {
        Events::NODE_ADD.or(Events::NODE_LABELS)
    }

    fn hint(&self, pod: &Pod, change: &Change<'_>) -> bool {
        change.node().is_none_or(|node| admits(pod, node))
    }

    fn pre_filter<'a>(&self, pod: &'a Pod, _cluster: &'a Cluster) -> PreFilter<'a> {
        let required = pod.node_affinity.as_ref().and_then(|a| a.required.as_ref());
        if pod.node_selector.is_empty() && required.is_none() {
            return PreFilter::Skip;
        }
        let check = Box::new(Affinity { pod });
        // Pods of DaemonSets name their node in each term: no other needs a look.
        let names: Option<Vec<&[String]>> =
            required.filter(|t| !t.is_empty()).and_then(|t| t.iter().map(|t| t.names()).collect());
        match names {
            Some(names) => {
                let mut names: Vec<&str> =
                    names.into_iter().flatten().map(String::as_str).collect();
                names.sort_unstable();
                names.dedup();
                PreFilter::Only(names, check)
            }
            None => PreFilter::Check(check),
        }
    }

    fn pre_score<'a>(
        &self,
        pod: &'a Pod,
        _cluster: &'a Cluster,
        _feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        let preferred = pod.node_affinity.as_ref().is_some_and(|a| !a.preferred.is_empty());
        preferred.then(|| Box::new(Affinity { pod }) as Box<dyn Score>)
    }

    fn weight(&self) -> i64 {
        2
    }
}

impl Filter for Affinity<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if admits(self.pod, &node.node) {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) didn't match Pod's node affinity/selector"))
    }

    fn duplicate<'s>(&'s self) -> Box<dyn Filter + 's> {
        Box::new(self.clone())
    }
}

impl Score for Affinity<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let preferred = self.pod.node_affinity.iter().flat_map(|a| &a.preferred);
        preferred.filter(|p| p.item.matches(&node.node)).map(|p| p.weight).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize(scores, false);
    }
}
