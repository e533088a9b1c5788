//! EndpointSlices: where the Pods behind a Service are, in pieces of at most a hundred.

pub(crate) mod managed;
mod pending;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use client::{Action, Event, EventType, WorkQueue};
use k8s_openapi::api::core::v1::Service;

use crate::context::Context;
use crate::endpoints::subject;
use crate::error::{SyncError, message};
use crate::object::{Key, Meta};

use managed::Managed;
use plan::MANAGER;

const ZONE: &str = "topology.kubernetes.io/zone";

struct Controller {
    context: Context,
    slices: Managed,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    subject::enqueue_on_events(&informers.services, &informers.pods, &queue);
    let slices = Managed::new(&context, MANAGER, &queue);
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
    let controller = Arc::new(Controller { context: context.clone(), slices });
    context.work(queue, 5, |key| Arc::clone(&controller).sync(key)).await;
}

impl Controller {
    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let informers = &self.context.informers;
        let Some(service) = informers.services.get(Some(&key.namespace), &key.name) else {
            // The garbage collector takes the slices.
            self.slices.forget(&key);
            return Ok(Action::Done);
        };
        if !subject::is_selecting(&service) || service.is_deleting() {
            return Ok(Action::Done);
        }
        let Some(slices) = self.slices.of(&key) else {
            return Ok(Action::RequeueAfter(Duration::from_secs(1)));
        };
        let pods = subject::pods_of(&service, &informers.pods);
        let plan = plan::plan(&service, &pods, |name| informers.nodes.get(None, name), &slices);
        if plan.is_empty() {
            return Ok(Action::Done);
        }
        if let Err(error) = self.slices.execute(&key, plan).await {
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
}
