//! EndpointSlices: where the Pods behind a Service are, in pieces of at most a hundred.

mod pending;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use client::{Action, Api, Event, EventType, WorkQueue};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, PostParams};

use crate::context::Context;
use crate::endpoints::subject;
use crate::error::{SyncError, is_namespace_terminating, is_not_found, message};
use crate::informers::SERVICE;
use crate::object::{Key, Meta};

pub(crate) use pending::Pending;
use plan::{MANAGED_BY, MANAGER, Plan, SERVICE_NAME};

const ZONE: &str = "topology.kubernetes.io/zone";

struct Controller {
    context: Context,
    pending: Pending,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    subject::enqueue_on_events(&informers.services, &informers.pods, &queue);
    let adder = queue.clone();
    informers.slices.on_event(move |event| {
        let slice = event.object();
        if slice.label(MANAGED_BY) == Some(MANAGER)
            && let Some(service) = slice.label(SERVICE_NAME)
        {
            adder.add(Key::new(slice.ns(), service));
        }
    });
    let (adder, services) = (queue.clone(), informers.services.clone());
    informers.nodes.on_event(move |event| {
        // Zones of endpoints are those of their nodes.
        let concerns = match event {
            Event::Updated { old, new } => old.label(ZONE) != new.label(ZONE),
            Event::Added(node) => node.label(ZONE).is_some(),
            Event::Deleted(_) => false,
        };
        if concerns {
            services.list().iter().for_each(|service| adder.add(Key::of(&**service)));
        }
    });
    informers.services.synced().await;
    informers.pods.synced().await;
    informers.slices.synced().await;
    informers.nodes.synced().await;
    let controller = Arc::new(Controller { context: context.clone(), pending: Pending::default() });
    context.work(queue, 5, |key| Arc::clone(&controller).sync(key)).await;
}

impl Controller {
    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let informers = &self.context.informers;
        let Some(service) = informers.services.get(Some(&key.namespace), &key.name) else {
            // The garbage collector takes the slices.
            self.pending.forget(&key);
            return Ok(Action::Done);
        };
        if !subject::is_selecting(&service) || service.is_deleting() {
            return Ok(Action::Done);
        }
        let mut slices = informers.slices.by_index(SERVICE, &key.to_string());
        slices.retain(|slice| slice.label(MANAGED_BY) == Some(MANAGER));
        if self.pending.is_behind(&key, &slices) {
            return Ok(Action::RequeueAfter(Duration::from_secs(1)));
        }
        let pods = subject::pods_of(&service, &informers.pods);
        let plan = plan::plan(&service, &pods, |name| informers.nodes.get(None, name), &slices);
        if plan.is_empty() {
            return Ok(Action::Done);
        }
        if let Err(error) = self.execute(&key, plan).await {
            let text =
                format!("Error updating Endpoint Slices for Service {key}: {}", message(&error));
            let recorder = &self.context.recorder;
            recorder.event::<Service>(
                &service,
                EventType::Warning,
                "FailedToUpdateEndpointSlices",
                text,
            );
            return Err(error.into());
        }
        Ok(Action::Done)
    }

    async fn execute(&self, key: &Key, plan: Plan) -> Result<(), kube::Error> {
        let api: Api<EndpointSlice> = self.context.api(&key.namespace);
        let params = PostParams::default();
        for slice in &plan.create {
            match api.create(&params, slice).await {
                Ok(written) => self.pending.wrote(key, &written),
                Err(error) if is_namespace_terminating(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        for slice in &plan.update {
            let written = api.replace(slice.nm(), &params, slice).await?;
            self.pending.wrote(key, &written);
        }
        for name in &plan.delete {
            match api.delete(name, &DeleteParams::default()).await {
                Ok(_) => self.pending.deleted(key, name),
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
