//! What to do about a CronJob, from its Jobs. Pure.

use std::sync::Arc;
use std::time::Duration;

use client::EventType;
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use resources::Schedule;

use crate::object::{Meta, controller_reference};

/// When the Job was to start, on the Job.
const SCHEDULED: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// So much after its time a Job is looked for, lest the clock is a little early.
const DELTA: Duration = Duration::from_millis(100);
/// More missed times than these are reported.
const MANY: usize = 100;

/// All that a plan depends on.
#[derive(Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) cron: &'a CronJob,
    /// Those that it controls.
    pub(super) jobs: &'a [Arc<Job>],
    pub(super) now: Timestamp,
}

/// The writes of one round.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) status: Option<CronJobStatus>,
    pub(super) delete: Vec<Arc<Job>>,
    pub(super) create: Option<Due>,
    pub(super) events: Vec<(EventType, &'static str, String)>,
    pub(super) requeue: Option<Duration>,
}

/// A Job whose time has come.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) at: Timestamp,
    pub(super) job: Job,
}

/// Plans one round.
pub(super) fn plan(snapshot: &Snapshot<'_>) -> Plan {
    let before = snapshot.cron.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let mut plan = Plan::default();
    take_in(snapshot, &mut status, &mut plan);
    start(snapshot, &mut status, &mut plan);
    clean_up(snapshot, &mut status, &mut plan);
    status.active = status.active.filter(|active| !active.is_empty());
    plan.status = (status != before).then_some(status);
    plan
}

/// How a Job ended, if it has.
fn ended(job: &Job) -> Option<&str> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let ends = |type_: &str| matches!(type_, "Complete" | "Failed");
    conditions.iter().find(|c| ends(&c.type_) && c.status == "True").map(|c| c.type_.as_str())
}

/// What refers to a Job.
pub(super) fn reference(job: &Job) -> ObjectReference {
    ObjectReference {
        kind: Some("Job".to_owned()),
        api_version: Some("batch/v1".to_owned()),
        name: Some(job.nm().to_owned()),
        namespace: Some(job.ns().to_owned()),
        uid: job.metadata.uid.clone(),
        resource_version: job.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}

/// Jobs that run and that the status does not name.
pub(super) fn unlisted<'j>(cron: &CronJob, jobs: &'j [Arc<Job>]) -> Vec<&'j Arc<Job>> {
    let active = cron.status.as_ref().and_then(|status| status.active.as_deref());
    let active = active.unwrap_or_default();
    let is_listed = |job: &Job| active.iter().any(|known| known.uid.as_deref() == Some(job.id()));
    jobs.iter().filter(|job| ended(job).is_none() && !is_listed(job)).collect()
}

/// Takes ended and vanished Jobs out of the status.
fn take_in(snapshot: &Snapshot<'_>, status: &mut CronJobStatus, plan: &mut Plan) {
    for job in unlisted(snapshot.cron, snapshot.jobs) {
        let text = format!("Saw a job that the controller did not create or forgot: {}", job.nm());
        plan.events.push((EventType::Warning, "UnexpectedJob", text));
    }
    let mut active = status.active.take().unwrap_or_default();
    active.retain(|reference| {
        let job = snapshot.jobs.iter().find(|job| reference.uid.as_deref() == Some(job.id()));
        let Some(job) = job else {
            let name = reference.name.as_deref().unwrap_or_default();
            let text = format!("Active job went missing: {name}");
            plan.events.push((EventType::Normal, "MissingJob", text));
            return false;
        };
        let Some(end) = ended(job) else { return true };
        let text = format!("Saw completed job: {}, condition: {end}", job.nm());
        plan.events.push((EventType::Normal, "SawCompletedJob", text));
        false
    });
    status.active = Some(active);
    let successes = snapshot.jobs.iter().filter(|job| ended(job) == Some("Complete"));
    let times = successes.filter_map(|job| job.status.as_ref()?.completion_time.clone());
    let last = times.chain(status.last_successful_time.take()).max_by_key(|time| time.0);
    status.last_successful_time = last;
}

/// Starts the Job whose time has come.
fn start(snapshot: &Snapshot<'_>, status: &mut CronJobStatus, plan: &mut Plan) {
    let Snapshot { cron, now, .. } = *snapshot;
    let spec = &cron.spec;
    if cron.is_deleting() {
        return;
    }
    let zone = spec.time_zone.as_deref();
    if let Some(name) = zone.filter(|name| !Schedule::knows_zone(name)) {
        let text = format!("invalid timeZone: {name:?}: unknown time zone {name}");
        plan.events.push((EventType::Warning, "UnknownTimeZone", text));
        return;
    }
    if spec.suspend.unwrap_or(false) {
        return;
    }
    if spec.schedule.contains("TZ") {
        let text = format!(
            "CRON_TZ or TZ used in schedule {:?} is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
            spec.schedule
        );
        plan.events.push((EventType::Warning, "UnsupportedSchedule", text));
    }
    let schedule = match Schedule::parse(&spec.schedule) {
        Ok(schedule) => schedule,
        Err(why) => {
            let text = format!("unparseable schedule: {:?} : {why}", spec.schedule);
            plan.events.push((EventType::Warning, "UnparseableSchedule", text));
            return;
        }
    };
    let schedule = match zone {
        None => Some(schedule),
        Some(name) => schedule.in_zone(name),
    };
    let Some(schedule) = schedule else { return };
    if schedule.next(now).is_none() {
        let text = format!(
            "invalid schedule: {} : time difference between two schedules is less than 1 second",
            spec.schedule
        );
        plan.events.push((EventType::Warning, "InvalidSchedule", text));
        return;
    }
    let wait = schedule.next(now).map(|next| next.duration_since(now));
    plan.requeue = wait.and_then(|wait| Duration::try_from(wait).ok()).map(|wait| wait + DELTA);
    let deadline = spec.starting_deadline_seconds.map(SignedDuration::from_secs);
    let last = status.last_schedule_time.as_ref().map(|time| time.0);
    let since = last.unwrap_or_else(|| cron.created());
    let earliest = deadline.and_then(|deadline| now.checked_sub(deadline).ok());
    let since = earliest.map_or(since, |earliest| earliest.max(since));
    let (missed, Some(at)) = last_before(&schedule, since, now) else { return };
    if missed > MANY {
        let text = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
        plan.events.push((EventType::Warning, "TooManyMissedTimes", text.to_owned()));
    }
    if deadline.is_some_and(|deadline| at + deadline < now) {
        let text = format!("Missed scheduled time to start a job: {}", rfc1123(at));
        plan.events.push((EventType::Warning, "MissSchedule", text));
        return;
    }
    let name = format!("{}-{}", cron.nm(), at.as_second() / 60);
    let active = status.active.get_or_insert_default();
    let is_there = active.iter().any(|reference| reference.name.as_deref() == Some(&name));
    if is_there || last == Some(at) {
        return;
    }
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            let text = "Not starting job because prior execution is running and concurrency policy is Forbid";
            plan.events.push((EventType::Normal, "JobAlreadyActive", text.to_owned()));
            return;
        }
        Some("Replace") => {
            let named = |job: &&Arc<Job>| active.iter().any(|a| a.uid.as_deref() == Some(job.id()));
            plan.delete.extend(snapshot.jobs.iter().filter(named).cloned());
            active.clear();
        }
        _ => {}
    }
    plan.create = Some(Due { at, job: job_for(cron, name, &schedule, at) });
}

/// How many times there were after `since` up to `now`, as far as they are counted, and the last.
fn last_before(
    schedule: &Schedule,
    since: Timestamp,
    now: Timestamp,
) -> (usize, Option<Timestamp>) {
    let step = |time: Timestamp| schedule.next(time).filter(|next| *next <= now);
    let mut times = std::iter::successors(step(since), |time| step(*time));
    let (mut missed, mut last) = (0, None);
    for time in times.by_ref().take(MANY + 1) {
        missed += 1;
        last = Some(time);
    }
    let Some(known) = last.filter(|_| missed > MANY) else { return (missed, last) };
    // Far back: the last time is looked for from the end, further away each time.
    let mut back = SignedDuration::from_mins(1);
    loop {
        let from = now.checked_sub(back).map_or(known, |from| from.max(known));
        let found = std::iter::successors(step(from), |time| step(*time)).last();
        if found.is_some() || from == known {
            return (missed, found.or(last));
        }
        back = back.saturating_mul(4);
    }
}

fn job_for(cron: &CronJob, name: String, schedule: &Schedule, at: Timestamp) -> Job {
    let template = cron.spec.job_template.clone();
    let metadata = template.metadata.unwrap_or_default();
    let mut annotations = metadata.annotations.unwrap_or_default();
    let local = schedule.local(at);
    let form =
        if local.offset().seconds() == 0 { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%:z" };
    annotations.insert(SCHEDULED.to_owned(), local.strftime(form).to_string());
    Job {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(cron.ns().to_owned()),
            labels: metadata.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(cron)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// Removes the oldest of the Jobs that ended, beyond those that are to stay.
fn clean_up(snapshot: &Snapshot<'_>, status: &mut CronJobStatus, plan: &mut Plan) {
    let spec = &snapshot.cron.spec;
    let limits = [
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ];
    for (end, limit) in limits {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
        let mut jobs: Vec<&Arc<Job>> =
            snapshot.jobs.iter().filter(|job| ended(job) == Some(end)).collect();
        let started = |job: &Job| job.status.as_ref()?.start_time.as_ref().map(|time| time.0);
        jobs.sort_by_key(|job| (started(job), job.nm().to_owned()));
        let surplus = jobs.len().saturating_sub(limit);
        for job in jobs.into_iter().take(surplus).filter(|job| !job.is_deleting()) {
            let active = status.active.get_or_insert_default();
            active.retain(|reference| reference.uid.as_deref() != Some(job.id()));
            plan.delete.push(Arc::clone(job));
        }
    }
}

fn rfc1123(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}
