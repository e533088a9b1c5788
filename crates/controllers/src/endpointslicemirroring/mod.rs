//! Endpoints that are written by hand for a Service without selector appear as slices too, since
//! slices are all that proxies and DNS read.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use client::{Action, WorkQueue};

use crate::context::Context;
use crate::endpointslice::managed::Managed;
use crate::error::SyncError;
use crate::informers::enqueue;
use crate::object::Key;

use plan::{MANAGER, is_mirrored};

struct Controller {
    context: Context,
    slices: Managed,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    enqueue(&informers.endpoints, &queue);
    enqueue(&informers.services, &queue);
    let slices = Managed::new(&context, MANAGER, &queue);
    informers.endpoints.synced().await;
    informers.services.synced().await;
    informers.slices.synced().await;
    let controller = Arc::new(Controller { context: context.clone(), slices });
    context.work(queue, 5, |key| Arc::clone(&controller).sync(key)).await;
}

impl Controller {
    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let informers = &self.context.informers;
        let Some(slices) = self.slices.of(&key) else {
            return Ok(Action::RequeueAfter(Duration::from_secs(1)));
        };
        let endpoints = informers.endpoints.get(Some(&key.namespace), &key.name);
        let service = informers.services.get(Some(&key.namespace), &key.name);
        let mirrored = match (&endpoints, &service) {
            (Some(endpoints), Some(service)) if is_mirrored(endpoints, service) => {
                Some(&**endpoints)
            }
            _ => None,
        };
        self.slices.execute(&key, plan::plan(mirrored, &slices)).await?;
        Ok(Action::Done)
    }
}
