//! What a Pod requests must be free; emptier nodes are liked better (LeastAllocated).

use std::borrow::Cow;

use crate::cluster::{Cluster, NodeInfo};
use crate::events::{Change, Events};
use crate::framework::{Filter, MAX_SCORE, Plugin, PreFilter, Rejection, Score, Verdict};
use crate::objects::Pod;

pub(super) struct Fit;

#[derive(Clone)]
struct Check<'a> {
    pod: &'a Pod,
}

impl Plugin for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn unblocked_by(&self) -> Events {
        Events::NODE_ADD.or(Events::NODE_ALLOCATABLE).or(Events::POD_GONE).or(Events::POD_SHRUNK)
    }

    fn hint(&self, pod: &Pod, change: &Change<'_>) -> bool {
        let Some(node) = change.node() else {
            return true;
        };
        pod.requests.milli_cpu <= node.allocatable.milli_cpu
            && pod.requests.memory <= node.allocatable.memory
    }

    fn pre_filter<'a>(&self, pod: &'a Pod, _cluster: &'a Cluster) -> PreFilter<'a> {
        PreFilter::Check(Box::new(Check { pod }))
    }

    fn pre_score<'a>(
        &self,
        pod: &'a Pod,
        _cluster: &'a Cluster,
        _feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        Some(Box::new(Check { pod }))
    }
}

impl Filter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        let (want, have, used) = (&self.pod.requests, &node.node.allocatable, &node.requested);
        let full = node.pods.len() as i64 + 1 > have.pods;
        let short = |want: i64, have: i64, used: i64| want > 0 && want > have - used;
        if !full
            && !short(want.milli_cpu, have.milli_cpu, used.milli_cpu)
            && !short(want.memory, have.memory, used.memory)
            && !short(want.ephemeral_storage, have.ephemeral_storage, used.ephemeral_storage)
            && want.scalar.iter().all(|(n, w)| !short(*w, have.scalar(n), used.scalar(n)))
        {
            return Ok(());
        }
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        // More than the whole node has cannot be mended by removing Pods.
        let mut resolvable = true;
        if full {
            reasons.push("Too many pods".into());
        }
        let mut look = |name: &str, want: i64, have: i64, used: i64| {
            if short(want, have, used) {
                resolvable &= want <= have;
                reasons.push(match name {
                    "cpu" => "Insufficient cpu".into(),
                    "memory" => "Insufficient memory".into(),
                    _ => format!("Insufficient {name}").into(),
                });
            }
        };
        look("cpu", want.milli_cpu, have.milli_cpu, used.milli_cpu);
        look("memory", want.memory, have.memory, used.memory);
        let storage = (want.ephemeral_storage, have.ephemeral_storage, used.ephemeral_storage);
        look("ephemeral-storage", storage.0, storage.1, storage.2);
        for (name, amount) in &want.scalar {
            look(name, *amount, have.scalar(name), used.scalar(name));
        }
        Err(Rejection { resolvable, reasons })
    }

    fn duplicate<'s>(&'s self) -> Box<dyn Filter + 's> {
        Box::new(self.clone())
    }
}

impl Score for Check<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        let have = &node.node.allocatable;
        let left = |capacity: i64, used: i64| {
            if capacity == 0 || used > capacity {
                0
            } else {
                (capacity - used) * MAX_SCORE / capacity
            }
        };
        let mut score = 0;
        let mut weights = 0;
        for (capacity, used) in [
            (have.milli_cpu, node.nonzero_cpu + self.pod.nonzero_cpu),
            (have.memory, node.nonzero_memory + self.pod.nonzero_memory),
        ] {
            if capacity > 0 {
                score += left(capacity, used);
                weights += 1;
            }
        }
        if weights == 0 { 0 } else { score / weights }
    }
}
