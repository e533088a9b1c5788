//! Pod topology spread constraints, and upstream's default ones for Pods of a Service or workload.
//! <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::node_affinity::admits;
use super::{keeps_away, tolerates};
use crate::cluster::{Cluster, NodeInfo};
use crate::events::Events;
use crate::framework::{Filter, MAX_SCORE, Plugin, PreFilter, Rejection, Score, Verdict};
use crate::objects::{Pod, Spread};

const HOSTNAME: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(super) struct PodTopologySpread;

impl Plugin for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn unblocked_by(&self) -> Events {
        Events::NODE_ADD
            .or(Events::NODE_LABELS)
            .or(Events::NODE_TAINTS)
            .or(Events::POD_PLACED)
            .or(Events::POD_LABELS)
            .or(Events::POD_GONE)
    }

    fn pre_filter<'a>(&self, pod: &'a Pod, cluster: &'a Cluster) -> PreFilter<'a> {
        let hard: Vec<&Spread> = pod.spread.iter().filter(|c| c.hard).collect();
        if hard.is_empty() {
            return PreFilter::Skip;
        }
        PreFilter::Check(Box::new(Hard::new(pod, hard, cluster)))
    }

    fn pre_score<'a>(
        &self,
        pod: &'a Pod,
        cluster: &'a Cluster,
        feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        let soft: Vec<Cow<'a, Spread>> = if pod.spread.is_empty() {
            defaults(pod, cluster).into_iter().map(Cow::Owned).collect()
        } else {
            pod.spread.iter().filter(|c| !c.hard).map(Cow::Borrowed).collect()
        };
        if soft.is_empty() {
            return None;
        }
        Some(Box::new(Soft::new(pod, soft, cluster, feasible)))
    }

    fn weight(&self) -> i64 {
        2
    }
}

/// Upstream's system default: spread over hosts, less strictly over zones.
fn defaults(pod: &Pod, cluster: &Cluster) -> Vec<Spread> {
    let Some(selector) = cluster.default_selector(pod) else {
        return Vec::new();
    };
    [(HOSTNAME, 3), (ZONE, 5)]
        .map(|(key, max_skew)| Spread {
            max_skew,
            topology_key: key.to_owned(),
            hard: false,
            selector: selector.clone(),
            min_domains: 1,
            honor_affinity: true,
            honor_taints: false,
        })
        .into()
}

/// Whether the node's Pods count for the constraint.
fn counts(constraint: &Spread, pod: &Pod, node: &NodeInfo) -> bool {
    (!constraint.honor_affinity || admits(pod, &node.node))
        && (!constraint.honor_taints
            || node
                .node
                .taints
                .iter()
                .filter(|t| keeps_away(t))
                .all(|t| tolerates(&pod.tolerations, t)))
}

fn matching(constraint: &Spread, pod: &Pod, node: &NodeInfo) -> i64 {
    node.pods.iter().filter(|other| matches_one(constraint, pod, other)).count() as i64
}

fn matches_one(constraint: &Spread, pod: &Pod, other: &Pod) -> bool {
    !other.terminating()
        && other.namespace() == pod.namespace()
        && constraint.selector.matches(&other.labels())
}

/// The hard constraints, with the matching Pods of each domain.
#[derive(Clone)]
struct Hard<'a> {
    pod: &'a Pod,
    constraints: Vec<&'a Spread>,
    domains: Vec<HashMap<&'a str, i64>>,
    /// Whether the Pod itself matches, by constraint.
    own: Vec<i64>,
}

impl<'a> Hard<'a> {
    fn new(pod: &'a Pod, constraints: Vec<&'a Spread>, cluster: &'a Cluster) -> Self {
        let mut domains = vec![HashMap::new(); constraints.len()];
        for node in cluster.nodes() {
            // Nodes without all the labels are no candidates and their Pods do not count.
            if !constraints.iter().all(|c| node.node.label(&c.topology_key).is_some()) {
                continue;
            }
            for (constraint, domains) in constraints.iter().zip(&mut domains) {
                if let Some(domain) = node.node.label(&constraint.topology_key)
                    && counts(constraint, pod, node)
                {
                    *domains.entry(domain).or_insert(0) += matching(constraint, pod, node);
                }
            }
        }
        let own =
            constraints.iter().map(|c| i64::from(c.selector.matches(&pod.labels()))).collect();
        Hard { pod, constraints, domains, own }
    }
}

impl Filter for Hard<'_> {
    fn check(&self, node: &NodeInfo) -> Verdict {
        for ((constraint, domains), own) in
            self.constraints.iter().zip(&self.domains).zip(&self.own)
        {
            let Some(domain) = node.node.label(&constraint.topology_key) else {
                return Err(Rejection::unresolvable(
                    "node(s) didn't match pod topology spread constraints (missing required label)",
                ));
            };
            let least = if (domains.len() as i64) < constraint.min_domains {
                0
            } else {
                domains.values().copied().min().unwrap_or(0)
            };
            let here = domains.get(domain).copied().unwrap_or(0);
            if here + own - least > constraint.max_skew {
                let reason = "node(s) didn't match pod topology spread constraints";
                return Err(Rejection::resolvable(reason));
            }
        }
        Ok(())
    }

    fn shift(&mut self, other: &Pod, node: &NodeInfo, by: i64) {
        for (constraint, domains) in self.constraints.iter().zip(&mut self.domains) {
            if matches_one(constraint, self.pod, other)
                && counts(constraint, self.pod, node)
                && let Some(domain) = node.node.label(&constraint.topology_key)
                && let Some(count) = domains.get_mut(domain)
            {
                *count += by;
            }
        }
    }

    fn duplicate<'s>(&'s self) -> Box<dyn Filter + 's> {
        Box::new(self.clone())
    }
}

/// The soft constraints, with the matching Pods of each domain of the feasible nodes.
struct Soft<'a> {
    pod: &'a Pod,
    constraints: Vec<Cow<'a, Spread>>,
    domains: Vec<HashMap<&'a str, i64>>,
    weights: Vec<f64>,
    /// The Pod's own constraints: nodes without all the labels get no points.
    strict: bool,
    unlabelled: HashSet<&'a str>,
}

impl<'a> Soft<'a> {
    fn new(
        pod: &'a Pod,
        constraints: Vec<Cow<'a, Spread>>,
        cluster: &'a Cluster,
        feasible: &[usize],
    ) -> Self {
        let strict = !pod.spread.is_empty();
        let labelled = |node: &NodeInfo| {
            constraints.iter().all(|c| node.node.label(&c.topology_key).is_some())
        };
        let mut unlabelled = HashSet::new();
        let mut domains: Vec<HashMap<&str, i64>> = vec![HashMap::new(); constraints.len()];
        for at in feasible {
            let node = &cluster.nodes()[*at];
            if strict && !labelled(node) {
                unlabelled.insert(node.name());
                continue;
            }
            for (constraint, domains) in constraints.iter().zip(&mut domains) {
                // Counts of single hosts are looked up when the host is scored.
                if constraint.topology_key != HOSTNAME
                    && let Some(domain) = node.node.label(&constraint.topology_key)
                {
                    domains.insert(domain, 0);
                }
            }
        }
        let hosts = (feasible.len() - unlabelled.len()) as f64;
        let weights = constraints
            .iter()
            .zip(&domains)
            .map(|(c, d)| if c.topology_key == HOSTNAME { hosts } else { d.len() as f64 })
            .map(|size| (size + 2.0).ln())
            .collect();
        if domains.iter().any(|d| !d.is_empty()) {
            for node in cluster.nodes() {
                if strict && !labelled(node) {
                    continue;
                }
                for (constraint, domains) in constraints.iter().zip(&mut domains) {
                    if let Some(domain) = node.node.label(&constraint.topology_key)
                        && let Some(count) = domains.get_mut(domain)
                        && counts(constraint, pod, node)
                    {
                        *count += matching(constraint, pod, node);
                    }
                }
            }
        }
        Soft { pod, constraints, domains, weights, strict, unlabelled }
    }
}

/// The score of a node that gets no points whatever the others have.
const NO_POINTS: i64 = i64::MIN;

impl Score for Soft<'_> {
    fn score(&self, node: &NodeInfo) -> i64 {
        if self.strict && self.unlabelled.contains(node.name()) {
            return NO_POINTS;
        }
        let mut score = 0.0;
        for ((constraint, domains), weight) in
            self.constraints.iter().zip(&self.domains).zip(&self.weights)
        {
            let Some(domain) = node.node.label(&constraint.topology_key) else {
                continue;
            };
            let count = if constraint.topology_key == HOSTNAME {
                matching(constraint, self.pod, node)
            } else {
                domains.get(domain).copied().unwrap_or(0)
            };
            score += count as f64 * weight + (constraint.max_skew - 1) as f64;
        }
        score.round() as i64
    }

    fn normalize(&self, scores: &mut [i64]) {
        let pointed = || scores.iter().copied().filter(|s| *s != NO_POINTS);
        let (low, high) = (pointed().min().unwrap_or(0), pointed().max().unwrap_or(0));
        for score in scores {
            *score = match *score {
                NO_POINTS => 0,
                _ if high == 0 => MAX_SCORE,
                score => MAX_SCORE * (high + low - score) / high,
            };
        }
    }
}
