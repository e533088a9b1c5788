//! CronJobs: Jobs at the times of a schedule.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::{Action, Api, EventType};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};

use crate::context::{Context, after};
use crate::error::{SyncError, is_already_exists, is_namespace_terminating, is_not_found};
use crate::informers::{OWNER, enqueue};
use crate::object::{Key, Meta};

use plan::{Due, Plan, Snapshot};

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue = client::WorkQueue::new();
    let informers = &context.informers;
    enqueue(&informers.cron_jobs, &queue);
    let adder = queue.clone();
    informers.jobs.on_event(move |event| {
        let job = event.object();
        if let Some(owner) = job.controller().filter(|owner| owner.kind == "CronJob") {
            adder.add(Key::new(job.ns(), &owner.name));
        }
    });
    informers.cron_jobs.synced().await;
    informers.jobs.synced().await;
    let ctx = context.clone();
    context.work(queue, 5, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let Some(cron) = context.informers.cron_jobs.get(Some(&key.namespace), &key.name) else {
        return Ok(Action::Done);
    };
    let api: Api<Job> = context.api(&key.namespace);
    let mut jobs = context.informers.jobs.by_index(OWNER, cron.id());
    // What the status names may be newer than what the informer knows.
    for active in cron.status.iter().flat_map(|s| s.active.iter().flatten()) {
        let uid = active.uid.as_deref().unwrap_or_default();
        if jobs.iter().any(|job| job.id() == uid) {
            continue;
        }
        let found = api.get_opt(active.name.as_deref().unwrap_or_default()).await?;
        jobs.extend(found.filter(|job| job.id() == uid).map(Arc::new));
    }
    let mut cron = cron;
    if !plan::unlisted(&cron, &jobs).is_empty() {
        // Or it is the status that the informer does not know yet.
        match context.api::<CronJob>(&key.namespace).get_opt(&key.name).await? {
            Some(fresh) if fresh.id() == cron.id() => cron = Arc::new(fresh),
            _ => return Ok(Action::Done),
        }
    }
    let plan = plan::plan(&Snapshot { cron: &cron, jobs: &jobs, now: Timestamp::now() });
    let requeue = plan.requeue;
    execute(&context, &api, &cron, plan).await?;
    Ok(after(requeue))
}

async fn execute(
    context: &Context,
    api: &Api<Job>,
    cron: &CronJob,
    plan: Plan,
) -> Result<(), SyncError> {
    let recorder = &context.recorder;
    for (type_, reason, text) in plan.events {
        recorder.event(cron, type_, reason, text);
    }
    for job in &plan.delete {
        match api.delete(job.nm(), &DeleteParams::background()).await {
            Ok(_) => {
                let text = format!("Deleted job {}", job.nm());
                recorder.event(cron, EventType::Normal, "SuccessfulDelete", text);
            }
            Err(error) if is_not_found(&error) => {}
            Err(error) => {
                let text = format!("Deleted job: {error}");
                recorder.event(cron, EventType::Warning, "FailedDelete", text);
                return Err(error.into());
            }
        }
    }
    let mut status = plan.status;
    if let Some(due) = plan.create {
        let started = start(context, api, cron, &due).await?;
        if let Some(reference) = started {
            let status = status.get_or_insert_with(|| cron.status.clone().unwrap_or_default());
            status.active.get_or_insert_default().push(reference);
            status.last_schedule_time = Some(Time(due.at));
        }
    }
    if let Some(status) = status {
        let mut wanted = cron.clone();
        wanted.status = Some(status);
        context.write_status(&wanted).await?;
    }
    Ok(())
}

/// Creates a Job. One that is there already was created by an earlier attempt, unless it is
/// somebody else's: then there is none.
async fn start(
    context: &Context,
    api: &Api<Job>,
    cron: &CronJob,
    due: &Due,
) -> Result<Option<ObjectReference>, SyncError> {
    let recorder = &context.recorder;
    let job = match api.create(&PostParams::default(), &due.job).await {
        Ok(job) => {
            let text = format!("Created job {}", job.nm());
            recorder.event(cron, EventType::Normal, "SuccessfulCreate", text);
            job
        }
        Err(error) if is_already_exists(&error) => {
            let found = api.get_opt(due.job.nm()).await?;
            match found.filter(|job| job.is_controlled_by(cron.id())) {
                Some(job) => job,
                None => return Ok(None),
            }
        }
        Err(error) if is_namespace_terminating(&error) => return Ok(None),
        Err(error) => {
            let text = format!("Error creating job: {error}");
            recorder.event(cron, EventType::Warning, "FailedCreate", text);
            return Err(error.into());
        }
    };
    Ok(Some(plan::reference(&job)))
}
