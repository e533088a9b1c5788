//! Removes tokens that have expired.

use std::time::Duration;

use client::{Action, WorkQueue};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Preconditions};

use super::{expiration, is_token};
use crate::context::Context;
use crate::error::{SyncError, is_conflict, is_not_found};
use crate::informers::enqueue;
use crate::object::{Key, Meta};

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    enqueue(&context.informers.bootstrap_tokens, &queue);
    context.informers.bootstrap_tokens.synced().await;
    let ctx = context.clone();
    context.work(queue, 1, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let informer = &context.informers.bootstrap_tokens;
    let Some(secret) = informer.get(Some(&key.namespace), &key.name) else {
        return Ok(Action::Done);
    };
    match left(&secret, Timestamp::now()) {
        None => return Ok(Action::Done),
        Some(Duration::ZERO) => {}
        Some(left) => return Ok(Action::RequeueAfter(left)),
    }
    // Not one of the same name that has been made meanwhile.
    let preconditions =
        Preconditions { uid: Some(secret.id().to_owned()), ..Preconditions::default() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match context.api::<Secret>(&key.namespace).delete(&key.name, &params).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_not_found(&error) || is_conflict(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

/// How long a token still has; nothing if it does not end or is none.
pub(super) fn left(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let end = expiration(secret).filter(|_| is_token(secret))?;
    Some(Duration::try_from(end.duration_since(now)).unwrap_or_default())
}
