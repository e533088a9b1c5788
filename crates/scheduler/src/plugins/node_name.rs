//! A Pod that names its node goes there and nowhere else.

use crate::cluster::{Cluster, NodeInfo};
use crate::events::Events;
use crate::framework::{Filter, Plugin, PreFilter, Rejection, Verdict};
use crate::objects::Pod;

pub(super) struct NodeName;

#[derive(Clone)]
struct Check<'a> {
    name: &'a str,
}

impl Plugin for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn unblocked_by(&self) -> Events {
        Events::NODE_ADD
    }

    fn pre_filter<'a>(&self, pod: &'a Pod, _cluster: &'a Cluster) -> PreFilter<'a> {
        match &pod.node_name {
            Some(name) => PreFilter::Check(Box::new(Check { name })),
            None => PreFilter::Skip,
        }
    }
}

impl Filter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if node.name() != self.name {
            return Err(Rejection::unresolvable("node(s) didn't match the requested node name"));
        }
        Ok(())
    }

    fn duplicate<'s>(&'s self) -> Box<dyn Filter + 's> {
        Box::new(self.clone())
    }
}
