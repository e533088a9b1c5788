//! Cordoned nodes take no Pods, except those that tolerate the taint of that name.

use k8s_openapi::api::core::v1::Taint;

use super::tolerates;
use crate::cluster::{Cluster, NodeInfo};
use crate::events::{Change, Events};
use crate::framework::{Filter, Plugin, PreFilter, Rejection, Verdict};
use crate::objects::Pod;

pub(super) struct NodeUnschedulable;

#[derive(Clone)]
struct Check {
    tolerated: bool,
}

impl Plugin for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn unblocked_by(&self) -> Events {
        Events::NODE_ADD.or(Events::NODE_TAINTS)
    }

    fn hint(&self, _pod: &Pod, change: &Change<'_>) -> bool {
        change.node().is_none_or(|node| !node.unschedulable)
    }

    fn pre_filter<'a>(&self, pod: &'a Pod, _cluster: &'a Cluster) -> PreFilter<'a> {
        let taint = Taint {
            key: "node.kubernetes.io/unschedulable".to_owned(),
            effect: "NoSchedule".to_owned(),
            ..Default::default()
        };
        PreFilter::Check(Box::new(Check { tolerated: tolerates(&pod.tolerations, &taint) }))
    }
}

impl Filter for Check {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if node.node.unschedulable && !self.tolerated {
            return Err(Rejection::unresolvable("node(s) were unschedulable"));
        }
        Ok(())
    }

    fn duplicate<'s>(&'s self) -> Box<dyn Filter + 's> {
        Box::new(self.clone())
    }
}
