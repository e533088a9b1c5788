//! PodDisruptionBudgets: how many Pods may be evicted now.

mod plan;

use std::collections::HashMap;

use client::{Action, WorkQueue};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::jiff::Timestamp;

use crate::context::{Context, after};
use crate::error::SyncError;
use crate::informers::{Informers, enqueue};
use crate::object::{Key, Meta};
use crate::{pods, selector};

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    enqueue(&informers.budgets, &queue);
    let (adder, budgets) = (queue.clone(), informers.budgets.clone());
    informers.pods.on_event(move |event| {
        let pod = event.object();
        for budget in budgets.list_namespace(pod.ns()) {
            if selects(&budget, pod) {
                adder.add(Key::of(&*budget));
            }
        }
    });
    // A change of size changes percentages.
    let (adder, budgets) = (queue.clone(), informers.budgets.clone());
    informers.replica_sets.on_event(move |event| {
        for budget in budgets.list_namespace(event.object().ns()) {
            adder.add(Key::of(&*budget));
        }
    });
    informers.budgets.synced().await;
    informers.pods.synced().await;
    informers.replica_sets.synced().await;
    informers.deployments.synced().await;
    informers.stateful_sets.synced().await;
    let ctx = context.clone();
    context.work(queue, 2, |key| sync(ctx.clone(), key)).await;
}

/// In `policy/v1` an empty selector selects everything and an absent one nothing.
fn selects(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let wanted = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    selector::compile(wanted).is_ok_and(|w| selector::matches(&w, pod.metadata.labels.as_ref()))
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let informers = &context.informers;
    let Some(budget) = informers.budgets.get(Some(&key.namespace), &key.name) else {
        return Ok(Action::Done);
    };
    let mut selected = informers.pods.list_namespace(&key.namespace);
    selected.retain(|pod| selects(&budget, pod) && !pods::is_terminal(pod));
    let scale = scale(informers, &selected);
    let (status, wait) = plan::status(&budget, &selected, scale, Timestamp::now());
    if budget.status.as_ref() != Some(&status) {
        let mut wanted = (*budget).clone();
        wanted.status = Some(status);
        context.write_status(&wanted).await?;
    }
    Ok(after(wait))
}

/// How many Pods the controllers of these Pods want together.
fn scale(informers: &Informers, pods: &[std::sync::Arc<Pod>]) -> i32 {
    let mut wanted: HashMap<String, i32> = HashMap::new();
    for pod in pods {
        let Some(reference) = pod.controller() else { continue };
        let (namespace, name) = (Some(pod.ns()), reference.name.as_str());
        let found = match reference.kind.as_str() {
            "ReplicaSet" => informers.replica_sets.get(namespace, name).and_then(|set| {
                let deployment = set.controller().filter(|r| r.kind == "Deployment");
                match deployment {
                    Some(owner) => {
                        informers.deployments.get(namespace, &owner.name).and_then(|d| {
                            Some((d.id().to_owned(), d.spec.as_ref()?.replicas.unwrap_or(1)))
                        })
                    }
                    None => Some((set.id().to_owned(), set.spec.as_ref()?.replicas.unwrap_or(1))),
                }
            }),
            "StatefulSet" => informers.stateful_sets.get(namespace, name).and_then(|set| {
                Some((set.id().to_owned(), set.spec.as_ref()?.replicas.unwrap_or(1)))
            }),
            "ReplicationController" => {
                informers.replication_controllers.get(namespace, name).and_then(|set| {
                    Some((set.id().to_owned(), set.spec.as_ref()?.replicas.unwrap_or(1)))
                })
            }
            _ => None,
        };
        wanted.extend(found);
    }
    wanted.values().sum()
}
