//! Nodes whose CPU and memory would be used to a like degree are liked better.

use crate::cluster::{Cluster, NodeInfo};
use crate::framework::{MAX_SCORE, Plugin, Score};
use crate::objects::Pod;

pub(super) struct BalancedAllocation;

struct Balance<'a> {
    pod: &'a Pod,
}

impl Plugin for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn pre_score<'a>(
        &self,
        pod: &'a Pod,
        _cluster: &'a Cluster,
        _feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        // A Pod that requests nothing does not change the balance of any node.
        (!pod.best_effort).then(|| Box::new(Balance { pod }) as Box<dyn Score>)
    }
}

impl Score for Balance<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let have = &node.node.allocatable;
        let share = |used: i64, capacity: i64| {
            (capacity > 0).then(|| (used as f64 / capacity as f64).min(1.0))
        };
        let cpu = share(node.requested.milli_cpu + self.pod.requests.milli_cpu, have.milli_cpu);
        let memory = share(node.requested.memory + self.pod.requests.memory, have.memory);
        // The standard deviation of two numbers is half their distance.
        let deviation = match (cpu, memory) {
            (Some(cpu), Some(memory)) => ((cpu - memory) / 2.0).abs(),
            _ => 0.0,
        };
        ((1.0 - deviation) * MAX_SCORE as f64) as i64
    }
}
