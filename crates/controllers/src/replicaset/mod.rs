//! ReplicaSets and ReplicationControllers: as many Pods as asked for.

mod kinds;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::{Action, Api, Event, EventType, Expectations, Informer, WorkQueue};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};

use crate::context::{Context, after};
use crate::error::{SyncError, is_namespace_terminating, is_not_found, message};
use crate::informers::{ORPHAN, OWNER};
use crate::object::{Key, Meta, controller_reference};
use crate::{claim, pods, selector, slow_start};

use futures::future::join_all;
pub(crate) use kinds::Replicated;
use plan::{Desired, Observed, Plan, Trouble};

const WORKERS: usize = 5;

struct Controller<K> {
    context: Context,
    sets: Informer<K>,
    queue: WorkQueue<Key>,
    expectations: Expectations,
}

/// Runs the controller of one kind until shutdown.
pub(crate) async fn run<K: Replicated>(context: Context) {
    let controller = Arc::new(Controller {
        sets: K::informer(&context.informers).clone(),
        queue: WorkQueue::new(),
        expectations: Expectations::new(),
        context: context.clone(),
    });
    let queue = controller.queue.clone();
    controller.sets.on_event(move |event| queue.add(Key::of(&**event.object())));
    let watcher = Arc::clone(&controller);
    context.informers.pods.on_event(move |event| watcher.pod_event(event));
    controller.sets.synced().await;
    context.informers.pods.synced().await;
    let queue = controller.queue.clone();
    context.work(queue, WORKERS, |key| Arc::clone(&controller).sync(key)).await;
}

impl<K: Replicated> Controller<K> {
    fn pod_event(&self, event: &Event<Pod>) {
        match event {
            Event::Added(pod) if pod.is_deleting() => self.deletion_seen(pod),
            Event::Added(pod) => match self.owner_of(pod) {
                Some(key) => {
                    self.expectations.creation_observed(&key.to_string());
                    self.queue.add(key);
                }
                None => self.enqueue_matching(pod),
            },
            Event::Updated { old, new } => {
                let former = self.owner_of(old);
                let owner = self.owner_of(new);
                if new.is_deleting() {
                    self.deletion_seen(new);
                }
                if owner.is_none()
                    && (former.is_some() || old.metadata.labels != new.metadata.labels)
                {
                    self.enqueue_matching(new);
                }
                if former != owner {
                    former.into_iter().for_each(|key| self.queue.add(key));
                }
                owner.into_iter().for_each(|key| self.queue.add(key));
            }
            Event::Deleted(pod) => self.deletion_seen(pod),
        }
    }

    fn deletion_seen(&self, pod: &Pod) {
        if let Some(key) = self.owner_of(pod) {
            self.expectations.deletion_observed(&key.to_string(), pod.id());
            self.queue.add(key);
        }
    }

    /// The set of this kind that controls the Pod, by its reference.
    fn owner_of(&self, pod: &Pod) -> Option<Key> {
        let reference = pod.controller().filter(|r| r.kind == K::kind(&()))?;
        let set = self.sets.get(Some(pod.ns()), &reference.name)?;
        (set.id() == reference.uid).then(|| Key::of(&*set))
    }

    /// An orphan may be adopted by any set whose selector matches it.
    fn enqueue_matching(&self, pod: &Pod) {
        if pod.controller().is_some() {
            return;
        }
        for set in self.sets.list_namespace(pod.ns()) {
            let Ok(desired) = set.desired() else { continue };
            if selector::matches(&desired.selector, pod.metadata.labels.as_ref()) {
                self.queue.add(Key::of(&*set));
            }
        }
    }

    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let controller = key.to_string();
        let Some(set) = self.sets.get(Some(&key.namespace), &key.name) else {
            self.expectations.forget(&controller);
            return Ok(Action::Done);
        };
        // Asked before the Pods are read: an event in between only makes the answer older.
        let trusted = self.expectations.satisfied(&controller);
        let desired = set.desired()?;
        let informer = &self.context.informers.pods;
        let candidates = informer
            .by_index(OWNER, set.id())
            .into_iter()
            .chain(informer.by_index(ORPHAN, &key.namespace))
            .filter(|pod| !pods::is_terminal(pod));
        let claims = claim::sort(candidates, set.id(), set.is_deleting(), &desired.selector);
        if !claims.adopt.is_empty() && self.is_stale(&set).await? {
            return Err(SyncError::NotReady(format!("{key} is being deleted or replaced")));
        }
        let api: Api<Pod> = self.context.api(&key.namespace);
        let owned = claim::settle(&api, claims, &controller_reference(&*set)).await?;
        let (terminating, active): (Vec<_>, Vec<_>) =
            owned.into_iter().partition(|pod| pod.is_deleting());
        let mut result = Ok(());
        if trusted && !set.is_deleting() {
            result = self.manage(&api, &set, &desired, &active, &controller).await;
        }
        let now = Timestamp::now();
        let old = set.observed();
        let trouble = result.as_ref().err().map(|(trouble, _)| trouble);
        let mut status = plan::observe(&desired, &old, &active, terminating.len(), trouble, now);
        if K::CONTROLLER == "replication-controller" {
            status.terminating = 0;
        }
        self.report(&set, &old, &status).await?;
        if let Err((_, error)) = result {
            return Err(error.into());
        }
        Ok(after(plan::next_availability(&active, desired.min_ready_seconds, now)))
    }

    /// Asks the server, not the copy, before taking Pods: a deleted set must not adopt.
    async fn is_stale(&self, set: &K) -> Result<bool, SyncError> {
        let fresh = self.context.api::<K>(set.ns()).get_opt(set.nm()).await?;
        Ok(fresh.is_none_or(|fresh| fresh.id() != set.id() || fresh.is_deleting()))
    }

    async fn manage(
        &self,
        api: &Api<Pod>,
        set: &K,
        desired: &Desired,
        active: &[Arc<Pod>],
        controller: &str,
    ) -> Result<(), (Trouble, kube::Error)> {
        let related = self.related(set, active);
        match plan::plan(desired, active, &related, Timestamp::now()) {
            Plan::Nothing => Ok(()),
            Plan::Create(count) => self.create(api, set, desired, count, controller).await,
            Plan::Delete(victims) => self.delete(api, set, victims, controller).await,
        }
    }

    /// Active Pods of all sets with the same owner, such as the old sets of a Deployment.
    fn related(&self, set: &K, active: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let Some(owner) = set.controller() else { return active.to_vec() };
        let informer = &self.context.informers.pods;
        self.sets
            .by_index(OWNER, &owner.uid)
            .into_iter()
            .flat_map(|sibling| informer.by_index(OWNER, sibling.id()))
            .filter(|pod| pods::is_active(pod))
            .collect()
    }

    async fn create(
        &self,
        api: &Api<Pod>,
        set: &K,
        desired: &Desired,
        count: usize,
        controller: &str,
    ) -> Result<(), (Trouble, kube::Error)> {
        let recorder = &self.context.recorder;
        self.expectations.expect(controller, count, []);
        let pod = pods::from_template(&desired.template, set.ns(), controller_reference(set));
        let params = PostParams::default();
        let (created, error) = slow_start::batches(count, |_| async {
            match api.create(&params, &pod).await {
                Ok(created) => {
                    let text = format!("Created pod: {}", created.nm());
                    recorder.event(set, EventType::Normal, "SuccessfulCreate", text);
                    Ok(())
                }
                Err(error) if is_namespace_terminating(&error) => {
                    self.expectations.creation_observed(controller);
                    Ok(())
                }
                Err(error) => {
                    let text = format!("Error creating: {}", message(&error));
                    recorder.event(set, EventType::Warning, "FailedCreate", text);
                    Err(error)
                }
            }
        })
        .await;
        let Some(error) = error else { return Ok(()) };
        for _ in created..count {
            self.expectations.creation_observed(controller);
        }
        Err((Trouble { reason: "FailedCreate", message: message(&error) }, error))
    }

    async fn delete(
        &self,
        api: &Api<Pod>,
        set: &K,
        victims: Vec<Arc<Pod>>,
        controller: &str,
    ) -> Result<(), (Trouble, kube::Error)> {
        let recorder = &self.context.recorder;
        self.expectations.expect(controller, 0, victims.iter().map(|p| p.id().to_owned()));
        let params = DeleteParams::default();
        let results = join_all(victims.iter().map(|pod| async {
            match api.delete(pod.nm(), &params).await {
                Ok(_) => {
                    let text = format!("Deleted pod: {}", pod.nm());
                    recorder.event(set, EventType::Normal, "SuccessfulDelete", text);
                    Ok(())
                }
                Err(error) => {
                    self.expectations.deletion_observed(controller, pod.id());
                    if is_not_found(&error) {
                        return Ok(());
                    }
                    let text = format!("Error deleting: {}", message(&error));
                    recorder.event(set, EventType::Warning, "FailedDelete", text);
                    Err(error)
                }
            }
        }))
        .await;
        match results.into_iter().find_map(Result::err) {
            None => Ok(()),
            Some(error) => {
                Err((Trouble { reason: "FailedDelete", message: message(&error) }, error))
            }
        }
    }

    async fn report(&self, set: &K, old: &Observed, new: &Observed) -> Result<(), SyncError> {
        if old == new {
            return Ok(());
        }
        let api: Api<K> = self.context.api(set.ns());
        let object = set.with_status(new);
        match api.replace_status(set.nm(), &PostParams::default(), &object).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
