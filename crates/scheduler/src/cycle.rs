//! One scheduling cycle: find the nodes that fit, score them, choose. Pure.

use std::collections::HashMap;

use crate::cluster::{Cluster, NodeInfo};
use crate::framework::{
    Filter, FitError, MAX_SCORE, Plugin, PluginSet, PreFilter, Rejection, Verdict,
};
use crate::objects::Pod;

/// In small clusters every node is looked at.
const MIN_FEASIBLE: usize = 100;
const MIN_PERCENTAGE: usize = 5;

/// The filters of one cycle with their plugins' places.
pub struct Filters<'a> {
    list: Vec<(usize, Box<dyn Filter + 'a>)>,
    /// Nodes that come into question, and the plugins that say so; `None` for all.
    only: Option<(Vec<usize>, Vec<&'static str>)>,
    only_by: PluginSet,
}

/// How many feasible nodes are enough: all in small clusters, down to 5 % in huge ones, as upstream.
pub fn enough(nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE {
        return nodes;
    }
    let percentage = 50_usize.saturating_sub(nodes / 125).max(MIN_PERCENTAGE);
    (nodes * percentage / 100).max(MIN_FEASIBLE)
}

/// Finds the best node for `pod`.
///
/// `start` is where looking begins, and is moved on so that all nodes get their turn; `draw(n)`
/// returns a number below `n`, which decides between equals.
///
/// # Errors
/// When no node fits.
pub fn schedule(
    plugins: &[Box<dyn Plugin>],
    pod: &Pod,
    cluster: &Cluster,
    start: &mut usize,
    draw: &mut dyn FnMut(usize) -> usize,
) -> Result<usize, FitError> {
    if cluster.nodes().is_empty() {
        return Err(FitError::default());
    }
    let filters = Filters::new(plugins, pod, cluster);
    let feasible = find(&filters, pod, cluster, start)?;
    if let [only] = feasible[..] {
        return Ok(only);
    }
    Ok(choose(plugins, pod, cluster, &feasible, draw))
}

/// The feasible nodes, at least one.
fn find(
    filters: &Filters<'_>,
    pod: &Pod,
    cluster: &Cluster,
    start: &mut usize,
) -> Result<Vec<usize>, FitError> {
    let nodes = cluster.nodes();
    // The node that preemption made room on is tried first, and taken if it fits.
    if let Some((at, node)) = pod.nominated_node.as_deref().and_then(|n| cluster.node(n))
        && filters.admits(at)
        && filters.check(pod, node, cluster).is_ok()
    {
        return Ok(vec![at]);
    }
    let mut error = FitError { total: nodes.len(), ..Default::default() };
    let mut feasible = Vec::new();
    let mut look =
        |at: usize, feasible: &mut Vec<usize>| match filters.check(pod, &nodes[at], cluster) {
            Ok(()) => feasible.push(at),
            Err((plugin, rejection)) => {
                error.plugins.insert(plugin);
                error.rejected.push((at, rejection));
            }
        };
    if let Some((only, _)) = &filters.only {
        for at in only {
            look(*at, &mut feasible);
        }
    } else {
        let wanted = enough(nodes.len());
        let mut processed = 0;
        for offset in 0..nodes.len() {
            look((*start + offset) % nodes.len(), &mut feasible);
            processed += 1;
            if feasible.len() >= wanted {
                break;
            }
        }
        *start = (*start + processed) % nodes.len();
    }
    if !feasible.is_empty() {
        return Ok(feasible);
    }
    if let Some((_, names)) = &filters.only {
        error.absent = Some(format!("node(s) didn't satisfy plugin(s) [{}]", names.join(" ")));
        error.plugins = error.plugins.union(filters.only_by);
    }
    Err(error)
}

fn choose(
    plugins: &[Box<dyn Plugin>],
    pod: &Pod,
    cluster: &Cluster,
    feasible: &[usize],
    draw: &mut dyn FnMut(usize) -> usize,
) -> usize {
    let mut totals = vec![0_i64; feasible.len()];
    let mut scores = Vec::with_capacity(feasible.len());
    for plugin in plugins {
        let Some(scorer) = plugin.pre_score(pod, cluster, feasible) else {
            continue;
        };
        scores.clear();
        scores.extend(feasible.iter().map(|at| scorer.score(&cluster.nodes()[*at])));
        scorer.normalize(&mut scores);
        for (total, score) in totals.iter_mut().zip(&scores) {
            debug_assert!((0..=MAX_SCORE).contains(score), "{}: {score}", plugin.name());
            *total += score * plugin.weight();
        }
    }
    let best = totals.iter().copied().max().unwrap_or(0);
    let equals = || feasible.iter().zip(&totals).filter(|(_, t)| **t == best).map(|(at, _)| *at);
    let chosen = draw(equals().count());
    equals().nth(chosen).unwrap_or(feasible[0])
}

// === impl Filters ===

impl<'a> Filters<'a> {
    /// Asks every plugin about the Pod.
    pub fn new(plugins: &[Box<dyn Plugin>], pod: &'a Pod, cluster: &'a Cluster) -> Self {
        let mut list = Vec::new();
        let mut only: Option<(Vec<usize>, Vec<&'static str>)> = None;
        let mut only_by = PluginSet::default();
        for (place, plugin) in plugins.iter().enumerate() {
            match plugin.pre_filter(pod, cluster) {
                PreFilter::Skip => {}
                PreFilter::Check(filter) => list.push((place, filter)),
                PreFilter::Only(names, filter) => {
                    list.push((place, filter));
                    let mut nodes: Vec<usize> =
                        names.iter().filter_map(|n| cluster.node(n)).map(|(at, _)| at).collect();
                    let (old, mut by) =
                        only.take().map_or((None, Vec::new()), |(n, b)| (Some(n), b));
                    if let Some(old) = old {
                        nodes.retain(|at| old.contains(at));
                    }
                    by.push(plugin.name());
                    only_by.insert(place);
                    only = Some((nodes, by));
                }
            }
        }
        Filters { list, only, only_by }
    }

    /// Whether the node comes into question at all.
    pub fn admits(&self, at: usize) -> bool {
        self.only.as_ref().is_none_or(|(nodes, _)| nodes.contains(&at))
    }

    /// Whether the Pod fits on `node`, also beside the Pods of at least its priority that are to get
    /// room there.
    pub fn check(
        &self,
        pod: &Pod,
        node: &NodeInfo,
        cluster: &Cluster,
    ) -> Result<(), (usize, Rejection)> {
        let nominated = cluster.nominated_on(node.name());
        let ahead =
            || nominated.iter().filter(|p| p.priority >= pod.priority && p.uid() != pod.uid());
        if ahead().next().is_some() {
            let mut crowded = node.clone();
            let mut what_if = self.duplicate();
            for other in ahead() {
                what_if.added(other, &crowded);
                crowded.add(std::sync::Arc::clone(other));
            }
            what_if.judge(&crowded)?;
        }
        self.judge(node)
    }

    /// Whether every filter lets the Pod onto the node as it is.
    pub fn judge(&self, node: &NodeInfo) -> Result<(), (usize, Rejection)> {
        for (place, filter) in &self.list {
            let verdict: Verdict = filter.check(node);
            verdict.map_err(|rejection| (*place, rejection))?;
        }
        Ok(())
    }

    /// Tells the filters that `pod` is now on `node`.
    pub fn added(&mut self, pod: &Pod, node: &NodeInfo) {
        self.list.iter_mut().for_each(|(_, filter)| filter.shift(pod, node, 1));
    }

    /// Tells the filters that `pod` is no longer on `node`.
    pub fn removed(&mut self, pod: &Pod, node: &NodeInfo) {
        self.list.iter_mut().for_each(|(_, filter)| filter.shift(pod, node, -1));
    }

    /// A copy for a what-if.
    pub fn duplicate(&self) -> Filters<'_> {
        Filters {
            list: self.list.iter().map(|(place, filter)| (*place, filter.duplicate())).collect(),
            only: self.only.clone(),
            only_by: self.only_by,
        }
    }
}

/// The rejections by node, for preemption.
pub(crate) fn by_node(error: &FitError) -> HashMap<usize, &Rejection> {
    error.rejected.iter().map(|(at, rejection)| (*at, rejection)).collect()
}
