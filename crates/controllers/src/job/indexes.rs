//! Completion indexes of Indexed Jobs, written as `0-3,5`, and their failures. Pure.
//!
//! Where each index has a limit of failures of its own, a Pod knows how often its index failed
//! before it. So the last failed Pod of an index keeps its finalizer until the next one is there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::policy::{self, Verdict};
use crate::object::Meta;

pub(super) const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// How often the index failed before, on a Pod.
pub(super) const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
/// How often it failed before in ways that do not count.
pub(super) const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// Failures of an index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) counted: i32,
    pub(super) ignored: i32,
}

/// What became of the indexes of a Job that limits the failures of each.
#[derive(Debug, Default)]
pub(super) struct Failed<'a> {
    /// Indexes that are given up.
    pub(super) indexes: BTreeSet<i32>,
    /// The last failed Pod of each index that is to be tried again.
    pub(super) last: BTreeMap<i32, &'a Arc<Pod>>,
}

impl Failures {
    /// Of the index of a Pod, before that Pod.
    fn before(pod: &Pod) -> Self {
        let number =
            |name: &str| pod.annotation(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        Self { counted: number(FAILURES), ignored: number(IGNORED_FAILURES) }
    }

    /// With that of a Pod that failed.
    pub(super) fn with(job: &Job, pod: &Pod) -> Self {
        let Self { counted, ignored } = Self::before(pod);
        match policy::judge(job, pod) {
            Verdict::Ignore => Self { counted, ignored: ignored + 1 },
            _ => Self { counted: counted + 1, ignored },
        }
    }

    pub(super) fn all(self) -> i32 {
        self.counted.saturating_add(self.ignored)
    }
}

impl<'a> Failed<'a> {
    /// Adds to the indexes of the status what failed Pods say. `active` are indexes that have a
    /// Pod.
    pub(super) fn of(
        job: &Job,
        failed: impl Iterator<Item = &'a Arc<Pod>>,
        completed: &BTreeSet<i32>,
        active: &BTreeSet<i32>,
    ) -> Self {
        let spec = job.spec.as_ref();
        let limit = spec.and_then(|spec| spec.backoff_limit_per_index).unwrap_or(i32::MAX);
        let completions = spec.and_then(|spec| spec.completions).unwrap_or(0);
        let known = job.status.as_ref().and_then(|status| status.failed_indexes.as_deref());
        let mut found = Self { indexes: parse(known.unwrap_or_default()), last: BTreeMap::new() };
        for pod in failed {
            let Some(index) = of(pod).filter(|index| *index < completions) else { continue };
            let failures = Failures::with(job, pod);
            if failures.counted > limit || policy::judge(job, pod) == Verdict::FailIndex {
                found.indexes.insert(index);
            }
            let last = found.last.entry(index).or_insert(pod);
            if Failures::with(job, last).all() < failures.all() {
                *last = pod;
            }
        }
        found.indexes.retain(|index| !completed.contains(index));
        let settled = |index: &i32| completed.contains(index) || found.indexes.contains(index);
        found.last.retain(|index, _| !settled(index) && !active.contains(index));
        found
    }
}

/// The index of a Pod.
pub(super) fn of(pod: &Pod) -> Option<i32> {
    pod.annotation(INDEX)?.parse().ok()
}

/// Reads a list of indexes and ranges; what is malformed is left out.
pub(super) fn parse(text: &str) -> BTreeSet<i32> {
    text.split(',')
        .filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some(first.parse::<i32>().ok()?..=last.parse::<i32>().ok()?)
        })
        .flatten()
        .collect()
}

/// Writes indexes; three or more in a row become a range, as upstream's.
pub(super) fn format(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *index => *last = *index,
            _ => runs.push((*index, *index)),
        }
    }
    let texts: Vec<String> = runs
        .into_iter()
        .map(|(first, last)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        })
        .collect();
    texts.join(",")
}

/// How many indexes a list names.
pub(super) fn count(text: &str) -> i32 {
    i32::try_from(parse(text).len()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written() {
        for text in ["", "3", "0,1", "0-2", "0,2-4,7,8"] {
            assert_eq!(format(&parse(text)), text);
        }
        assert_eq!(count("0-3,5"), 5);
    }
}
