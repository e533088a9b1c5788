//! Two Pods of a node cannot have the same host port.

use crate::cluster::{Cluster, NodeInfo};
use crate::events::{Change, Events};
use crate::framework::{Filter, Plugin, PreFilter, Rejection, Verdict};
use crate::objects::{HostPort, Pod};

pub(super) struct NodePorts;

#[derive(Clone)]
struct Check<'a> {
    wanted: &'a [HostPort],
}

const EVERYWHERE: &str = "0.0.0.0";

fn conflict(a: &HostPort, b: &HostPort) -> bool {
    a.port == b.port
        && a.protocol == b.protocol
        && (a.ip == b.ip || a.ip == EVERYWHERE || b.ip == EVERYWHERE)
}

impl Plugin for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn unblocked_by(&self) -> Events {
        Events::NODE_ADD.or(Events::POD_GONE)
    }

    fn hint(&self, pod: &Pod, change: &Change<'_>) -> bool {
        let Change::PodGone(gone) = change else {
            return true;
        };
        gone.host_ports.iter().any(|a| pod.host_ports.iter().any(|b| conflict(a, b)))
    }

    fn pre_filter<'a>(&self, pod: &'a Pod, _cluster: &'a Cluster) -> PreFilter<'a> {
        if pod.host_ports.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(Check { wanted: &pod.host_ports }))
    }
}

impl Filter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if self.wanted.iter().any(|want| node.ports.iter().any(|taken| conflict(want, taken))) {
            let reason = "node(s) didn't have free ports for the requested pod ports";
            return Err(Rejection::resolvable(reason));
        }
        Ok(())
    }

    fn duplicate<'s>(&'s self) -> Box<dyn Filter + 's> {
        Box::new(self.clone())
    }
}
