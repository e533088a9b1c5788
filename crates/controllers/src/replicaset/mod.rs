//! ReplicaSets and ReplicationControllers: as many Pods as asked for.

mod kinds;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::{Action, Api, Event, Informer};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use crate::context::{Context, after};
use crate::error::{SyncError, message};
use crate::informers::{OWNER, enqueue};
use crate::object::{Key, Meta, controller_reference};
use crate::pod_control::PodControl;
use crate::{claim, pods};

pub(crate) use kinds::Replicated;
use plan::{Desired, Observed, Plan, Trouble};

const WORKERS: usize = 5;

struct Controller<K> {
    context: Context,
    sets: Informer<K>,
    pods: PodControl,
}

/// Runs the controller of one kind until shutdown.
pub(crate) async fn run<K: Replicated>(context: Context) {
    let controller = Arc::new(Controller {
        sets: K::informer(&context.informers).clone(),
        pods: PodControl::new(&context),
        context: context.clone(),
    });
    enqueue(&controller.sets, &controller.pods.queue);
    let watcher = Arc::clone(&controller);
    context.informers.pods.on_event(move |event| watcher.pod_event(event));
    controller.sets.synced().await;
    context.informers.pods.synced().await;
    let queue = controller.pods.queue.clone();
    context.work(queue, WORKERS, |key| Arc::clone(&controller).sync(key)).await;
}

impl<K: Replicated> Controller<K> {
    fn pod_event(&self, event: &Event<Pod>) {
        self.pods.route(event, &self.sets, |set| set.desired().ok().map(|d| d.selector));
    }

    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let controller = key.to_string();
        let Some(set) = self.sets.get(Some(&key.namespace), &key.name) else {
            self.pods.expectations.forget(&controller);
            return Ok(Action::Done);
        };
        // Asked before the Pods are read: an event in between only makes the answer older.
        let trusted = self.pods.expectations.satisfied(&controller);
        let desired = set.desired()?;
        let mut candidates = claim::candidates(&self.context.informers.pods, &*set);
        candidates.retain(|pod| !pods::is_terminal(pod));
        let claims = claim::sort(candidates, set.id(), set.is_deleting(), &desired.selector);
        claim::confirm(&self.context, &*set, &claims).await?;
        let api: Api<Pod> = self.context.api(&key.namespace);
        let owned = claim::settle(&api, claims, &controller_reference(&*set), &[]).await?;
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
        self.pods.expectations.expect(controller, count, []);
        let pod = |_| pods::from_template(&desired.template, set.ns(), controller_reference(set));
        let created = self.pods.create(api, set, count, pod).await;
        created.map_err(|error| trouble("FailedCreate", error))
    }

    async fn delete(
        &self,
        api: &Api<Pod>,
        set: &K,
        victims: Vec<Arc<Pod>>,
        controller: &str,
    ) -> Result<(), (Trouble, kube::Error)> {
        self.pods.expectations.expect(controller, 0, victims.iter().map(|p| p.id().to_owned()));
        let results = join_all(victims.iter().map(|pod| self.pods.delete(api, set, pod))).await;
        let failed = results.into_iter().find_map(Result::err);
        failed.map_or(Ok(()), |error| Err(trouble("FailedDelete", error)))
    }

    async fn report(&self, set: &K, old: &Observed, new: &Observed) -> Result<(), SyncError> {
        if old != new {
            self.context.write_status(&set.with_status(new)).await?;
        }
        Ok(())
    }
}

/// A failure as the status tells it.
fn trouble(reason: &'static str, error: kube::Error) -> (Trouble, kube::Error) {
    (Trouble { reason, message: message(&error) }, error)
}
