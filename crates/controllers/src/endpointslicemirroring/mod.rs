//! Endpoints that are written by hand for a Service without selector appear as slices too, since
//! slices are all that proxies and DNS read.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use client::{Action, Api, WorkQueue};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams};

use crate::context::Context;
use crate::endpointslice::Pending;
use crate::error::{SyncError, is_namespace_terminating, is_not_found};
use crate::informers::SERVICE;
use crate::object::{Key, Meta};

use plan::{MANAGED_BY, MANAGER, SERVICE_NAME, is_mirrored};

struct Controller {
    context: Context,
    pending: Pending,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    let adder = queue.clone();
    informers.endpoints.on_event(move |event| adder.add(Key::of(&**event.object())));
    let adder = queue.clone();
    informers.services.on_event(move |event| adder.add(Key::of(&**event.object())));
    let adder = queue.clone();
    informers.slices.on_event(move |event| {
        let slice = event.object();
        if slice.label(MANAGED_BY) == Some(MANAGER)
            && let Some(service) = slice.label(SERVICE_NAME)
        {
            adder.add(Key::new(slice.ns(), service));
        }
    });
    informers.endpoints.synced().await;
    informers.services.synced().await;
    informers.slices.synced().await;
    let controller = Arc::new(Controller { context: context.clone(), pending: Pending::default() });
    context.work(queue, 5, |key| Arc::clone(&controller).sync(key)).await;
}

impl Controller {
    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let informers = &self.context.informers;
        let mut slices = informers.slices.by_index(SERVICE, &key.to_string());
        slices.retain(|slice| slice.label(MANAGED_BY) == Some(MANAGER));
        if self.pending.is_behind(&key, &slices) {
            return Ok(Action::RequeueAfter(Duration::from_secs(1)));
        }
        let endpoints = informers.endpoints.get(Some(&key.namespace), &key.name);
        let service = informers.services.get(Some(&key.namespace), &key.name);
        let mirrored = match (&endpoints, &service) {
            (Some(endpoints), Some(service)) if is_mirrored(endpoints, service) => {
                Some(&**endpoints)
            }
            _ => None,
        };
        let plan = plan::plan(mirrored, &slices);
        let api: Api<EndpointSlice> = self.context.api(&key.namespace);
        let params = PostParams::default();
        for slice in &plan.create {
            match api.create(&params, slice).await {
                Ok(written) => self.pending.wrote(&key, &written),
                Err(error) if is_namespace_terminating(&error) => return Ok(Action::Done),
                Err(error) => return Err(error.into()),
            }
        }
        for slice in &plan.update {
            let written = api.replace(slice.nm(), &params, slice).await?;
            self.pending.wrote(&key, &written);
        }
        for name in &plan.delete {
            match api.delete(name, &DeleteParams::default()).await {
                Ok(_) => self.pending.deleted(&key, name),
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Action::Done)
    }
}
