//! Endpoints: the older, single object with the addresses of a Service.

mod plan;
pub(crate) mod subject;
#[cfg(test)]
pub(crate) mod test_objects;
#[cfg(test)]
mod tests;

use client::{Action, Event, WorkQueue};
use k8s_openapi::api::core::v1::Endpoints;
use kube::api::{DeleteParams, PostParams};

use crate::context::Context;
use crate::error::{SyncError, is_namespace_terminating, is_not_found};
use crate::object::Key;

const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    subject::enqueue_on_events(&informers.services, &informers.pods, &queue);
    let adder = queue.clone();
    informers.endpoints.on_event(move |event| {
        // Without a Service of that name there is nothing to do but to clean up after one.
        if !matches!(event, Event::Updated { .. }) {
            adder.add(Key::of(&**event.object()));
        }
    });
    informers.services.synced().await;
    informers.pods.synced().await;
    informers.endpoints.synced().await;
    let ctx = context.clone();
    context.work(queue, 5, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let informers = &context.informers;
    let present = informers.endpoints.get(Some(&key.namespace), &key.name);
    let api = context.api::<Endpoints>(&key.namespace);
    let Some(service) = informers.services.get(Some(&key.namespace), &key.name) else {
        let ours = present.is_some_and(|p| {
            p.metadata.labels.as_ref().is_some_and(|l| l.contains_key(MANAGED_BY))
        });
        if ours {
            match api.delete(&key.name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        return Ok(Action::Done);
    };
    if !subject::is_selecting(&service) {
        return Ok(Action::Done);
    }
    let pods = subject::pods_of(&service, &informers.pods);
    let Some(wanted) = plan::plan(&service, &pods, present.as_deref()) else {
        return Ok(Action::Done);
    };
    let params = PostParams::default();
    let written = match present {
        None => api.create(&params, &wanted).await,
        Some(_) => api.replace(&key.name, &params, &wanted).await,
    };
    match written {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_namespace_terminating(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}
