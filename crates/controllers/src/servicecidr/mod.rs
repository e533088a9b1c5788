//! ServiceCIDRs: ready once they are protected, and gone only when no address of theirs is used.

mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::{Action, Api, Event, WorkQueue};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::context::Context;
use crate::error::{SyncError, is_settled};
use crate::informers::enqueue;
use crate::object::{Key, Meta};

use plan::{FINALIZER, Ready, Step, allocated, plan, ranges};

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = &context.informers;
    enqueue(&informers.service_cidrs, &queue);
    let (adder, known) = (queue.clone(), informers.service_cidrs.clone());
    informers.service_cidrs.on_event(move |event| {
        // One that is added may hold the addresses of one that goes.
        if let Event::Added(added) = event {
            for other in known.list() {
                if ranges(&other).any(|a| ranges(added).any(|b| a.overlaps(b))) {
                    adder.add(Key::of(&*other));
                }
            }
        }
    });
    let (adder, known) = (queue.clone(), informers.service_cidrs.clone());
    informers.ip_addresses.on_event(move |event| {
        let Some(ip) = allocated(event.object()) else { return };
        if matches!(event, Event::Updated { .. }) {
            return;
        }
        for object in known.list() {
            // Only one that is on its way out waits for addresses.
            if object.is_deleting() && ranges(&object).any(|range| range.contains(ip)) {
                adder.add(Key::of(&*object));
            }
        }
    });
    informers.service_cidrs.synced().await;
    informers.ip_addresses.synced().await;
    let ctx = context.clone();
    context.work(queue, 1, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let informers = &context.informers;
    let Some(object) = informers.service_cidrs.get(None, &key.name) else {
        return Ok(Action::Done);
    };
    let all = informers.service_cidrs.list();
    // Addresses matter to one that goes; the others are not held up by looking at all of them.
    let addresses = if object.is_deleting() { informers.ip_addresses.list() } else { Vec::new() };
    let step = plan(
        &object,
        all.iter().map(Arc::as_ref),
        addresses.iter().filter_map(|address| allocated(address)),
        Timestamp::now(),
    );
    let api: Api<ServiceCIDR> = Api::all(context.client.clone());
    let written = match step {
        Step::Done => return Ok(Action::Done),
        Step::Wait(rest) => return Ok(Action::RequeueAfter(rest)),
        Step::AddFinalizer => finalizer(&api, &key.name, "finalizers").await,
        Step::RemoveFinalizer => {
            finalizer(&api, &key.name, "$deleteFromPrimitiveList/finalizers").await
        }
        Step::SetCondition(ready) => {
            let object = with_condition(&object, ready, Timestamp::now());
            api.replace_status(&key.name, &PostParams::default(), &object).await
        }
    };
    match written {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_settled(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}

async fn finalizer(
    api: &Api<ServiceCIDR>,
    name: &str,
    field: &str,
) -> Result<ServiceCIDR, kube::Error> {
    let patch = json!({"metadata": {field: [FINALIZER]}});
    api.patch(name, &PatchParams::default(), &Patch::Strategic(&patch)).await
}

fn with_condition(object: &ServiceCIDR, ready: Ready, now: Timestamp) -> ServiceCIDR {
    let mut object = object.clone();
    let conditions = object.status.get_or_insert_default().conditions.get_or_insert_default();
    let before = conditions.iter().position(|condition| condition.type_ == "Ready");
    let before = before.map(|at| conditions.remove(at));
    let since = before
        .filter(|condition| condition.status == ready.status)
        .map_or(Time(now), |condition| condition.last_transition_time);
    conditions.push(Condition {
        type_: "Ready".to_owned(),
        status: ready.status.to_owned(),
        reason: ready.reason.to_owned(),
        message: ready.message.to_owned(),
        last_transition_time: since,
        observed_generation: None,
    });
    object
}
