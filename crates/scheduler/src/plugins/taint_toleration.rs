//! Taints keep Pods away that do not tolerate them; soft ones only make a node less liked.

use super::{keeps_away, tolerates};
use crate::cluster::{Cluster, NodeInfo};
use crate::events::{Change, Events};
use crate::framework::{Filter, Plugin, PreFilter, Rejection, Score, Verdict, normalize};
use crate::objects::{Node, Pod};

pub(super) struct TaintToleration;

#[derive(Clone)]
struct Tolerance<'a> {
    pod: &'a Pod,
}

impl Plugin for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn unblocked_by(&self) -> Events {
        Events::NODE_ADD.or(Events::NODE_TAINTS)
    }

    fn hint(&self, pod: &Pod, change: &Change<'_>) -> bool {
        change.node().is_none_or(|node| Tolerance { pod }.tolerates_all(node))
    }

    fn pre_filter<'a>(&self, pod: &'a Pod, _cluster: &'a Cluster) -> PreFilter<'a> {
        PreFilter::Check(Box::new(Tolerance { pod }))
    }

    fn pre_score<'a>(
        &self,
        pod: &'a Pod,
        cluster: &'a Cluster,
        feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        let soft = |at: &usize| cluster.nodes()[*at].node.taints.iter().any(|t| !keeps_away(t));
        // Without soft taints every node gets the same.
        feasible.iter().any(soft).then(|| Box::new(Tolerance { pod }) as Box<dyn Score>)
    }

    fn weight(&self) -> i64 {
        3
    }
}

impl Tolerance<'_> {
    fn tolerates_all(&self, node: &Node) -> bool {
        node.taints.iter().filter(|t| keeps_away(t)).all(|t| tolerates(&self.pod.tolerations, t))
    }
}

impl Filter for Tolerance<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if self.tolerates_all(&node.node) {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) had untolerated taint(s)"))
    }

    fn duplicate<'s>(&'s self) -> Box<dyn Filter + 's> {
        Box::new(self.clone())
    }
}

impl Score for Tolerance<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let tolerations = &self.pod.tolerations;
        let soft = node.node.taints.iter().filter(|t| t.effect == "PreferNoSchedule");
        soft.filter(|t| !tolerates(tolerations, t)).count() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize(scores, true);
    }
}
