//! Pods leave nodes whose NoExecute taints they do not tolerate (or no longer).

use std::sync::Arc;
use std::time::Duration;

use client::{Action, Api, Event, EventType, WorkQueue};
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use super::taints::NO_EXECUTE;
use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::informers::NODE;
use crate::object::{Key, Meta};
use crate::{pods, scheduling};

/// What becomes of a Pod on a tainted node.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Stays,
    LeavesAt(Timestamp),
}

/// Decides by the taints and the Pod's tolerations. Pure.
pub(super) fn fate(pod: &Pod, taints: &[Taint], now: Timestamp) -> Fate {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    let mut seconds: Option<i64> = None;
    let mut since: Option<Timestamp> = None;
    for taint in taints.iter().filter(|t| t.effect == NO_EXECUTE) {
        let mut covering =
            tolerations.iter().filter(|t| scheduling::tolerates(t, taint)).peekable();
        if covering.peek().is_none() {
            return Fate::LeavesAt(now);
        }
        for patience in covering.filter_map(|t| t.toleration_seconds) {
            seconds = Some(seconds.map_or(patience, |s| s.min(patience)));
        }
        let added = taint.time_added.as_ref().map_or(now, |t| t.0);
        since = Some(since.map_or(added, |s| s.max(added)));
    }
    match (seconds, since) {
        (Some(seconds), Some(since)) => {
            Fate::LeavesAt(since + SignedDuration::from_secs(seconds.max(0)))
        }
        _ => Fate::Stays,
    }
}

fn has_no_execute(node: &Node) -> bool {
    scheduling::taints(node).iter().any(|t| t.effect == NO_EXECUTE)
}

/// Runs until shutdown.
pub(super) async fn run(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let informers = Arc::clone(&context.informers);
    let (adder, nodes) = (queue.clone(), informers.nodes.clone());
    informers.pods.on_event(move |event| {
        let (Event::Added(pod) | Event::Updated { new: pod, .. }) = event else { return };
        let node = pods::node_name(pod).and_then(|name| nodes.get(None, name));
        if node.is_some_and(|node| has_no_execute(&node)) {
            adder.add(Key::of(&**pod));
        }
    });
    let (adder, all) = (queue.clone(), informers.pods.clone());
    informers.nodes.on_event(move |event| {
        let (Event::Added(node) | Event::Updated { new: node, .. }) = event else { return };
        let had = matches!(event, Event::Updated { old, .. } if has_no_execute(old));
        if had || has_no_execute(node) {
            for pod in all.by_index(NODE, node.nm()) {
                adder.add(Key::of(&*pod));
            }
        }
    });
    informers.nodes.synced().await;
    informers.pods.synced().await;
    let ctx = context.clone();
    context.work(queue, 8, |key| sync(ctx.clone(), key)).await;
}

async fn sync(context: Context, key: Key) -> Result<Action, SyncError> {
    let informers = &context.informers;
    let Some(pod) = informers.pods.get(Some(&key.namespace), &key.name) else {
        return Ok(Action::Done);
    };
    let node = pods::node_name(&pod).and_then(|name| informers.nodes.get(None, name));
    let Some(node) = node.filter(|_| !pod.is_deleting()) else { return Ok(Action::Done) };
    let now = Timestamp::now();
    let at = match fate(&pod, scheduling::taints(&node), now) {
        Fate::Stays => return Ok(Action::Done),
        Fate::LeavesAt(at) => at,
    };
    if at > now {
        let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
        return Ok(Action::RequeueAfter(wait));
    }
    let text = format!("Marking for deletion Pod {key}");
    context.recorder.event(&*pod, EventType::Normal, "TaintManagerEviction", text);
    let api: Api<Pod> = context.api(&key.namespace);
    let patch = json!({
        "metadata": {"uid": pod.id()},
        "status": {"conditions": [{
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": Time(now),
        }]},
    });
    match api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(&patch)).await {
        Ok(_) => {}
        Err(error) if is_not_found(&error) => return Ok(Action::Done),
        Err(error) => return Err(error.into()),
    }
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    match api.delete(&key.name, &params).await {
        Ok(_) => Ok(Action::Done),
        Err(error) if is_not_found(&error) => Ok(Action::Done),
        Err(error) => Err(error.into()),
    }
}
