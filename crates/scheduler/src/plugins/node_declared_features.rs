//! A node must declare the features that a Pod cannot do without (KEP-5328),
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/node-declared-features/>.

use crate::cluster::{Cluster, NodeInfo};
use crate::events::{Change, Events};
use crate::framework::{Filter, Plugin, PreFilter, Rejection, Verdict};
use crate::objects::{Node, Pod};

pub(super) struct NodeDeclaredFeatures;

#[derive(Clone)]
struct Check<'a> {
    pod: &'a Pod,
}

fn has_all(pod: &Pod, node: &Node) -> bool {
    pod.features.iter().all(|wanted| node.features.iter().any(|declared| declared == wanted))
}

impl Plugin for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }

    fn unblocked_by(&self) -> Events {
        Events::NODE_ADD.or(Events::NODE_FEATURES)
    }

    fn hint(&self, pod: &Pod, change: &Change<'_>) -> bool {
        change.node().is_none_or(|node| has_all(pod, node))
    }

    fn pre_filter<'a>(&self, pod: &'a Pod, _cluster: &'a Cluster) -> PreFilter<'a> {
        if pod.features.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(Check { pod }))
    }
}

impl Filter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if has_all(self.pod, &node.node) {
            return Ok(());
        }
        Err(Rejection::unresolvable("node(s) didn't match Pod's required features"))
    }

    fn duplicate<'s>(&'s self) -> Box<dyn Filter + 's> {
        Box::new(self.clone())
    }
}
