//! What to do about a Job, from its Pods. Pure.
//!
//! A Pod that ended counts exactly once, whatever crashes in between: it keeps a finalizer until
//! its UID is in the status, and its UID stays in the status until the finalizer is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus, UncountedTerminatedPods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::indexes::{self, Failed, Failures};
use super::policy::{self, Verdict};
use crate::object::Meta;
use crate::pods;

pub(super) const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
/// Delay after the first failure, doubling with each, and its limit.
const BACKOFF: (i64, i64) = (10, 600);

/// All that a plan depends on.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) job: &'a Job,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) now: Timestamp,
}

/// How a Job ends.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outcome {
    is_success: bool,
    reason: String,
    message: String,
}

/// A Pod to create.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct New {
    /// Its completion index, if the Job has them.
    pub(super) index: Option<i32>,
    /// How often the index failed before, if each has a limit of its own.
    pub(super) failures: Option<Failures>,
}

/// The writes of one round.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: Option<JobStatus>,
    /// Pods that lose their finalizer once the status is stored.
    pub(super) release: Vec<Arc<Pod>>,
    /// Pods that are not wanted any more, and do not count.
    pub(super) delete: Vec<Arc<Pod>>,
    /// Pods that end with the Job; what they end with still counts.
    pub(super) stop: Vec<Arc<Pod>>,
    pub(super) create: Vec<New>,
    /// Type, reason and message.
    pub(super) events: Vec<(bool, String, String)>,
    pub(super) requeue: Option<Duration>,
}

pub(super) fn condition<'a>(job: &'a Job, type_: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|c| c.type_ == type_ && c.status == "True")
}

/// Whether it has ended, and when.
pub(super) fn finished_at(job: &Job) -> Option<Timestamp> {
    let ended = condition(job, "Complete").or_else(|| condition(job, "Failed"))?;
    Some(ended.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0))
}

fn has_finalizer(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER)
}

fn is_indexed(job: &Job) -> bool {
    job.spec.as_ref().and_then(|s| s.completion_mode.as_deref()) == Some("Indexed")
}

fn limits_indexes(job: &Job) -> bool {
    is_indexed(job) && job.spec.as_ref().is_some_and(|s| s.backoff_limit_per_index.is_some())
}

/// Pods by what they mean for the Job.
struct Census<'a> {
    active: Vec<&'a Arc<Pod>>,
    terminating: i32,
    ready: i32,
    /// UIDs of Pods that are counted or to be counted.
    succeeded: Vec<&'a Arc<Pod>>,
    failed: Vec<&'a Arc<Pod>>,
}

/// Plans one round.
pub(super) fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let job = snapshot.job;
    if finished_at(job).is_some() {
        let released = snapshot.pods.iter().filter(|p| has_finalizer(p) && !pods::is_active(p));
        return Plan { release: released.cloned().collect(), ..Plan::default() };
    }
    let spec = job.spec.clone().unwrap_or_default();
    let before = job.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let mut plan = Plan::default();
    let suspended = spec.suspend.unwrap_or(false);
    if status.start_time.is_none() && !suspended {
        status.start_time = Some(Time(snapshot.now));
    }
    let census = census(job, snapshot.pods);
    let decided = decided(job);
    let counted = count(snapshot, &census, &mut status, &mut plan, decided.is_some());
    status.ready = Some(census.ready);
    status.terminating = Some(census.terminating);
    let uncounted = |s: &JobStatus| {
        let u = s.uncounted_terminated_pods.clone().unwrap_or_default();
        (u.succeeded.map_or(0, |l| l.len()), u.failed.map_or(0, |l| l.len()))
    };
    let (more_succeeded, more_failed) = uncounted(&status);
    let succeeded = if is_indexed(job) {
        indexes::count(status.completed_indexes.as_deref().unwrap_or_default())
    } else {
        status.succeeded.unwrap_or(0) + i32::try_from(more_succeeded).unwrap_or(i32::MAX)
    };
    let failed = status.failed.unwrap_or(0) + i32::try_from(more_failed).unwrap_or(i32::MAX);
    let complete = match spec.completions {
        Some(wanted) => succeeded >= wanted,
        None => succeeded > 0 && census.active.is_empty(),
    };
    let outcome = decided
        .or(counted.failure)
        .or_else(|| over_limit(snapshot, &census, failed, &before))
        .or_else(|| over_indexes(job, succeeded, &counted.failed))
        .or_else(|| by_success_policy(job, &status))
        .or_else(|| {
            complete.then(|| {
                Outcome::success("CompletionsReached", "Reached expected number of succeeded pods")
            })
        });
    let mut active = census.active.len();
    if let Some(outcome) = outcome {
        plan.stop.extend(census.active.iter().map(|p| Arc::clone(p)));
        active = 0;
        let delayed = !counted.failed.last.is_empty();
        end(&mut status, snapshot, &census, &mut plan, &outcome, delayed);
    } else if suspended {
        plan.delete.extend(census.active.iter().map(|p| Arc::clone(p)));
        active = 0;
        if set_suspended(&mut status, true, snapshot.now) {
            status.start_time = None;
            plan.events.push((true, "Suspended".to_owned(), "Job suspended".to_owned()));
        }
    } else {
        if set_suspended(&mut status, false, snapshot.now) {
            status.start_time = Some(Time(snapshot.now));
            plan.events.push((true, "Resumed".to_owned(), "Job resumed".to_owned()));
        }
        scale(snapshot, &census, succeeded, &status, &counted.failed, &mut plan);
        plan.requeue = plan.requeue.into_iter().chain(deadline_in(job, snapshot.now)).min();
    }
    status.active = Some(i32::try_from(active).unwrap_or(i32::MAX)).filter(|n| *n != 0);
    plan.status = (!same(&status, &before)).then_some(status);
    plan
}

/// Equal, zero and absent being the same for counts.
fn same(a: &JobStatus, b: &JobStatus) -> bool {
    let plain = |s: &JobStatus| {
        let mut s = s.clone();
        for count in
            [&mut s.active, &mut s.ready, &mut s.terminating, &mut s.succeeded, &mut s.failed]
        {
            *count = count.filter(|n| *n != 0);
        }
        s.completed_indexes = s.completed_indexes.filter(|t| !t.is_empty());
        s.failed_indexes = s.failed_indexes.filter(|t| !t.is_empty());
        s.uncounted_terminated_pods = s.uncounted_terminated_pods.map(|mut u| {
            u.succeeded = u.succeeded.filter(|l| !l.is_empty());
            u.failed = u.failed.filter(|l| !l.is_empty());
            u
        });
        s.conditions = s.conditions.filter(|c| !c.is_empty());
        s
    };
    plain(a) == plain(b)
        && (b.uncounted_terminated_pods.is_some() || a.uncounted_terminated_pods.is_none())
}

fn census<'a>(job: &Job, all: &'a [Arc<Pod>]) -> Census<'a> {
    let replace_late =
        job.spec.as_ref().and_then(|s| s.pod_replacement_policy.as_deref()) == Some("Failed");
    let mut census = Census {
        active: Vec::new(),
        terminating: 0,
        ready: 0,
        succeeded: Vec::new(),
        failed: Vec::new(),
    };
    for pod in all {
        match pods::phase(pod) {
            "Succeeded" => census.succeeded.push(pod),
            "Failed" => census.failed.push(pod),
            _ if pod.is_deleting() => {
                census.terminating += 1;
                // A Pod that is on its way out has failed, unless one waits for its end.
                if !replace_late {
                    census.failed.push(pod);
                }
            }
            _ => {
                census.ready += i32::from(pods::is_ready(pod));
                census.active.push(pod);
            }
        }
    }
    census
}

/// What the ended Pods say.
struct Counted<'a> {
    /// What the Pod failure policy finds.
    failure: Option<Outcome>,
    /// Where each index has a limit.
    failed: Failed<'a>,
}

/// Moves ended Pods through the status. The last failed Pods of indexes wait for the Pods after
/// them, unless the Job is `ending`.
fn count<'a>(
    snapshot: &Snapshot<'_>,
    census: &Census<'a>,
    status: &mut JobStatus,
    plan: &mut Plan,
    ending: bool,
) -> Counted<'a> {
    let mut listed = status.uncounted_terminated_pods.take().unwrap_or_default();
    let finalized = |uid: &str| snapshot.pods.iter().any(|p| p.id() == uid && has_finalizer(p));
    // Whose finalizer is gone is counted for good.
    let settle = |list: &mut Option<Vec<String>>, total: &mut Option<i32>| {
        let list = list.get_or_insert_default();
        let before = list.len();
        list.retain(|uid| finalized(uid));
        let counted = i32::try_from(before - list.len()).unwrap_or(0);
        if counted > 0 {
            *total = Some(total.unwrap_or(0) + counted);
        }
    };
    if !is_indexed(snapshot.job) {
        settle(&mut listed.succeeded, &mut status.succeeded);
    } else {
        listed.succeeded.get_or_insert_default().retain(|uid| finalized(uid));
    }
    settle(&mut listed.failed, &mut status.failed);
    let mut failure = None;
    let succeeded = listed.succeeded.get_or_insert_default();
    let mut done: BTreeSet<i32> =
        indexes::parse(status.completed_indexes.as_deref().unwrap_or_default());
    for pod in census.succeeded.iter().filter(|p| has_finalizer(p)) {
        if let Some(index) = indexes::of(pod).filter(|_| is_indexed(snapshot.job)) {
            done.insert(index);
        }
        if !succeeded.iter().any(|uid| uid == pod.id()) {
            succeeded.push(pod.id().to_owned());
        }
        plan.release.push(Arc::clone(pod));
    }
    if is_indexed(snapshot.job) {
        let completions = snapshot.job.spec.as_ref().and_then(|s| s.completions).unwrap_or(0);
        done.retain(|index| *index < completions);
        status.completed_indexes = Some(indexes::format(&done)).filter(|t| !t.is_empty());
        status.succeeded = Some(i32::try_from(done.len()).unwrap_or(i32::MAX)).filter(|n| *n > 0);
    }
    let mut indexes = Failed::default();
    if limits_indexes(snapshot.job) {
        let active = census.active.iter().filter_map(|p| indexes::of(p)).collect();
        let ended = census.failed.iter().copied().filter(|p| has_finalizer(p));
        indexes = Failed::of(snapshot.job, ended, &done, &active);
        status.failed_indexes = Some(indexes::format(&indexes.indexes));
        if ending {
            indexes.last.clear();
        }
    }
    let failed = listed.failed.get_or_insert_default();
    let waits = |pod: &Pod| indexes.last.values().any(|last| last.id() == pod.id());
    for pod in census.failed.iter().filter(|p| has_finalizer(p) && !waits(p)) {
        match policy::judge(snapshot.job, pod) {
            Verdict::Ignore => {}
            Verdict::Count | Verdict::FailIndex => {
                if !failed.iter().any(|uid| uid == pod.id()) {
                    failed.push(pod.id().to_owned());
                }
            }
            Verdict::FailJob(message) => {
                failure.get_or_insert(Outcome::failure("PodFailurePolicy", message));
                if !failed.iter().any(|uid| uid == pod.id()) {
                    failed.push(pod.id().to_owned());
                }
            }
        }
        plan.release.push(Arc::clone(pod));
    }
    status.uncounted_terminated_pods = Some(UncountedTerminatedPods {
        succeeded: listed.succeeded.filter(|l| !l.is_empty()),
        failed: listed.failed.filter(|l| !l.is_empty()),
    });
    Counted { failure, failed: indexes }
}

/// What was decided in an earlier round.
fn decided(job: &Job) -> Option<Outcome> {
    let failure = condition(job, "FailureTarget").map(|found| (false, found));
    let success = condition(job, "SuccessCriteriaMet").map(|found| (true, found));
    let (is_success, found) = failure.or(success)?;
    Some(Outcome {
        is_success,
        reason: found.reason.clone().unwrap_or_default(),
        message: found.message.clone().unwrap_or_default(),
    })
}

/// Limits of failures and of time.
fn over_limit(
    snapshot: &Snapshot<'_>,
    census: &Census<'_>,
    failed: i32,
    before: &JobStatus,
) -> Option<Outcome> {
    let job = snapshot.job;
    let limit = job.spec.as_ref().and_then(|s| s.backoff_limit).unwrap_or(6);
    let on_failure =
        job.spec.as_ref().and_then(|s| s.template.spec.as_ref()?.restart_policy.as_deref())
            == Some("OnFailure");
    let restarts: i32 =
        if on_failure { census.active.iter().map(|p| restarts(p)).sum() } else { 0 };
    let past_restarts = on_failure && restarts > 0 && restarts >= limit.max(1);
    if failed > limit || past_restarts {
        let message = "Job has reached the specified backoff limit";
        return Some(Outcome::failure("BackoffLimitExceeded", message));
    }
    let deadline = job.spec.as_ref().and_then(|s| s.active_deadline_seconds)?;
    let started = before.start_time.as_ref()?.0;
    let is_over = snapshot.now.duration_since(started) >= SignedDuration::from_secs(deadline);
    let message = "Job was active longer than specified deadline";
    is_over.then(|| Outcome::failure("DeadlineExceeded", message))
}

/// Limits of failed indexes.
fn over_indexes(job: &Job, completed: i32, failed: &Failed<'_>) -> Option<Outcome> {
    let spec = job.spec.as_ref()?;
    let count = |indexes: usize| i32::try_from(indexes).unwrap_or(i32::MAX);
    let given_up = count(failed.indexes.len());
    if spec.max_failed_indexes.is_some_and(|max| given_up > max) {
        let message = "Job has exceeded the specified maximal number of failed indexes";
        return Some(Outcome::failure("MaxFailedIndexesExceeded", message));
    }
    let left = spec.completions.unwrap_or(0).saturating_sub(given_up).saturating_sub(completed);
    (given_up > 0 && left <= 0).then(|| Outcome::failure("FailedIndexes", "Job has failed indexes"))
}

fn by_success_policy(job: &Job, status: &JobStatus) -> Option<Outcome> {
    let completed = status.completed_indexes.as_deref().filter(|_| is_indexed(job))?;
    let rule = policy::success(job, &indexes::parse(completed))?;
    Some(Outcome::success("SuccessPolicy", format!("Matched rules at index {rule}")))
}

fn restarts(pod: &Pod) -> i32 {
    let status = pod.status.as_ref();
    let main = status.and_then(|s| s.container_statuses.as_ref());
    let init = status.and_then(|s| s.init_container_statuses.as_ref());
    main.into_iter().chain(init).flatten().map(|c| c.restart_count).sum()
}

fn deadline_in(job: &Job, now: Timestamp) -> Option<Duration> {
    let deadline = job.spec.as_ref()?.active_deadline_seconds?;
    let started = job.status.as_ref()?.start_time.as_ref()?.0;
    let due = started + SignedDuration::from_secs(deadline);
    Some(Duration::try_from(due.duration_since(now)).unwrap_or_default())
}

fn set(
    status: &mut JobStatus,
    type_: &str,
    value: &str,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let conditions = status.conditions.get_or_insert_default();
    if conditions.iter().any(|c| c.type_ == type_ && c.status == value) {
        return false;
    }
    conditions.retain(|c| c.type_ != type_);
    conditions.push(JobCondition {
        type_: type_.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
    true
}

fn set_suspended(status: &mut JobStatus, suspended: bool, now: Timestamp) -> bool {
    if suspended {
        return set(status, "Suspended", "True", "JobSuspended", "Job suspended", now);
    }
    // There is nothing to resume where nothing was suspended.
    let was = status.conditions.iter().flatten().any(|c| c.type_ == "Suspended");
    was && set(status, "Suspended", "False", "JobResumed", "Job resumed", now)
}

/// The last rounds: first the outcome is announced, and when no Pod runs and all are counted,
/// none `delayed`, the Job has ended.
fn end(
    status: &mut JobStatus,
    snapshot: &Snapshot<'_>,
    census: &Census<'_>,
    plan: &mut Plan,
    outcome: &Outcome,
    delayed: bool,
) {
    let now = snapshot.now;
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let settled = census.active.is_empty()
        && census.terminating == 0
        && uncounted.succeeded.is_none()
        && uncounted.failed.is_none()
        && !delayed;
    let (reason, message) = (&outcome.reason, &outcome.message);
    let (first, last) = match outcome.is_success {
        true => ("SuccessCriteriaMet", "Complete"),
        false => ("FailureTarget", "Failed"),
    };
    set(status, first, "True", reason, message, now);
    if !settled {
        return;
    }
    set(status, last, "True", reason, message, now);
    if outcome.is_success {
        status.completion_time = Some(Time(now));
        plan.events.push((true, "Completed".to_owned(), "Job completed".to_owned()));
    } else {
        plan.events.push((false, reason.clone(), message.clone()));
    }
}

impl Outcome {
    fn success(reason: &str, message: impl Into<String>) -> Self {
        Self { is_success: true, reason: reason.to_owned(), message: message.into() }
    }

    fn failure(reason: &str, message: impl Into<String>) -> Self {
        Self { is_success: false, reason: reason.to_owned(), message: message.into() }
    }
}

/// Brings the number of active Pods to what is wanted now.
fn scale(
    snapshot: &Snapshot<'_>,
    census: &Census<'_>,
    succeeded: i32,
    status: &JobStatus,
    failed: &Failed<'_>,
    plan: &mut Plan,
) {
    let job = snapshot.job;
    let spec = job.spec.clone().unwrap_or_default();
    let parallelism = spec.parallelism.unwrap_or(1);
    let active = i32::try_from(census.active.len()).unwrap_or(i32::MAX);
    let wanted = match spec.completions {
        Some(completions) => parallelism.min(completions - succeeded),
        None if succeeded > 0 => active.min(parallelism),
        None => parallelism,
    }
    .max(0);
    if active > wanted {
        let mut surplus: Vec<&Arc<Pod>> = census.active.clone();
        surplus.sort_by_key(|p| {
            (pods::node_name(p).is_some(), pods::is_ready(p), std::cmp::Reverse(p.created()))
        });
        let count = usize::try_from(active - wanted).unwrap_or(0);
        plan.delete.extend(surplus.into_iter().take(count).cloned());
        return;
    }
    let late = spec.pod_replacement_policy.as_deref() == Some("Failed");
    let occupied = active + if late { census.terminating } else { 0 };
    let missing = usize::try_from(wanted - occupied).unwrap_or(0);
    if missing == 0 {
        return;
    }
    let by_index = limits_indexes(job);
    if !by_index && let Some(wait) = backoff(census, snapshot.now) {
        plan.requeue = Some(wait);
        return;
    }
    if !is_indexed(job) {
        plan.create.extend(std::iter::repeat_n(New::default(), missing));
        return;
    }
    let done = indexes::parse(status.completed_indexes.as_deref().unwrap_or_default());
    let taken: BTreeSet<i32> = census.active.iter().filter_map(|p| indexes::of(p)).collect();
    let free = (0..spec.completions.unwrap_or(0)).filter(|index| {
        !done.contains(index) && !taken.contains(index) && !failed.indexes.contains(index)
    });
    let mut wait = None;
    for index in free.take(missing) {
        let last = failed.last.get(&index);
        let failures = last.map_or_else(Failures::default, |last| Failures::with(job, last));
        match last.and_then(|last| until_due(failures.all(), ended(last)?, snapshot.now)) {
            Some(more) => wait = wait.into_iter().chain([more]).min(),
            None => {
                let failures = by_index.then_some(failures);
                plan.create.push(New { index: Some(index), failures });
            }
        }
    }
    plan.requeue = wait;
}

/// When a Pod ended.
fn ended(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    let ends = statuses
        .into_iter()
        .flatten()
        .filter_map(|c| c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|t| t.0));
    ends.max().or_else(|| pod.metadata.deletion_timestamp.as_ref().map(|t| t.0))
}

/// How long to wait after so many failures, the last of them at a time.
fn until_due(failures: i32, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let power = u32::try_from(failures.max(1) - 1).unwrap_or(u32::MAX).min(10);
    let delay = (BACKOFF.0 << power).min(BACKOFF.1);
    let due = last + SignedDuration::from_secs(delay);
    if due <= now {
        return None;
    }
    Duration::try_from(due.duration_since(now)).ok()
}

/// How long to wait after failures before the next attempt.
fn backoff(census: &Census<'_>, now: Timestamp) -> Option<Duration> {
    let last_success = census.succeeded.iter().filter_map(|p| ended(p)).max();
    let failures: Vec<Timestamp> = census
        .failed
        .iter()
        .filter(|p| pods::phase(p) == "Failed")
        .filter_map(|p| ended(p))
        .filter(|at| last_success.is_none_or(|success| *at > success))
        .collect();
    let last = failures.iter().max()?;
    let count = i32::try_from(failures.len()).unwrap_or(i32::MAX);
    until_due(count, *last, now)
}
