//! Every node has a range of Pod addresses of its own.

pub(crate) mod plan;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use client::{Action, Api, Event, EventType, WorkQueue};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::error::{SyncError, is_not_found};
use crate::object::{Key, Meta};

use plan::{Cidr, allocate};

struct Controller {
    context: Context,
    cluster: Vec<Cidr>,
    service: Vec<Cidr>,
    /// Given out but perhaps not in the informer yet, by node.
    given: Mutex<HashMap<String, Vec<Cidr>>>,
}

/// Runs the controller until shutdown. `cluster` has one range for each address family.
pub(crate) async fn run(context: Context, cluster: Vec<Cidr>, service: Vec<Cidr>) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let controller = Arc::new(Controller {
        context: context.clone(),
        cluster,
        service,
        given: Mutex::default(),
    });
    let (adder, watcher) = (queue.clone(), Arc::clone(&controller));
    context.informers.nodes.on_event(move |event| match event {
        Event::Deleted(node) => {
            watcher.given.lock().unwrap_or_else(PoisonError::into_inner).remove(node.nm());
            // A range is free again for a node that got none.
            for node in
                watcher.context.informers.nodes.list().iter().filter(|n| ranges(n).is_empty())
            {
                adder.add(Key::of(&**node));
            }
        }
        Event::Added(node) | Event::Updated { new: node, .. } => {
            if ranges(node).is_empty() {
                adder.add(Key::of(&**node));
            }
        }
    });
    context.informers.nodes.synced().await;
    // One worker: two must not choose the same range.
    context.work(queue, 1, |key| Arc::clone(&controller).sync(key)).await;
}

fn ranges(node: &Node) -> Vec<Cidr> {
    let spec = node.spec.as_ref();
    let many = spec.and_then(|s| s.pod_cidrs.as_ref()).filter(|c| !c.is_empty());
    match many {
        Some(many) => many.iter().filter_map(|c| c.parse().ok()).collect(),
        None => spec.and_then(|s| s.pod_cidr.as_ref()?.parse().ok()).into_iter().collect(),
    }
}

impl Controller {
    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let nodes = &self.context.informers.nodes;
        let Some(node) = nodes.get(None, &key.name) else { return Ok(Action::Done) };
        if !ranges(&node).is_empty() || node.is_deleting() {
            return Ok(Action::Done);
        }
        let Some(chosen) = self.choose(&key.name) else {
            let text = format!("Node {} status is now: CIDRNotAvailable", key.name);
            self.context.recorder.event(&*node, EventType::Normal, "CIDRNotAvailable", text);
            return Err(SyncError::NotReady("no range of Pod addresses is left".to_owned()));
        };
        let texts: Vec<String> = chosen.iter().map(ToString::to_string).collect();
        let patch = json!({"spec": {"podCIDR": texts.first(), "podCIDRs": texts}});
        let api: Api<Node> = Api::all(self.context.client.clone());
        match api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(&patch)).await {
            Ok(_) => Ok(Action::Done),
            Err(error) if is_not_found(&error) => {
                self.given.lock().unwrap_or_else(PoisonError::into_inner).remove(&key.name);
                Ok(Action::Done)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// One range of each family; the same ones again when the node asks again.
    fn choose(&self, node: &str) -> Option<Vec<Cidr>> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chosen) = given.get(node) {
            return Some(chosen.clone());
        }
        let mut used = self.service.clone();
        used.extend(given.values().flatten());
        used.extend(self.context.informers.nodes.list().iter().flat_map(|node| ranges(node)));
        let chosen: Option<Vec<Cidr>> =
            self.cluster.iter().map(|cluster| allocate(*cluster, &used)).collect();
        let chosen = chosen?;
        given.insert(node.to_owned(), chosen.clone());
        Some(chosen)
    }
}
