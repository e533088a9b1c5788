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

use super::indexes;
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

/// Why a Job ends badly.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    reason: &'static str,
    message: String,
}

/// The writes of one round.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: Option<JobStatus>,
    /// Pods that lose their finalizer once the status is stored.
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// One entry for each Pod to create; `Some` is its completion index.
    pub(super) create: Vec<Option<i32>>,
    /// Type, reason and message.
    pub(super) events: Vec<(bool, &'static str, String)>,
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
    let failure = count(snapshot, &census, &mut status, &mut plan);
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
    let failure = failure.or_else(|| over_limit(snapshot, &census, failed, &before));
    let complete = match spec.completions {
        Some(wanted) => succeeded >= wanted,
        None => succeeded > 0 && census.active.is_empty(),
    };
    let mut active = census.active.len();
    if let Some(failure) = failure {
        plan.delete.extend(census.active.iter().map(|p| Arc::clone(p)));
        active = 0;
        end(&mut status, snapshot, &census, &mut plan, Err(&failure));
    } else if complete {
        plan.delete.extend(census.active.iter().map(|p| Arc::clone(p)));
        active = 0;
        end(&mut status, snapshot, &census, &mut plan, Ok(()));
    } else if suspended {
        plan.delete.extend(census.active.iter().map(|p| Arc::clone(p)));
        active = 0;
        if set_suspended(&mut status, true, snapshot.now) {
            status.start_time = None;
            plan.events.push((true, "Suspended", "Job suspended".to_owned()));
        }
    } else {
        if set_suspended(&mut status, false, snapshot.now) {
            status.start_time = Some(Time(snapshot.now));
            plan.events.push((true, "Resumed", "Job resumed".to_owned()));
        }
        scale(snapshot, &census, succeeded, &status, &mut plan);
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

/// Moves ended Pods through the status; gives a failure that the Pod failure policy finds.
fn count(
    snapshot: &Snapshot<'_>,
    census: &Census<'_>,
    status: &mut JobStatus,
    plan: &mut Plan,
) -> Option<Failure> {
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
    let failed = listed.failed.get_or_insert_default();
    for pod in census.failed.iter().filter(|p| has_finalizer(p)) {
        match policy::judge(snapshot.job, pod) {
            Verdict::Ignore => {}
            Verdict::Count => {
                if !failed.iter().any(|uid| uid == pod.id()) {
                    failed.push(pod.id().to_owned());
                }
            }
            Verdict::FailJob(message) => {
                failure.get_or_insert(Failure { reason: "PodFailurePolicy", message });
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
    failure
}

/// Limits of failures and of time, and a failure that was decided in an earlier round.
fn over_limit(
    snapshot: &Snapshot<'_>,
    census: &Census<'_>,
    failed: i32,
    before: &JobStatus,
) -> Option<Failure> {
    let job = snapshot.job;
    if let Some(target) = condition(job, "FailureTarget") {
        let reason = match target.reason.as_deref() {
            Some("PodFailurePolicy") => "PodFailurePolicy",
            Some("DeadlineExceeded") => "DeadlineExceeded",
            _ => "BackoffLimitExceeded",
        };
        return Some(Failure { reason, message: target.message.clone().unwrap_or_default() });
    }
    let limit = job.spec.as_ref().and_then(|s| s.backoff_limit).unwrap_or(6);
    let on_failure =
        job.spec.as_ref().and_then(|s| s.template.spec.as_ref()?.restart_policy.as_deref())
            == Some("OnFailure");
    let restarts: i32 =
        if on_failure { census.active.iter().map(|p| restarts(p)).sum() } else { 0 };
    let past_restarts = on_failure && restarts > 0 && restarts >= limit.max(1);
    if failed > limit || past_restarts {
        let message = "Job has reached the specified backoff limit".to_owned();
        return Some(Failure { reason: "BackoffLimitExceeded", message });
    }
    let deadline = job.spec.as_ref().and_then(|s| s.active_deadline_seconds)?;
    let started = before.start_time.as_ref()?.0;
    (snapshot.now.duration_since(started) >= SignedDuration::from_secs(deadline)).then(|| Failure {
        reason: "DeadlineExceeded",
        message: "Job was active longer than specified deadline".to_owned(),
    })
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

/// The last rounds: first the outcome is announced, and when no Pod runs and all are counted
/// the Job has ended.
fn end(
    status: &mut JobStatus,
    snapshot: &Snapshot<'_>,
    census: &Census<'_>,
    plan: &mut Plan,
    outcome: Result<(), &Failure>,
) {
    let now = snapshot.now;
    let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
    let settled = census.active.is_empty()
        && census.terminating == 0
        && uncounted.succeeded.is_none()
        && uncounted.failed.is_none();
    match outcome {
        Ok(()) => {
            let message = "Reached expected number of succeeded pods";
            set(status, "SuccessCriteriaMet", "True", "CompletionsReached", message, now);
            if settled {
                set(status, "Complete", "True", "CompletionsReached", message, now);
                status.completion_time = Some(Time(now));
                plan.events.push((true, "Completed", "Job completed".to_owned()));
            }
        }
        Err(failure) => {
            set(status, "FailureTarget", "True", failure.reason, &failure.message, now);
            if settled {
                set(status, "Failed", "True", failure.reason, &failure.message, now);
                plan.events.push((false, failure.reason, failure.message.clone()));
            }
        }
    }
}

/// Brings the number of active Pods to what is wanted now.
fn scale(
    snapshot: &Snapshot<'_>,
    census: &Census<'_>,
    succeeded: i32,
    status: &JobStatus,
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
    if let Some(wait) = backoff(census, snapshot.now) {
        plan.requeue = Some(wait);
        return;
    }
    if is_indexed(job) {
        let done = indexes::parse(status.completed_indexes.as_deref().unwrap_or_default());
        let taken: BTreeSet<i32> = census.active.iter().filter_map(|p| indexes::of(p)).collect();
        let free = (0..spec.completions.unwrap_or(0))
            .filter(|index| !done.contains(index) && !taken.contains(index));
        plan.create.extend(free.take(missing).map(Some));
    } else {
        plan.create.extend(std::iter::repeat_n(None, missing));
    }
}

/// How long to wait after failures before the next attempt.
fn backoff(census: &Census<'_>, now: Timestamp) -> Option<Duration> {
    let ended = |pod: &Pod| {
        let statuses = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
        let ends = statuses.into_iter().flatten().filter_map(|c| {
            c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|t| t.0)
        });
        ends.max().or_else(|| pod.metadata.deletion_timestamp.as_ref().map(|t| t.0))
    };
    let last_success = census.succeeded.iter().filter_map(|p| ended(p)).max();
    let failures: Vec<Timestamp> = census
        .failed
        .iter()
        .filter(|p| pods::phase(p) == "Failed")
        .filter_map(|p| ended(p))
        .filter(|at| last_success.is_none_or(|success| *at > success))
        .collect();
    let last = failures.iter().max()?;
    let power = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
    let delay = (BACKOFF.0 << power).min(BACKOFF.1);
    let due = *last + SignedDuration::from_secs(delay);
    if due <= now {
        return None;
    }
    Duration::try_from(due.duration_since(now)).ok()
}
