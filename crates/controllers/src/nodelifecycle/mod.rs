//! Nodes that stop reporting become Unknown, their taints follow their conditions, and Pods
//! leave what they do not tolerate.

mod eviction;
mod health;
mod taints;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::{HashMap, HashSet};

use client::{Action, Api, Event, EventType, WorkQueue};
use component::clock::Steady;
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::context::Context;
use crate::error::{SyncError, is_conflict, is_not_found};
use crate::informers::NODE;
use crate::object::{Key, Meta};
use crate::pods;

use health::{Now, Readiness, Sign};
use zones::Limiter;

/// Runs the three parts until shutdown.
pub(crate) async fn run(context: Context) {
    tokio::join!(
        eviction::run(context.clone()),
        follow_conditions(context.clone()),
        watch_health(context),
    );
}

/// Brings taints in line with conditions as soon as either changes.
async fn follow_conditions(context: Context) {
    let queue: WorkQueue<Key> = WorkQueue::new();
    let adder = queue.clone();
    context.informers.nodes.on_event(move |event| match event {
        Event::Added(node) | Event::Updated { new: node, .. } => adder.add(Key::of(&**node)),
        Event::Deleted(_) => {}
    });
    context.informers.nodes.synced().await;
    let ctx = context.clone();
    context.work(queue, 4, |key| sync_taints(ctx.clone(), key)).await;
}

async fn sync_taints(context: Context, key: Key) -> Result<Action, SyncError> {
    let Some(node) = context.informers.nodes.get(None, &key.name) else {
        return Ok(Action::Done);
    };
    if let Some(wanted) = taints::plan(&node, false, Timestamp::now()) {
        write_taints(&context, &node, &wanted).await?;
    }
    Ok(Action::Done)
}

async fn write_taints(context: &Context, node: &Node, taints: &[Taint]) -> Result<(), SyncError> {
    let api: Api<Node> = Api::all(context.client.clone());
    let patch = json!({
        "metadata": {"resourceVersion": node.metadata.resource_version},
        "spec": {"taints": taints},
    });
    match api.patch(node.nm(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Looks at every node each monitor period: silence is the one thing that no event tells.
async fn watch_health(context: Context) {
    let informers = &context.informers;
    let recorder = context.recorder.clone();
    informers.nodes.on_event(move |event| {
        let (reason, text) = match event {
            Event::Added(node) => {
                let name = node.nm();
                (
                    "RegisteredNode",
                    format!("Node {name} event: Registered Node {name} in Controller"),
                )
            }
            Event::Deleted(node) => {
                let name = node.nm();
                ("RemovingNode", format!("Node {name} event: Removing Node {name} from Controller"))
            }
            Event::Updated { .. } => return,
        };
        recorder.event_ref(&node_reference(event.object()), EventType::Normal, reason, text);
    });
    informers.nodes.synced().await;
    informers.node_leases.synced().await;
    informers.pods.synced().await;
    let mut monitor = Monitor {
        context: context.clone(),
        signs: HashMap::new(),
        unmarked: HashSet::new(),
        limiter: Limiter::default(),
        clock: Steady::start(),
    };
    let mut period = tokio::time::interval(context.config.node_monitor_period);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            _ = period.tick() => monitor.round().await,
        }
    }
}

/// Upstream's node events refer to the node by its name as UID.
fn node_reference(node: &Node) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: node.metadata.name.clone(),
        uid: node.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

struct Monitor {
    context: Context,
    signs: HashMap<String, Sign>,
    /// Nodes whose Pods are still to be marked as not ready.
    unmarked: HashSet<String>,
    limiter: Limiter,
    clock: Steady,
}

impl Monitor {
    fn steady(&self) -> Timestamp {
        Timestamp::try_from(self.clock.now()).unwrap_or(Timestamp::MAX)
    }

    async fn round(&mut self) {
        let nodes = self.context.informers.nodes.list();
        self.signs.retain(|name, _| nodes.iter().any(|n| n.nm() == name));
        self.unmarked.retain(|name| self.signs.contains_key(name));
        for node in &nodes {
            if let Err(error) = self.check(node).await {
                tracing::warn!(node = node.nm(), %error, "cannot update node health");
            }
        }
        let rates = zones::rates(nodes.iter().map(|n| &**n), &self.context.config);
        for node in nodes.iter().filter(|node| taints::wants_eviction(node)) {
            let zone = zones::zone(node);
            let rate = rates.get(&zone).copied().unwrap_or(0.0);
            let steady = self.steady();
            if !self.limiter.admit(&zone, rate, steady) {
                continue;
            }
            let Some(wanted) = taints::plan(node, true, Timestamp::now()) else { continue };
            match write_taints(&self.context, node, &wanted).await {
                Ok(()) => {}
                Err(SyncError::Api(error)) if is_conflict(&error) => {}
                Err(error) => tracing::warn!(node = node.nm(), %error, "cannot taint"),
            }
        }
    }

    async fn check(&mut self, node: &Node) -> Result<(), SyncError> {
        let (now, steady) = (Timestamp::now(), self.steady());
        let config = &self.context.config;
        let lease = self.context.informers.node_leases.get(Some("kube-node-lease"), node.nm());
        let renewed = lease.and_then(|l| l.spec.as_ref()?.renew_time.as_ref().map(|t| t.0));
        let before = self.signs.get(node.nm());
        let sign = health::observe(node, renewed, before, Now { steady, wall: now });
        let grace = SignedDuration::try_from(config.node_monitor_grace_period).unwrap_or_default();
        let startup =
            SignedDuration::try_from(config.node_startup_grace_period).unwrap_or_default();
        let silent = health::is_silent(node, &sign, grace, startup, steady);
        let first = before.is_none();
        self.signs.insert(node.nm().to_owned(), sign);
        if silent && let Some(conditions) = health::unknown_conditions(node, now) {
            let api: Api<Node> = Api::all(self.context.client.clone());
            let patch = json!({
                "metadata": {"resourceVersion": node.metadata.resource_version},
                "status": {"conditions": conditions},
            });
            match api
                .patch_status(node.nm(), &PatchParams::default(), &Patch::Strategic(&patch))
                .await
            {
                Ok(_) => {}
                Err(error) if is_not_found(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if health::readiness(node) == Readiness::True {
                self.tell_not_ready(node);
                self.unmarked.insert(node.nm().to_owned());
            }
        }
        // A process before this one may have died when it had said that the node is silent and not
        // yet what follows. A kubelet that says itself that its node is not ready knows of its Pods.
        let known = matches!(health::readiness(node), Readiness::False | Readiness::Unknown);
        if first && known {
            self.unmarked.insert(node.nm().to_owned());
        }
        if self.unmarked.contains(node.nm()) {
            self.mark_pods(node).await?;
            self.unmarked.remove(node.nm());
        }
        Ok(())
    }

    fn tell_not_ready(&self, node: &Node) {
        let text = format!("Node {} status is now: NodeNotReady", node.nm());
        let reference = node_reference(node);
        self.context.recorder.event_ref(&reference, EventType::Normal, "NodeNotReady", text);
    }

    /// Pods of a node that is not ready are not ready, so that nobody is sent to them.
    async fn mark_pods(&self, node: &Node) -> Result<(), SyncError> {
        let mut failed = None;
        for pod in self.context.informers.pods.by_index(NODE, node.nm()) {
            if !pods::is_ready(&pod) {
                continue;
            }
            let text = "Node is not ready";
            self.context.recorder.event(&*pod, EventType::Warning, "NodeNotReady", text);
            let api: Api<Pod> = self.context.api(pod.ns());
            let patch = json!({
                "metadata": {"uid": pod.id()},
                "status": {"conditions": [{
                    "type": "Ready",
                    "status": "False",
                    "lastTransitionTime": Time(Timestamp::now()),
                }]},
            });
            let params = PatchParams::default();
            match api.patch_status(pod.nm(), &params, &Patch::Strategic(&patch)).await {
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}
