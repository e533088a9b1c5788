//! Ended Jobs go when `ttlSecondsAfterFinished` have passed.

use std::time::Duration;

use client::{Action, Api, WorkQueue};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Preconditions};

use super::plan::finished_at;
use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::object::{Key, Meta};

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let adder = queue.clone();
    context.informers.jobs.on_event(move |event| {
        if due(event.object()).is_some() {
            adder.add(Key::of(&**event.object()));
        }
    });
    context.informers.jobs.synced().await;
    let ctx = context.clone();
    context.work(queue, 2, |key| sync(ctx.clone(), key)).await;
}

/// When the Job is to go, if it has ended and says so.
fn due(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    Some(finished_at(job)? + SignedDuration::from_secs(seconds.into()))
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let Some(job) = context.informers.jobs.get(Some(&key.namespace), &key.name) else {
        return Ok(Action::Done);
    };
    let Some(due) = due(&job).filter(|_| !job.is_deleting()) else { return Ok(Action::Done) };
    let left = due.duration_since(Timestamp::now());
    if left.is_positive() {
        return Ok(Action::RequeueAfter(Duration::try_from(left).unwrap_or_default()));
    }
    let api: Api<Job> = context.api(&key.namespace);
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: job.metadata.uid.clone(),
            resource_version: job.metadata.resource_version.clone(),
        }),
        ..DeleteParams::foreground()
    };
    match api.delete(&key.name, &params).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_not_found(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}
