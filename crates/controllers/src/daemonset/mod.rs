//! DaemonSets: one Pod on each node that fits.

mod placement;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::{Action, Api, Event, EventType, Expectations, WorkQueue};
use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};

use crate::context::{Context, after};
use crate::error::{SyncError, is_already_exists, is_namespace_terminating, is_not_found, message};
use crate::history::{self, Current, REVISION_LABEL};
use crate::informers::{ORPHAN, OWNER};
use crate::object::{Key, Meta, controller_reference};
use crate::{claim, scheduling, selector, slow_start};

use plan::{Removal, Snapshot};

const WORKERS: usize = 2;
/// Daemons started or stopped in one go.
const BURST: usize = 250;

struct Controller {
    context: Context,
    queue: WorkQueue<Key>,
    expectations: Expectations,
    /// Counts how often the daemon of a set failed on a node, for growing delays.
    failures: WorkQueue<(Key, String)>,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let controller = Arc::new(Controller {
        context: context.clone(),
        queue: WorkQueue::new(),
        expectations: Expectations::new(),
        failures: WorkQueue::new(),
    });
    let informers = &context.informers;
    let queue = controller.queue.clone();
    informers.daemon_sets.on_event(move |event| queue.add(Key::of(&**event.object())));
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
    let queue = controller.queue.clone();
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
                controller.queue.add(due.0);
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
            self.queue.add(Key::of(&*set));
        }
    }

    fn pod_event(&self, event: &Event<Pod>) {
        let pod = event.object();
        if let Event::Updated { old, .. } = event
            && old.controller() != pod.controller()
        {
            self.owner_of(old).into_iter().for_each(|key| self.queue.add(key));
        }
        let Some(key) = self.owner_of(pod) else {
            if pod.controller().is_none() && !matches!(event, Event::Deleted(_)) {
                self.enqueue_matching(pod);
            }
            return;
        };
        let name = key.to_string();
        if pod.is_deleting() || matches!(event, Event::Deleted(_)) {
            self.expectations.deletion_observed(&name, pod.id());
        } else if matches!(event, Event::Added(_)) {
            self.expectations.creation_observed(&name);
        }
        self.queue.add(key);
    }

    fn owner_of(&self, pod: &Pod) -> Option<Key> {
        let reference = pod.controller().filter(|r| r.kind == "DaemonSet")?;
        let set = self.context.informers.daemon_sets.get(Some(pod.ns()), &reference.name)?;
        (set.id() == reference.uid).then(|| Key::of(&*set))
    }

    fn enqueue_matching(&self, pod: &Pod) {
        for set in self.context.informers.daemon_sets.list_namespace(pod.ns()) {
            let Ok(wanted) = selector::compile(set.spec.as_ref().map(|s| &s.selector)) else {
                continue;
            };
            if selector::matches(&wanted, pod.metadata.labels.as_ref()) {
                self.queue.add(Key::of(&*set));
            }
        }
    }

    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let informers = &self.context.informers;
        let name = key.to_string();
        let Some(set) = informers.daemon_sets.get(Some(&key.namespace), &key.name) else {
            self.expectations.forget(&name);
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
        let trusted = self.expectations.satisfied(&name);
        let candidates = informers
            .pods
            .by_index(OWNER, set.id())
            .into_iter()
            .chain(informers.pods.by_index(ORPHAN, &key.namespace));
        let claims = claim::sort(candidates, set.id(), false, &wanted);
        if !claims.adopt.is_empty() {
            let fresh = self.context.api::<DaemonSet>(&key.namespace).get_opt(&key.name).await?;
            if fresh.is_none_or(|f| f.id() != set.id() || f.is_deleting()) {
                return Err(SyncError::NotReady(format!("{key} is being deleted or replaced")));
            }
        }
        let api: Api<Pod> = self.context.api(&key.namespace);
        let pods = claim::settle(&api, claims, &controller_reference(&*set)).await?;
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
        self.drop_revisions(&key, surplus).await?;
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
        let params = PostParams::default();
        let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|s| s.collision_count);
        let revision = match history::current(set, &template, collisions, &history) {
            Current::Stored(revision) => (*revision).clone(),
            Current::Renumber(revision) => api.replace(revision.nm(), &params, &revision).await?,
            Current::Create(revision) => match api.create(&params, &revision).await {
                Ok(created) => created,
                Err(error) if is_namespace_terminating(&error) => return Ok(None),
                Err(error) if is_already_exists(&error) => {
                    let present = api.get_opt(revision.nm()).await?;
                    match present {
                        Some(present) if present.data == revision.data => present,
                        _ => {
                            let mut status = set.status.clone().unwrap_or_default();
                            let count = status.collision_count.unwrap_or(0) + 1;
                            status.collision_count = Some(count);
                            self.report(set, status).await?;
                            return Ok(None);
                        }
                    }
                }
                Err(error) => return Err(error.into()),
            },
        };
        Ok(Some((revision, history)))
    }

    async fn drop_revisions(&self, key: &Key, names: Vec<String>) -> Result<(), SyncError> {
        let api: Api<ControllerRevision> = self.context.api(&key.namespace);
        for name in names {
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(error) if is_not_found(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
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
        self.expectations.expect(&name, create.len(), victims);
        let recorder = &self.context.recorder;
        let params = PostParams::default();
        let (created, error) = slow_start::batches(create.len(), |n| {
            let pod = placement::pod_for(set, hash, &create[n]);
            let (name, params) = (&name, &params);
            async move {
                match api.create(params, &pod).await {
                    Ok(created) => {
                        let text = format!("Created pod: {}", created.nm());
                        recorder.event(set, EventType::Normal, "SuccessfulCreate", text);
                        Ok(())
                    }
                    Err(error) if is_namespace_terminating(&error) => {
                        self.expectations.creation_observed(name);
                        Ok(())
                    }
                    Err(error) => {
                        let text = format!("Error creating: {}", message(&error));
                        recorder.event(set, EventType::Warning, "FailedCreate", text);
                        Err(error)
                    }
                }
            }
        })
        .await;
        if error.is_some() {
            for _ in created..create.len() {
                self.expectations.creation_observed(&name);
            }
        }
        let deleted = join_all(delete.iter().map(|removal| self.delete(api, set, &name, removal)));
        let failed = deleted.await.into_iter().find_map(Result::err);
        match error.or(failed) {
            None => Ok(()),
            Some(error) => Err(error.into()),
        }
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
        name: &str,
        removal: &Removal,
    ) -> Result<(), kube::Error> {
        let recorder = &self.context.recorder;
        let pod = &removal.pod;
        if let Some((reason, text)) = &removal.event {
            recorder.event(set, EventType::Warning, reason, text.clone());
        }
        match api.delete(pod.nm(), &DeleteParams::default()).await {
            Ok(_) => {
                let text = format!("Deleted pod: {}", pod.nm());
                recorder.event(set, EventType::Normal, "SuccessfulDelete", text);
                Ok(())
            }
            Err(error) => {
                self.expectations.deletion_observed(name, pod.id());
                if is_not_found(&error) {
                    return Ok(());
                }
                let text = format!("Error deleting: {}", message(&error));
                recorder.event(set, EventType::Warning, "FailedDelete", text);
                Err(error)
            }
        }
    }

    async fn report(&self, set: &DaemonSet, status: DaemonSetStatus) -> Result<(), SyncError> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut wanted = set.clone();
        wanted.status = Some(status);
        let api: Api<DaemonSet> = self.context.api(set.ns());
        match api.replace_status(set.nm(), &PostParams::default(), &wanted).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
