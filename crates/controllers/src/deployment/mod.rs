//! Deployments: ReplicaSets, one for each template, and the passage from one to the next.

pub(crate) mod facts;
mod plan;
mod progress;
mod recreate;
mod rolling;
mod scaling;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use client::{Action, Api, Event, EventType, WorkQueue};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::context::{Context, after};
use crate::error::{SyncError, is_already_exists, is_namespace_terminating, is_not_found, message};
use crate::informers::{OWNER, enqueue};
use crate::object::{Key, Meta, controller_reference};
use crate::{claim, pods, selector};

use plan::{Plan, Snapshot, Step};

const WORKERS: usize = 5;

struct Controller {
    context: Context,
    queue: WorkQueue<Key>,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let controller = Arc::new(Controller { context: context.clone(), queue: WorkQueue::new() });
    let informers = &context.informers;
    enqueue(&informers.deployments, &controller.queue);
    let watcher = Arc::clone(&controller);
    informers.replica_sets.on_event(move |event| watcher.set_event(event));
    let watcher = Arc::clone(&controller);
    informers.pods.on_event(move |event| {
        if let Event::Deleted(pod) = event {
            watcher.pod_gone(pod);
        }
    });
    informers.deployments.synced().await;
    informers.replica_sets.synced().await;
    informers.pods.synced().await;
    let queue = controller.queue.clone();
    context.work(queue, WORKERS, |key| Arc::clone(&controller).sync(key)).await;
}

impl Controller {
    fn set_event(&self, event: &Event<ReplicaSet>) {
        if let Event::Updated { old, new } = event {
            let (before, now) = (self.owner_of(old), self.owner_of(new));
            if before != now {
                before.into_iter().for_each(|key| self.queue.add(key));
            }
            if now.is_some() || old.metadata.labels == new.metadata.labels {
                now.into_iter().for_each(|key| self.queue.add(key));
                return;
            }
        }
        let set = event.object();
        match self.owner_of(set) {
            Some(key) => self.queue.add(key),
            None => {
                let deployments = &self.context.informers.deployments;
                let adopters = claim::adopters(deployments, &**set, |deployment| {
                    selector::compile(deployment.spec.as_ref().map(|s| &s.selector)).ok()
                });
                adopters.iter().for_each(|deployment| self.queue.add(Key::of(&**deployment)));
            }
        }
    }

    fn owner_of(&self, set: &ReplicaSet) -> Option<Key> {
        let deployments = &self.context.informers.deployments;
        claim::controller_of(deployments, set).map(|deployment| Key::of(&*deployment))
    }

    /// A Recreate waits for the last old Pod.
    fn pod_gone(&self, pod: &Pod) {
        let Some(reference) = pod.controller().filter(|r| r.kind == "ReplicaSet") else { return };
        let informers = &self.context.informers;
        let Some(set) = informers.replica_sets.get(Some(pod.ns()), &reference.name) else { return };
        let Some(key) = self.owner_of(&set) else { return };
        let deployment = informers.deployments.get(Some(&key.namespace), &key.name);
        if deployment.is_some_and(|d| facts::is_recreate(&d)) {
            self.queue.add(key);
        }
    }

    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let informers = &self.context.informers;
        let Some(deployment) = informers.deployments.get(Some(&key.namespace), &key.name) else {
            return Ok(Action::Done);
        };
        let spec = deployment.spec.clone().unwrap_or_default();
        if spec.selector == LabelSelector::default() {
            let text = "This deployment is selecting all pods. A non-empty selector is required.";
            self.context.recorder.event(&*deployment, EventType::Warning, "SelectingAll", text);
            let mut status = deployment.status.clone().unwrap_or_default();
            if status.observed_generation.unwrap_or(0) < deployment.generation() {
                status.observed_generation = Some(deployment.generation());
                self.report((*deployment).clone(), status).await?;
            }
            return Ok(Action::Done);
        }
        let selector = selector::compile(Some(&spec.selector))?;
        let candidates = claim::candidates(&informers.replica_sets, &*deployment);
        let claims = claim::sort(candidates, deployment.id(), deployment.is_deleting(), &selector);
        claim::confirm(&self.context, &*deployment, &claims).await?;
        let api: Api<ReplicaSet> = self.context.api(&key.namespace);
        let sets = claim::settle(&api, claims, &controller_reference(&*deployment), &[]).await?;
        let snapshot = Snapshot {
            deployment: &deployment,
            sets: &sets,
            old_pods_run: self.old_pods_run(&deployment, &sets),
            now: Timestamp::now(),
        };
        let plan = plan::plan(&snapshot);
        let requeue = plan.requeue;
        self.execute(&deployment, plan).await?;
        Ok(after(requeue))
    }

    fn old_pods_run(&self, deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> bool {
        let template = deployment.spec.as_ref().map(|s| &s.template);
        let is_old = |set: &&Arc<ReplicaSet>| {
            let of_set = set.spec.as_ref().and_then(|s| s.template.as_ref());
            !matches!((template, of_set), (Some(a), Some(b)) if facts::same_template(a, b))
        };
        sets.iter().filter(is_old).any(|set| {
            facts::actual(set) > 0
                || self
                    .context
                    .informers
                    .pods
                    .by_index(OWNER, set.id())
                    .iter()
                    .any(|pod| !pods::is_terminal(pod))
        })
    }

    async fn execute(&self, deployment: &Deployment, plan: Plan) -> Result<(), SyncError> {
        let sets: Api<ReplicaSet> = self.context.api(deployment.ns());
        let recorder = &self.context.recorder;
        let scaled = |text: String| {
            recorder.event(deployment, EventType::Normal, "ScalingReplicaSet", text);
        };
        let mut current = deployment.clone();
        for step in plan.steps {
            match step {
                Step::Revision(revision) => {
                    let patch = json!({"metadata": {
                        "uid": deployment.id(),
                        "annotations": {facts::REVISION: revision.to_string()},
                    }});
                    let api: Api<Deployment> = self.context.api(deployment.ns());
                    let params = PatchParams::default();
                    current = api.patch(deployment.nm(), &params, &Patch::Merge(&patch)).await?;
                }
                Step::Create(set) => {
                    if !self.create(&current, &sets, &set).await? {
                        return Ok(());
                    }
                    if facts::size(&set) > 0 {
                        let (name, size) = (set.nm(), facts::size(&set));
                        scaled(format!("Scaled up replica set {name} from 0 to {size}"));
                    }
                }
                Step::Update { set, event } => {
                    sets.replace(set.nm(), &PostParams::default(), &set).await?;
                    event.into_iter().for_each(scaled);
                }
                Step::Delete(name) => match sets.delete(&name, &DeleteParams::default()).await {
                    Ok(_) => {}
                    Err(error) if is_not_found(&error) => {}
                    Err(error) => return Err(error.into()),
                },
            }
        }
        match plan.status {
            Some(status) => self.report(current, status).await,
            None => Ok(()),
        }
    }

    /// Creates the new set. `false` ends this round: the name is taken by a set of another
    /// template, and the next round tries another name.
    async fn create(
        &self,
        deployment: &Deployment,
        sets: &Api<ReplicaSet>,
        set: &ReplicaSet,
    ) -> Result<bool, SyncError> {
        let error = match sets.create(&PostParams::default(), set).await {
            Ok(_) => return Ok(true),
            Err(error) if is_namespace_terminating(&error) => return Ok(false),
            Err(error) => error,
        };
        if is_already_exists(&error) {
            let Some(present) = sets.get_opt(set.nm()).await? else { return Err(error.into()) };
            let template = |s: &ReplicaSet| s.spec.as_ref().and_then(|s| s.template.clone());
            let same = matches!(
                (template(&present), template(set)),
                (Some(a), Some(b)) if facts::same_template(&a, &b)
            );
            if present.is_controlled_by(deployment.id()) && same {
                // Ours already: the copy has not caught up.
                return Ok(false);
            }
            let mut status = deployment.status.clone().unwrap_or_default();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            self.report(deployment.clone(), status).await?;
            return Err(error.into());
        }
        let text =
            format!("Failed to create new replica set \"{}\": {}", set.nm(), message(&error));
        let recorder = &self.context.recorder;
        recorder.event(deployment, EventType::Warning, "ReplicaSetCreateError", text.clone());
        let status = progress::create_failed(deployment, text, Timestamp::now());
        self.report(deployment.clone(), status).await?;
        Err(error.into())
    }

    async fn report(
        &self,
        mut object: Deployment,
        status: DeploymentStatus,
    ) -> Result<(), SyncError> {
        object.status = Some(status);
        self.context.write_status(&object).await?;
        Ok(())
    }
}
