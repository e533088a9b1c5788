//! Pods leave nodes whose NoExecute taints they do not tolerate (or no longer).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
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

/// Since when Pods are known to be on a node with a taint that they bear for a while. Not every taint
/// says when it was added: those of this controller do, those of people rarely.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<Key, (String, Timestamp)>);

// === impl Seen ===

impl Seen {
    /// Notes a Pod, and tells when it was first noted.
    pub(super) fn note(&mut self, key: &Key, pod: &Pod, now: Timestamp) -> Timestamp {
        let fresh = || (pod.id().to_owned(), now);
        let entry = self.0.entry(key.clone()).or_insert_with(fresh);
        if entry.0 != pod.id() {
            *entry = fresh();
        }
        entry.1
    }

    /// Forgets a Pod that is gone, or may stay.
    pub(super) fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }
}

/// Decides by the taints and the Pod's tolerations; taints that do not say since when they are there
/// count from `seen`. Pure.
pub(super) fn fate(pod: &Pod, taints: &[Taint], seen: Timestamp) -> Fate {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    let mut seconds: Option<i64> = None;
    let mut since: Option<Timestamp> = None;
    for taint in taints.iter().filter(|t| t.effect == NO_EXECUTE) {
        let mut covering =
            tolerations.iter().filter(|t| scheduling::tolerates(t, taint)).peekable();
        if covering.peek().is_none() {
            return Fate::LeavesAt(seen);
        }
        for patience in covering.filter_map(|t| t.toleration_seconds) {
            seconds = Some(seconds.map_or(patience, |s| s.min(patience)));
        }
        let added = taint.time_added.as_ref().map_or(seen, |t| t.0);
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
    let seen = Arc::new(Mutex::new(Seen::default()));
    context.work(queue, 8, |key| sync(ctx.clone(), Arc::clone(&seen), key)).await;
}

async fn sync(context: Context, seen: Arc<Mutex<Seen>>, key: Key) -> Result<Action, SyncError> {
    let informers = &context.informers;
    let now = Timestamp::now();
    let pod = informers.pods.get(Some(&key.namespace), &key.name);
    let pod = pod.filter(|pod| !pod.is_deleting());
    let on_node = pod.and_then(|pod| {
        let node = informers.nodes.get(None, pods::node_name(&pod)?)?;
        Some((pod, node))
    });
    let leaves = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let leaves = on_node.and_then(|(pod, node)| {
            let first = seen.note(&key, &pod, now);
            match fate(&pod, scheduling::taints(&node), first) {
                Fate::Stays => None,
                Fate::LeavesAt(at) => Some((pod, at)),
            }
        });
        if leaves.is_none() {
            seen.forget(&key);
        }
        leaves
    };
    let Some((pod, at)) = leaves else { return Ok(Action::Done) };
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
