//! Claims and volumes stay for as long as they are used: their finalizer goes when nothing uses
//! them any more,
//! <https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection>.

mod plan;
#[cfg(test)]
mod tests;

use client::{Action, Api, Event, WorkQueue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, PostParams};

use crate::context::Context;
use crate::error::{SyncError, is_settled};
use crate::informers::enqueue;
use crate::object::{Key, Meta};

use plan::{OF_CLAIMS, OF_VOLUMES, Step, claims_of, step, uses};

/// Runs the controller of claims until shutdown.
pub(crate) async fn claims(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    enqueue(&informers.claims, &queue);
    let adder = queue.clone();
    informers.pods.on_event(move |event| {
        // A Pod that comes does not free a claim.
        if matches!(event, Event::Added(_)) {
            return;
        }
        let pod = event.object();
        for claim in claims_of(pod) {
            adder.add(Key::new(pod.ns(), &claim));
        }
    });
    informers.claims.synced().await;
    informers.pods.synced().await;
    let ctx = context.clone();
    context.work(queue, 1, |key| claim(ctx.clone(), key)).await;
}

async fn claim(context: Context, key: Key) -> Result<Action, SyncError> {
    let informers = &context.informers;
    let Some(claim) = informers.claims.get(Some(&key.namespace), &key.name) else {
        return Ok(Action::Done);
    };
    let known = informers.pods.list_namespace(&key.namespace);
    let used = known.iter().any(|pod| uses(pod, &key.name));
    let Some(step) = step(&claim.metadata, OF_CLAIMS, used) else { return Ok(Action::Done) };
    if step == Step::Release {
        // The copy may lack a Pod that is new; what is let go cannot be had back.
        let pods: Api<Pod> = context.api(&key.namespace);
        let all = pods.list(&ListParams::default()).await?;
        if all.items.iter().any(|pod| uses(pod, &key.name)) {
            return Ok(Action::Done);
        }
    }
    let mut wanted = (*claim).clone();
    apply(&mut wanted.metadata, step, OF_CLAIMS);
    let api: Api<PersistentVolumeClaim> = context.api(&key.namespace);
    settled(api.replace(&key.name, &PostParams::default(), &wanted).await)
}

/// Runs the controller of volumes until shutdown.
pub(crate) async fn volumes(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    enqueue(&context.informers.volumes, &queue);
    context.informers.volumes.synced().await;
    let ctx = context.clone();
    context.work(queue, 1, |key| volume(ctx.clone(), key)).await;
}

async fn volume(context: Context, key: Key) -> Result<Action, SyncError> {
    let Some(volume) = context.informers.volumes.get(None, &key.name) else {
        return Ok(Action::Done);
    };
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let Some(step) = step(&volume.metadata, OF_VOLUMES, phase == Some("Bound")) else {
        return Ok(Action::Done);
    };
    let mut wanted = (*volume).clone();
    apply(&mut wanted.metadata, step, OF_VOLUMES);
    let api: Api<PersistentVolume> = Api::all(context.client.clone());
    settled(api.replace(&key.name, &PostParams::default(), &wanted).await)
}

fn apply(metadata: &mut ObjectMeta, step: Step, finalizer: &str) {
    let finalizers = metadata.finalizers.get_or_insert_default();
    match step {
        Step::Protect => finalizers.push(finalizer.to_owned()),
        Step::Release => finalizers.retain(|known| known != finalizer),
    }
}

/// Somebody else's write brings the object here again.
fn settled<T>(written: Result<T, kube::Error>) -> Result<Action, SyncError> {
    match written {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_settled(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}
