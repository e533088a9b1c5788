//! ResourceQuotas: what is used of them is counted anew when something is given back, when a
//! quota changes, and every few minutes. What is taken is charged by admission.

mod feed;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use client::{Action, Event, Informer, WorkQueue};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceQuota};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use machinery::Value;
use resources::quota::Evaluator;
use serde::Serialize;

use crate::context::Context;
use crate::error::{SyncError, is_settled};
use crate::object::{Key, Meta};
use crate::pods;

use feed::Feeds;

/// Everything is counted anew this often, as upstream.
const RESYNC: Duration = Duration::from_secs(5 * 60);
/// When to look again for a resource that is not served.
const MISSING: Duration = Duration::from_secs(30);

struct Controller {
    context: Context,
    quotas: Informer<ResourceQuota>,
    claims: Informer<PersistentVolumeClaim>,
    feeds: Feeds,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    let (quotas, claims) = (informers.quotas.clone(), informers.claims.clone());
    let adder = queue.clone();
    quotas.on_event(move |event| match event {
        Event::Added(quota) => adder.add(Key::of(&**quota)),
        Event::Updated { new, .. } => {
            let hard = new.spec.as_ref().and_then(|spec| spec.hard.as_ref());
            // What admission charges is right.
            if hard != new.status.as_ref().and_then(|status| status.hard.as_ref()) {
                adder.add(Key::of(&**new));
            }
        }
        Event::Deleted(_) => {}
    });
    let given_back = {
        let (adder, quotas) = (queue.clone(), quotas.clone());
        Arc::new(move |namespace: &str| {
            for quota in quotas.list_namespace(namespace) {
                adder.add(Key::of(&*quota));
            }
        })
    };
    let back = given_back.clone();
    informers.pods.on_event(move |event| {
        let over = match event {
            Event::Added(_) => false,
            Event::Updated { old, new } => !pods::is_terminal(old) && pods::is_terminal(new),
            Event::Deleted(_) => true,
        };
        if over {
            back(event.object().ns());
        }
    });
    let back = given_back.clone();
    informers.services.on_event(move |event| {
        let changed = match event {
            Event::Added(_) => false,
            Event::Updated { old, new } => {
                let of = |service: &k8s_openapi::api::core::v1::Service| {
                    let spec = service.spec.as_ref()?;
                    Some((spec.type_.clone(), spec.ports.as_ref().map_or(0, Vec::len)))
                };
                of(old) != of(new)
            }
            Event::Deleted(_) => true,
        };
        if changed {
            back(event.object().ns());
        }
    });
    let back = given_back.clone();
    claims.on_event(move |event| {
        let changed = match event {
            Event::Added(_) => false,
            Event::Updated { old, new } => (&old.spec, &old.status) != (&new.spec, &new.status),
            Event::Deleted(_) => true,
        };
        if changed {
            back(event.object().ns());
        }
    });
    quotas.synced().await;
    informers.pods.synced().await;
    informers.services.synced().await;
    claims.synced().await;
    let feeds = Feeds::new(context.client.clone(), given_back, context.shutdown.clone());
    let controller = Arc::new(Controller { context: context.clone(), quotas, claims, feeds });
    context.work(queue, 5, |key| sync(controller.clone(), key)).await;
}

async fn sync(controller: Arc<Controller>, key: Key) -> Result<Action, SyncError> {
    let Some(quota) = controller.quotas.get(Some(&key.namespace), &key.name) else {
        return Ok(Action::Done);
    };
    let object = tree(&*quota);
    let parsed = resources::quota::Quota::of(&object);
    let evaluators = parsed.evaluators();
    let mut complete = true;
    let mut counted = Vec::new();
    for evaluator in evaluators {
        match controller.objects(&evaluator, &key.namespace).await? {
            Some(objects) => counted.push((evaluator, objects)),
            None => complete = false,
        }
    }
    if let Some(status) = plan::status(&object, &parsed, &counted, Timestamp::now()) {
        let mut wanted = (*quota).clone();
        wanted.status = serde_json::from_value(status).ok();
        let api = controller.context.api::<ResourceQuota>(&key.namespace);
        match api.replace_status(&key.name, &PostParams::default(), &wanted).await {
            Ok(_) => {}
            // Admission charged it meanwhile: the informer brings that, and it is counted again.
            Err(error) if is_settled(&error) => {
                return Ok(Action::RequeueAfter(Duration::from_millis(100)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Action::RequeueAfter(if complete { RESYNC } else { MISSING }))
}

impl Controller {
    /// All objects in a namespace that an evaluator counts; none if there is no such resource.
    async fn objects(
        &self,
        evaluator: &Evaluator,
        namespace: &str,
    ) -> Result<Option<Vec<Value>>, SyncError> {
        let informers = &self.context.informers;
        Ok(match evaluator {
            Evaluator::Pods => Some(trees(informers.pods.list_namespace(namespace))),
            Evaluator::Services => Some(trees(informers.services.list_namespace(namespace))),
            Evaluator::Claims => Some(trees(self.claims.list_namespace(namespace))),
            Evaluator::ResourceClaims | Evaluator::Count { .. } => {
                self.feeds.objects(evaluator, namespace).await?
            }
        })
    }
}

fn trees<K: Serialize>(objects: Vec<Arc<K>>) -> Vec<Value> {
    objects.iter().map(|object| tree(&**object)).collect()
}

fn tree(object: &impl Serialize) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}
