//! Granting resizes: one task looks at those that wait, whenever one is added or there may be room.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::admission::{self, Reason};
use super::ledger::Nudge;
use super::messages::message;
use super::metrics::Trigger;
use super::order::{self, Waiting};
use crate::cgroup::resources::{Qos, pod_requests, qos};
use crate::events::EventType;
use crate::pod::manager::Manager;
use crate::pod::spec;
use crate::seam::{PodUid, pod_uid};

/// Between looks although nothing seems to have changed.
const RETRY: Duration = Duration::from_secs(180);

/// Grants resizes until shutdown, from when `sources_ready` tells that all Pods are known.
pub async fn run(
    manager: Arc<Manager>,
    mut nudges: mpsc::UnboundedReceiver<Nudge>,
    mut sources_ready: watch::Receiver<bool>,
    shutdown: CancellationToken,
) {
    tokio::select! {
        ready = sources_ready.wait_for(|ready| *ready) => {
            if ready.is_err() {
                return;
            }
        }
        () = shutdown.cancelled() => return,
    }
    {
        let _alone = manager.admitting();
        manager.context().ledger.keep_only(&manager.uids());
    }
    let mut waiting: Vec<PodUid> = Vec::new();
    loop {
        let nudge = tokio::select! {
            nudge = nudges.recv() => nudge,
            () = tokio::time::sleep(RETRY) => Some(Nudge::Room(Trigger::Periodic)),
            () = shutdown.cancelled() => return,
        };
        if nudge.is_none() {
            return;
        }
        // Many may come at once; one look is enough for all of them.
        let (mut next, mut trigger) = (nudge, Trigger::Periodic);
        while let Some(nudge) = next {
            trigger = match nudge {
                Nudge::Wish(uid) => {
                    if !waiting.contains(&uid) {
                        waiting.push(uid);
                    }
                    Trigger::PodUpdated
                }
                Nudge::Room(trigger) => trigger,
            };
            next = nudges.try_recv().ok();
        }
        if !waiting.is_empty() {
            waiting = review(&manager, &waiting, trigger);
        }
        weigh(&manager);
    }
}

/// Looks at resizes in their order; returns those that still wait for room.
fn review(manager: &Manager, waiting: &[PodUid], trigger: Trigger) -> Vec<PodUid> {
    let _alone = manager.admitting();
    let ledger = &manager.context().ledger;
    let mut order: Vec<(Waiting, Arc<Pod>)> = Vec::new();
    for uid in waiting {
        let Some(pod) = manager.wished(uid) else { continue };
        let (have, want) = (pod_requests(&ledger.allocated(&pod)), pod_requests(&pod));
        let waiting = Waiting {
            uid: uid.clone(),
            increases: want.cpu_millis > have.cpu_millis || want.memory > have.memory,
            priority: spec::spec(&pod).priority.unwrap_or(0),
            guaranteed: qos(&pod) == Qos::Guaranteed,
            since: ledger.tell(uid, |told| told.pending_since()),
        };
        order.push((waiting, pod));
    }
    let mut sorted: Vec<Waiting> = order.iter().map(|(waiting, _)| waiting.clone()).collect();
    order::sort(&mut sorted);
    let pod = |uid: &PodUid| order.iter().find(|(one, _)| one.uid == *uid).map(|(_, pod)| pod);
    let still =
        sorted.iter().filter(|one| pod(&one.uid).is_some_and(|p| decide(manager, p, trigger)));
    still.map(|one| one.uid.clone()).collect()
}

/// Decides about one resize; says whether it still waits for room.
fn decide(manager: &Manager, pod: &Arc<Pod>, trigger: Trigger) -> bool {
    let context = manager.context();
    let (ledger, uid, now) = (&context.ledger, pod_uid(pod), Timestamp::now());
    let generation = pod.metadata.generation;
    if !ledger.is_pending(pod) {
        if ledger.tell(&uid, |told| told.nothing_waits()) {
            manager.wake(&uid);
        }
        return false;
    }
    let Some(node) = context.sources.node() else { return true };
    let others: Vec<Arc<Pod>> =
        manager.allocated_pods().into_iter().filter(|other| pod_uid(other) != uid).collect();
    match admission::decide(pod, &node, &others) {
        Ok(()) => {
            if let Err(error) = ledger.allocate(pod) {
                tracing::error!(pod = spec::key(pod), %error, "resize not granted");
                return true;
            }
            let waited = ledger.tell(&uid, |told| {
                let waited = told.pending_reason() == Some(Reason::Deferred.as_str());
                told.granted(generation, now);
                waited
            });
            if waited {
                ledger.metrics.accepted(trigger);
            }
            let text = message("started", pod, generation, "");
            context.events.pod(pod, EventType::Normal, "ResizeStarted", text);
            manager.wake(&uid);
            false
        }
        Err(refusal) => {
            let reason = refusal.reason.as_str();
            let news =
                ledger.tell(&uid, |told| told.refused(reason, &refusal.message, generation, now));
            if refusal.reason == Reason::Infeasible {
                ledger.metrics.infeasible(refusal.detail);
            }
            if news {
                let text = message(reason, pod, generation, &refusal.message);
                let event = format!("Resize{reason}");
                context.events.pod(pod, EventType::Warning, &event, text);
                manager.wake(&uid);
            }
            refusal.reason == Reason::Deferred
        }
    }
}

/// Gives the burstable Pods together the weight of what they were allocated.
fn weigh(manager: &Manager) {
    let Some(cgroups) = &manager.context().cgroups else { return };
    let pods = manager.allocated_pods();
    if let Err(error) = cgroups.update_burstable(pods.iter().map(|pod| &**pod)) {
        tracing::warn!(%error, "burstable pods keep their weight");
    }
}
