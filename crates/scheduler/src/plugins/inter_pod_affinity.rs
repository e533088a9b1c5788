//! Affinity and anti-affinity between Pods, in both directions.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity>

use std::collections::HashMap;

use crate::cluster::{Cluster, NodeInfo};
use crate::events::Events;
use crate::framework::{Filter, MAX_SCORE, Plugin, PreFilter, Rejection, Score, Verdict};
use crate::objects::{AffinityTerm, Pod};

/// How much a present Pod's required affinity counts when others are scored.
const HARD_WEIGHT: i64 = 1;

pub(super) struct InterPodAffinity;

/// Counts by node label and value.
type Domains = HashMap<(String, String), i64>;

/// Whether `term`, which belongs to some Pod, selects `pod`.
fn selects(term: &AffinityTerm, pod: &Pod, cluster: &Cluster) -> bool {
    let namespace = pod.namespace();
    let in_namespace = term.namespaces.iter().any(|n| n == namespace)
        || (!term.namespace_selector.is_nothing()
            && term.namespace_selector.matches(&cluster.namespace_labels(namespace)));
    in_namespace && term.selector.matches(&pod.labels())
}

fn count(domains: &mut Domains, node: &NodeInfo, key: &str, by: i64) {
    if let Some(value) = node.node.label(key) {
        *domains.entry((key.to_owned(), value.to_owned())).or_default() += by;
    }
}

fn counted(domains: &Domains, node: &NodeInfo, key: &str) -> i64 {
    let Some(value) = node.node.label(key) else {
        return 0;
    };
    domains.get(&(key.to_owned(), value.to_owned())).copied().unwrap_or(0)
}

impl Plugin for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn unblocked_by(&self) -> Events {
        Events::NODE_ADD
            .or(Events::NODE_LABELS)
            .or(Events::POD_PLACED)
            .or(Events::POD_LABELS)
            .or(Events::POD_GONE)
    }

    fn pre_filter<'a>(&self, pod: &'a Pod, cluster: &'a Cluster) -> PreFilter<'a> {
        let own = pod.pod_affinity.as_deref();
        let (affinity, anti) =
            own.map_or((&[][..], &[][..]), |a| (&a.required[..], &a.required_anti[..]));
        if affinity.is_empty() && anti.is_empty() && !cluster.has_affine_pods() {
            return PreFilter::Skip;
        }
        let mut check = Check {
            pod,
            cluster,
            affinity,
            anti,
            near: Domains::new(),
            far: Domains::new(),
            unwanted: Domains::new(),
        };
        for node in cluster.nodes() {
            let others =
                if affinity.is_empty() && anti.is_empty() { &node.affine } else { &node.pods };
            for other in others {
                check.shift(other, node, 1);
            }
        }
        if affinity.is_empty() && anti.is_empty() && check.unwanted.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(check))
    }

    fn pre_score<'a>(
        &self,
        pod: &'a Pod,
        cluster: &'a Cluster,
        _feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        let own = pod.pod_affinity.as_deref();
        let prefers = own.is_some_and(|a| !a.preferred.is_empty() || !a.preferred_anti.is_empty());
        if !prefers && !cluster.has_affine_pods() {
            return None;
        }
        let mut weights = Domains::new();
        for node in cluster.nodes() {
            let others = if prefers { &node.pods } else { &node.affine };
            for other in others {
                weigh(&mut weights, pod, other, node, cluster);
            }
        }
        (!weights.is_empty()).then(|| Box::new(Liking { weights }) as Box<dyn Score>)
    }

    fn weight(&self) -> i64 {
        2
    }
}

#[derive(Clone)]
struct Check<'a> {
    pod: &'a Pod,
    cluster: &'a Cluster,
    affinity: &'a [AffinityTerm],
    anti: &'a [AffinityTerm],
    /// Pods that all affinity terms select, per term's domain.
    near: Domains,
    /// Pods that an anti-affinity term selects.
    far: Domains,
    /// Pods whose anti-affinity selects the new Pod.
    unwanted: Domains,
}

impl Check<'_> {
    fn near_enough(&self, node: &NodeInfo) -> bool {
        let mut found = true;
        for term in self.affinity {
            if node.node.label(&term.topology_key).is_none() {
                return false;
            }
            found &= counted(&self.near, node, &term.topology_key) > 0;
        }
        // The first of a group whose members want to be near each other may go anywhere.
        found
            || (self.near.values().all(|n| *n <= 0)
                && self.affinity.iter().all(|term| selects(term, self.pod, self.cluster)))
    }
}

impl Filter for Check<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        if !self.near_enough(node) {
            return Err(Rejection::unresolvable("node(s) didn't match pod affinity rules"));
        }
        if self.anti.iter().any(|term| counted(&self.far, node, &term.topology_key) > 0) {
            return Err(Rejection::resolvable("node(s) didn't match pod anti-affinity rules"));
        }
        let unwanted = self
            .unwanted
            .iter()
            .any(|((key, value), n)| *n > 0 && node.node.label(key) == Some(value));
        if unwanted {
            let reason = "node(s) didn't satisfy existing pods anti-affinity rules";
            return Err(Rejection::resolvable(reason));
        }
        Ok(())
    }

    fn shift(&mut self, other: &Pod, node: &NodeInfo, by: i64) {
        let cluster = self.cluster;
        for term in other.pod_affinity.iter().flat_map(|a| &a.required_anti) {
            if selects(term, self.pod, cluster) {
                count(&mut self.unwanted, node, &term.topology_key, by);
            }
        }
        let all = !self.affinity.is_empty()
            && self.affinity.iter().all(|term| selects(term, other, cluster));
        for term in self.affinity.iter().filter(|_| all) {
            count(&mut self.near, node, &term.topology_key, by);
        }
        for term in self.anti.iter().filter(|term| selects(term, other, cluster)) {
            count(&mut self.far, node, &term.topology_key, by);
        }
    }

    fn duplicate<'s>(&'s self) -> Box<dyn Filter + 's> {
        Box::new(self.clone())
    }
}

struct Liking {
    weights: Domains,
}

/// Adds what `pod` and `other` (on `node`) think of being near each other.
fn weigh(weights: &mut Domains, pod: &Pod, other: &Pod, node: &NodeInfo, cluster: &Cluster) {
    if let Some(own) = pod.pod_affinity.as_deref() {
        for (terms, sign) in [(&own.preferred, 1), (&own.preferred_anti, -1)] {
            for term in terms.iter().filter(|t| selects(&t.item, other, cluster)) {
                count(weights, node, &term.item.topology_key, sign * term.weight);
            }
        }
    }
    if let Some(theirs) = other.pod_affinity.as_deref() {
        for term in theirs.required.iter().filter(|t| selects(t, pod, cluster)) {
            count(weights, node, &term.topology_key, HARD_WEIGHT);
        }
        for (terms, sign) in [(&theirs.preferred, 1), (&theirs.preferred_anti, -1)] {
            for term in terms.iter().filter(|t| selects(&t.item, pod, cluster)) {
                count(weights, node, &term.item.topology_key, sign * term.weight);
            }
        }
    }
}

impl Score for Liking {
    fn score(&self, node: &NodeInfo) -> i64 {
        let here =
            |((key, value), _): &(&(String, String), &i64)| node.node.label(key) == Some(value);
        self.weights.iter().filter(here).map(|(_, weight)| weight).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        let (low, high) =
            (scores.iter().copied().min().unwrap_or(0), scores.iter().copied().max().unwrap_or(0));
        for score in scores {
            *score = if high == low { 0 } else { MAX_SCORE * (*score - low) / (high - low) };
        }
    }
}
