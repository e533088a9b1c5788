//! DaemonSets: one Pod on each node that fits.

mod placement;
mod plan;
#[cfg(test)]
mod tests;

use std::iter;
use std::sync::Arc;

use client::{Action, Api, Event, EventType, WorkQueue};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::context::{Context, after};
use crate::error::SyncError;
use crate::history::{self, REVISION_LABEL};
use crate::informers::{OWNER, enqueue};
use crate::object::{Key, Meta, controller_reference};
use crate::pod_control::PodControl;
use crate::revisions::{self, Settled};
use crate::{claim, scheduling, selector};

use plan::{Removal, Snapshot};

const WORKERS: usize = 2;
/// Daemons started or stopped in one go.
const BURST: usize = 250;

struct Controller {
    context: Context,
    pods: PodControl,
    /// Counts how often the daemon of a set failed on a node, for growing delays.
    failures: WorkQueue<(Key, String)>,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let controller = Arc::new(Controller {
        context: context.clone(),
        pods: PodControl::new(&context),
        failures: WorkQueue::new(),
    });
    let informers = &context.informers;
    enqueue(&informers.daemon_sets, &controller.pods.queue);
    let watcher = Arc::clone(&controller);
    informers.pods.on_event(move |event| watcher.pod_event(event));
    let watcher = Arc::clone(&controller);
    informers.nodes.on_event(move |event| watcher.node_event(event));
    informers.daemon_sets.synced().await;
    informers.pods.synced().await;
    informers.nodes.synced().await;
    informers.revisions.synced().await;
    let retry = Arc::clone(&controller);
    let failed = run_failed(retry);
    let queue = controller.pods.queue.clone();
    let work = context.work(queue, WORKERS, |key| Arc::clone(&controller).sync(key));
    tokio::join!(work, failed);
}

/// Brings sets back whose failed daemons were left alone for a while.
async fn run_failed(controller: Arc<Controller>) {
    loop {
        tokio::select! {
            () = controller.context.shutdown.cancelled() => return,
            due = controller.failures.get() => {
                let Some(due) = due else { return };
                controller.failures.done(&due);
                controller.pods.queue.add(due.0);
            }
        }
    }
}

/// What of a node decides whether daemons belong on it.
fn facts(node: &Node) -> impl PartialEq + '_ {
    (node.metadata.labels.as_ref(), scheduling::taints(node), node.is_deleting())
}

impl Controller {
    fn node_event(&self, event: &Event<Node>) {
        if let Event::Updated { old, new } = event
            && facts(old) == facts(new)
        {
            return;
        }
        for set in self.context.informers.daemon_sets.list() {
            self.pods.queue.add(Key::of(&*set));
        }
    }

    fn pod_event(&self, event: &Event<Pod>) {
        self.pods.route(event, &self.context.informers.daemon_sets, |set| {
            selector::compile(set.spec.as_ref().map(|s| &s.selector)).ok()
        });
    }

    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let informers = &self.context.informers;
        let name = key.to_string();
        let Some(set) = informers.daemon_sets.get(Some(&key.namespace), &key.name) else {
            self.pods.expectations.forget(&name);
            return Ok(Action::Done);
        };
        let wanted = selector::compile(set.spec.as_ref().map(|s| &s.selector))?;
        if wanted.is_everything() {
            let text = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.context.recorder.event(&*set, EventType::Warning, "SelectingAll", text);
            return Ok(Action::Done);
        }
        if set.is_deleting() {
            return Ok(Action::Done);
        }
        let trusted = self.pods.expectations.satisfied(&name);
        let candidates = claim::candidates(&informers.pods, &*set);
        let claims = claim::sort(candidates, set.id(), false, &wanted);
        claim::confirm(&self.context, &*set, &claims).await?;
        let api: Api<Pod> = self.context.api(&key.namespace);
        let pods = claim::settle(&api, claims, &controller_reference(&*set), &[]).await?;
        let Some((revision, history)) = self.revision(&set).await? else {
            return Ok(Action::Done);
        };
        let hash = revision.label(REVISION_LABEL).unwrap_or_default().to_owned();
        let nodes = informers.nodes.list();
        let snapshot =
            Snapshot { set: &set, pods: &pods, nodes: &nodes, hash: &hash, now: Timestamp::now() };
        let mut result = Ok(());
        if trusted {
            let plan = plan::plan(&snapshot);
            result = self.execute(&api, &set, &hash, plan).await;
        }
        let limit = set.spec.as_ref().and_then(|s| s.revision_history_limit);
        let live = pods.iter().filter_map(|p| p.label(REVISION_LABEL)).collect();
        let surplus = history::surplus(limit, &history, &[revision.nm()], &live);
        self.report(&set, plan::status(&snapshot)).await?;
        result?;
        revisions::remove(&self.context.api(&key.namespace), surplus).await?;
        Ok(after(plan::next_availability(&snapshot)))
    }

    /// The revision of the current template and all revisions; `None` when another round is
    /// needed because the name of the new one was taken.
    async fn revision(
        &self,
        set: &DaemonSet,
    ) -> Result<Option<(ControllerRevision, Vec<Arc<ControllerRevision>>)>, SyncError> {
        let informer = &self.context.informers.revisions;
        let history = informer.by_index(OWNER, set.id());
        let api: Api<ControllerRevision> = self.context.api(set.ns());
        let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let current = history::current(set, &template, collisions, &history);
        let is_same = |a: &ControllerRevision, b: &ControllerRevision| a.data == b.data;
        match revisions::settle(&api, current, is_same).await? {
            Settled::Stored(revision) => Ok(Some((*revision, history))),
            Settled::NamespaceTerminating => Ok(None),
            Settled::Collision => {
                let mut status = set.status.clone().unwrap_or_default();
                status.collision_count = Some(collisions.unwrap_or(0) + 1);
                self.report(set, status).await?;
                Ok(None)
            }
        }
    }

    async fn execute(
        &self,
        api: &Api<Pod>,
        set: &DaemonSet,
        hash: &str,
        plan: plan::Plan,
    ) -> Result<(), SyncError> {
        let key = Key::of(set);
        let create: Vec<String> = plan.create.into_iter().take(BURST).collect();
        let mut delete: Vec<Removal> = Vec::new();
        for removal in plan.delete.into_iter().take(BURST) {
            if removal.failed && !self.may_retry(&key, &removal.pod) {
                continue;
            }
            delete.push(removal);
        }
        let name = key.to_string();
        let victims = delete.iter().map(|r| r.pod.id().to_owned());
        self.pods.expectations.expect(&name, create.len(), victims);
        let pod = |n: usize| placement::pod_for(set, hash, &create[n]);
        let created = self.pods.create(api, set, create.len(), pod).await;
        let deleted = join_all(delete.iter().map(|removal| self.delete(api, set, removal))).await;
        let mut results = iter::once(created).chain(deleted);
        results.find_map(Result::err).map_or(Ok(()), |error| Err(error.into()))
    }

    /// Failed daemons are replaced with growing delay.
    fn may_retry(&self, key: &Key, pod: &Pod) -> bool {
        let node = placement::node_of(pod).unwrap_or_default();
        let entry = (key.clone(), node.to_owned());
        let failures = self.failures.num_requeues(&entry);
        let delay = std::time::Duration::from_secs(1)
            .saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX))
            .min(std::time::Duration::from_secs(900));
        let failed_for = Timestamp::now().duration_since(pod.created());
        let waited = std::time::Duration::try_from(failed_for).unwrap_or_default();
        if failures == 0 || waited >= delay {
            self.failures.add_rate_limited(entry);
            return true;
        }
        self.failures.add_after(entry, delay.saturating_sub(waited));
        false
    }

    async fn delete(
        &self,
        api: &Api<Pod>,
        set: &DaemonSet,
        removal: &Removal,
    ) -> Result<(), kube::Error> {
        if let Some((reason, text)) = &removal.event {
            self.context.recorder.event(set, EventType::Warning, reason, text.clone());
        }
        self.pods.delete(api, set, &removal.pod).await
    }

    async fn report(&self, set: &DaemonSet, status: DaemonSetStatus) -> Result<(), SyncError> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut wanted = set.clone();
        wanted.status = Some(status);
        self.context.write_status(&wanted).await?;
        Ok(())
    }
}
