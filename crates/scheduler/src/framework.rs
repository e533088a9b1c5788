//! What a plugin is, and how its verdicts become a message.
//!
//! A plugin looks at a Pod once per cycle and hands back an object that judges nodes, which holds
//! whatever it computed (upstream keeps that in an untyped cycle state). Nothing here does I/O.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::cluster::{Cluster, NodeInfo};
use crate::events::{Change, Events};
use crate::objects::Pod;

/// Highest score of a node before weights.
pub const MAX_SCORE: i64 = 100;

/// Why a node cannot take a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Whether removing Pods from the node could help.
    pub resolvable: bool,
    /// The reasons in upstream's words, counted over all nodes in the message.
    pub reasons: Vec<Cow<'static, str>>,
}

/// A judgement on one node.
pub type Verdict = Result<(), Rejection>;

/// What a plugin says before looking at nodes.
pub enum PreFilter<'a> {
    /// The plugin has nothing to say about this Pod.
    Skip,
    /// Nodes are judged by this object.
    Check(Box<dyn Filter + 'a>),
    /// The same, and only nodes of these names come into question.
    Only(Vec<&'a str>, Box<dyn Filter + 'a>),
}

/// A scheduling plugin.
pub trait Plugin: Send + Sync {
    /// Its name, upstream's.
    fn name(&self) -> &'static str;

    /// What could make a Pod schedulable that this plugin rejected.
    fn unblocked_by(&self) -> Events {
        Events::NONE
    }

    /// Whether this very change could. Asked only for changes of the kinds above.
    fn hint(&self, _pod: &Pod, _change: &Change<'_>) -> bool {
        true
    }

    /// Prepares filtering.
    fn pre_filter<'a>(&self, _pod: &'a Pod, _cluster: &'a Cluster) -> PreFilter<'a> {
        PreFilter::Skip
    }

    /// Prepares scoring of the feasible nodes; `None` to leave the scores alone.
    fn pre_score<'a>(
        &self,
        _pod: &'a Pod,
        _cluster: &'a Cluster,
        _feasible: &[usize],
    ) -> Option<Box<dyn Score + 'a>> {
        None
    }

    /// The weight of its scores.
    fn weight(&self) -> i64 {
        1
    }
}

/// Judges nodes for one Pod.
pub trait Filter {
    /// Whether the Pod can go there.
    fn check(&self, node: &NodeInfo) -> Verdict;

    /// Takes note, in a what-if, that `pod` is now on `node` (`by` is 1) or no longer (-1).
    fn shift(&mut self, _pod: &Pod, _node: &NodeInfo, _by: i64) {}

    /// A copy for a what-if of its own.
    fn duplicate<'s>(&'s self) -> Box<dyn Filter + 's>;
}

/// Scores nodes for one Pod.
pub trait Score {
    /// Higher is better.
    fn score(&self, node: &NodeInfo) -> i64;

    /// Brings the scores of all feasible nodes into 0..=[`MAX_SCORE`].
    fn normalize(&self, _scores: &mut [i64]) {}
}

/// A set of plugins by their place in the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginSet(u32);

/// No node fits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FitError {
    /// Nodes of the cluster.
    pub total: usize,
    /// Node (its place in the cluster) to rejection.
    pub rejected: Vec<(usize, Rejection)>,
    /// The reason that counts for all nodes not in `rejected`.
    pub absent: Option<String>,
    /// What preemption found.
    pub preemption: Option<String>,
    /// The plugins that rejected.
    pub plugins: PluginSet,
}

// === impl Rejection ===

impl Rejection {
    /// Removing Pods could help.
    pub fn resolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Rejection { resolvable: true, reasons: vec![reason.into()] }
    }

    /// Removing Pods cannot help.
    pub fn unresolvable(reason: impl Into<Cow<'static, str>>) -> Self {
        Rejection { resolvable: false, reasons: vec![reason.into()] }
    }
}

// === impl PluginSet ===

impl PluginSet {
    /// Adds the plugin at `at`.
    pub fn insert(&mut self, at: usize) {
        self.0 |= 1 << at;
    }

    /// Whether the plugin at `at` is in it.
    pub fn contains(self, at: usize) -> bool {
        self.0 & (1 << at) != 0
    }

    /// All of both.
    pub fn union(self, other: PluginSet) -> PluginSet {
        PluginSet(self.0 | other.0)
    }

    /// Whether no plugin is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

// === impl FitError ===

impl fmt::Display for FitError {
    /// `0/3 nodes are available: 1 reason, 2 other reason. preemption: …`, as upstream.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.total == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available:", self.total)?;
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, rejection) in &self.rejected {
            for reason in &rejection.reasons {
                *counts.entry(reason).or_default() += 1;
            }
        }
        let others = self.total.saturating_sub(self.rejected.len());
        if let (Some(absent), 1..) = (&self.absent, others) {
            *counts.entry(absent).or_default() += others;
        }
        // Sorted as texts, count first: 10 comes before 2.
        let mut reasons: Vec<String> = counts.iter().map(|(r, n)| format!("{n} {r}")).collect();
        reasons.sort();
        if !reasons.is_empty() {
            write!(f, " {}.", reasons.join(", "))?;
        }
        if let Some(preemption) = &self.preemption {
            write!(f, " {preemption}")?;
        }
        Ok(())
    }
}

impl std::error::Error for FitError {}

/// Scales scores so that the highest becomes [`MAX_SCORE`]; `reverse` turns many into few.
pub fn normalize(scores: &mut [i64], reverse: bool) {
    let highest = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        if highest == 0 {
            *score = if reverse { MAX_SCORE } else { 0 };
            continue;
        }
        *score = MAX_SCORE * *score / highest;
        if reverse {
            *score = MAX_SCORE - *score;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_reads_as_upstream() {
        let taint = Rejection::unresolvable("node(s) had untolerated taint(s)");
        let cpu = Rejection::resolvable("Insufficient cpu");
        let rejected = vec![(0, taint), (1, cpu.clone()), (2, cpu)];
        let error = FitError {
            total: 3,
            rejected,
            preemption: Some("preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.".to_owned()),
            ..Default::default()
        };
        assert_eq!(
            error.to_string(),
            "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. \
             preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
        );
        assert_eq!(FitError::default().to_string(), "no nodes available to schedule pods");
    }

    #[test]
    fn scores_are_scaled_to_the_highest() {
        let check = |scores: &[i64], reverse, want: &[i64]| {
            let mut scores = scores.to_vec();
            normalize(&mut scores, reverse);
            assert_eq!(scores, want);
        };
        check(&[1, 2, 4], false, &[25, 50, 100]);
        check(&[1, 2, 4], true, &[75, 50, 0]);
        check(&[0, 0], true, &[100, 100]);
        check(&[0, 0], false, &[0, 0]);
    }
}
