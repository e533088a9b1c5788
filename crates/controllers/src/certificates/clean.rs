//! Removes requests that nobody will look at again.

use std::time::Duration;

use client::{Action, Api, WorkQueue};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::condition;
use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::informers::enqueue;
use crate::object::Key;

/// How long decided requests stay.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// How long undecided ones wait.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    enqueue(&context.informers.signing_requests, &queue);
    context.informers.signing_requests.synced().await;
    let ctx = context.clone();
    context.work(queue, 1, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let Some(csr) = context.informers.signing_requests.get(None, &key.name) else {
        return Ok(Action::Done);
    };
    let Some(due) = due(&csr) else { return Ok(Action::Done) };
    let left = due.duration_since(Timestamp::now());
    if left.is_positive() {
        return Ok(Action::RequeueAfter(Duration::try_from(left).unwrap_or_default()));
    }
    let api: Api<CertificateSigningRequest> = Api::all(context.client.clone());
    match api.delete(&key.name, &kube::api::DeleteParams::default()).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_not_found(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

/// When the request is to go: an hour after it was decided or failed, a day after it was made.
pub(super) fn due(csr: &CertificateSigningRequest) -> Option<Timestamp> {
    let decided = ["Approved", "Denied", "Failed"].iter().filter_map(|kind| {
        let condition = condition(csr, kind)?;
        Some(condition.last_update_time.as_ref()?.0 + DECIDED)
    });
    let made = csr.metadata.creation_timestamp.as_ref().map(|made| made.0 + PENDING);
    decided.chain(made).min()
}
