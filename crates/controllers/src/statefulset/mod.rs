//! StatefulSets: members with names and storage of their own, in order.

mod identity;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use client::{Action, Api, Event, EventType};
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, PostParams};

use crate::context::{Context, after};
use crate::error::{SyncError, is_already_exists, is_namespace_terminating, is_not_found, message};
use crate::history::{self, REVISION_LABEL};
use crate::informers::{OWNER, enqueue};
use crate::object::{Key, Meta, controller_reference};
use crate::pod_control::PodControl;
use crate::revisions::{self, Settled};
use crate::{claim, selector};

use plan::{Snapshot, Step};

struct Controller {
    context: Context,
    pods: PodControl,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let pods = PodControl::new(&context);
    let controller = Arc::new(Controller { context: context.clone(), pods });
    let informers = &context.informers;
    enqueue(&informers.stateful_sets, &controller.pods.queue);
    let watcher = Arc::clone(&controller);
    informers.pods.on_event(move |event| watcher.pod_event(event));
    informers.stateful_sets.synced().await;
    informers.pods.synced().await;
    informers.revisions.synced().await;
    let queue = controller.pods.queue.clone();
    context.work(queue, 5, |key| Arc::clone(&controller).sync(key)).await;
}

/// The revisions of a set, settled for one round.
struct Revisions {
    current: ControllerRevision,
    update: ControllerRevision,
    history: Vec<Arc<ControllerRevision>>,
}

impl Controller {
    fn pod_event(&self, event: &Event<Pod>) {
        let pod = event.object();
        match pod.controller() {
            // Also of one that goes: its name is free for a member then.
            None => self.pods.wake_adopters(pod, &self.context.informers.stateful_sets, |set| {
                selector::compile(set.spec.as_ref().map(|s| &s.selector)).ok()
            }),
            Some(reference) if reference.kind == "StatefulSet" => {
                self.pods.observe(event, Key::new(pod.ns(), &reference.name));
            }
            Some(_) => {}
        }
    }

    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let informers = &self.context.informers;
        let name = key.to_string();
        let Some(set) = informers.stateful_sets.get(Some(&key.namespace), &key.name) else {
            self.pods.expectations.forget(&name);
            return Ok(Action::Done);
        };
        if set.is_deleting() || !self.pods.expectations.satisfied(&name) {
            return Ok(Action::Done);
        }
        let wanted = selector::compile(set.spec.as_ref().map(|s| &s.selector))?;
        let mut candidates = claim::candidates(&informers.pods, &*set);
        candidates.retain(|p| p.controller().is_some() || identity::ordinal(&set, p).is_some());
        let claims = claim::sort(candidates, set.id(), false, &wanted);
        let api: Api<Pod> = self.context.api(&key.namespace);
        let pods = claim::settle(&api, claims, &controller_reference(&*set), &[]).await?;
        let Some(revisions) = self.revisions(&set).await? else { return Ok(Action::Done) };
        let snapshot = Snapshot {
            set: &set,
            pods: &pods,
            current: revisions.current.nm(),
            update: revisions.update.nm(),
            now: Timestamp::now(),
        };
        let steps = plan::plan(&snapshot);
        let result = self.execute(&api, &set, &revisions, steps).await;
        self.report(&set, plan::status(&snapshot, None)).await?;
        result?;
        self.drop_revisions(&set, &revisions, &pods).await?;
        Ok(after(plan::next_availability(&snapshot)))
    }

    /// Settles the revisions; `None` when another round is needed.
    async fn revisions(&self, set: &StatefulSet) -> Result<Option<Revisions>, SyncError> {
        let history = self.context.informers.revisions.by_index(OWNER, set.id());
        let template = set.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
        let collisions = set.status.as_ref().and_then(|s| s.collision_count).filter(|n| *n > 0);
        let api: Api<ControllerRevision> = self.context.api(set.ns());
        let current = history::current(set, &template, collisions, &history);
        let is_same = |present: &ControllerRevision, _: &ControllerRevision| {
            present.is_controlled_by(set.id())
                && history::template_of(present).as_ref() == Some(&template)
        };
        let update = match revisions::settle(&api, current, is_same).await? {
            Settled::Stored(revision) => *revision,
            Settled::NamespaceTerminating => return Ok(None),
            Settled::Collision => {
                let mut status = set.status.clone().unwrap_or_default();
                status.collision_count = Some(collisions.unwrap_or(0) + 1);
                self.report(set, status).await?;
                return Ok(None);
            }
        };
        let named = set.status.as_ref().and_then(|s| s.current_revision.as_deref());
        let current = history.iter().find(|r| Some(r.nm()) == named);
        let current = current.map_or_else(|| update.clone(), |r| (**r).clone());
        Ok(Some(Revisions { current, update, history }))
    }

    async fn execute(
        &self,
        api: &Api<Pod>,
        set: &StatefulSet,
        revisions: &Revisions,
        steps: Vec<Step>,
    ) -> Result<(), SyncError> {
        let key = Key::of(set).to_string();
        let creations = steps.iter().filter(|s| matches!(s, Step::Create { .. })).count();
        let deletions = steps.iter().filter_map(|step| match step {
            Step::Delete(pod) => Some(pod.id().to_owned()),
            Step::Create { .. } => None,
        });
        self.pods.expectations.expect(&key, creations, deletions);
        let mut failed = None;
        for step in steps {
            let result = match &step {
                Step::Create { ordinal, revision } => {
                    self.create(api, set, revisions, *ordinal, revision).await
                }
                Step::Delete(pod) => self.delete(api, set, pod).await,
            };
            if let Err(error) = result {
                match &step {
                    Step::Create { .. } => self.pods.expectations.creation_observed(&key),
                    Step::Delete(pod) => self.pods.expectations.deletion_observed(&key, pod.id()),
                }
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn create(
        &self,
        api: &Api<Pod>,
        set: &StatefulSet,
        revisions: &Revisions,
        ordinal: i32,
        revision: &str,
    ) -> Result<(), SyncError> {
        let recorder = &self.context.recorder;
        let name = identity::name(set, ordinal);
        let claims: Api<PersistentVolumeClaim> = self.context.api(set.ns());
        for claim in identity::claims(set, ordinal) {
            match claims.create(&PostParams::default(), &claim).await {
                Ok(_) => {
                    let text = format!(
                        "create Claim {} Pod {name} in StatefulSet {} success",
                        claim.nm(),
                        set.nm()
                    );
                    recorder.event(set, EventType::Normal, "SuccessfulCreate", text);
                }
                Err(error) if is_already_exists(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let is_current = revision == revisions.current.nm() && revision != revisions.update.nm();
        let template: Option<PodTemplateSpec> = if is_current {
            history::template_of(&revisions.current)
        } else {
            set.spec.as_ref().map(|s| s.template.clone())
        };
        let pod = identity::pod(set, &template.unwrap_or_default(), revision, ordinal);
        match api.create(&PostParams::default(), &pod).await {
            Ok(_) => {
                let text = format!("create Pod {name} in StatefulSet {} successful", set.nm());
                recorder.event(set, EventType::Normal, "SuccessfulCreate", text);
                Ok(())
            }
            Err(error) if is_namespace_terminating(&error) => Err(error.into()),
            Err(error) => {
                let text = format!(
                    "create Pod {name} in StatefulSet {} failed error: {}",
                    set.nm(),
                    message(&error)
                );
                recorder.event(set, EventType::Warning, "FailedCreate", text);
                Err(error.into())
            }
        }
    }

    async fn delete(&self, api: &Api<Pod>, set: &StatefulSet, pod: &Pod) -> Result<(), SyncError> {
        match api.delete(pod.nm(), &DeleteParams::default()).await {
            Ok(_) => {
                let text =
                    format!("delete Pod {} in StatefulSet {} successful", pod.nm(), set.nm());
                self.context.recorder.event(set, EventType::Normal, "SuccessfulDelete", text);
                Ok(())
            }
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn drop_revisions(
        &self,
        set: &StatefulSet,
        revisions: &Revisions,
        pods: &[Arc<Pod>],
    ) -> Result<(), SyncError> {
        let limit = set.spec.as_ref().and_then(|s| s.revision_history_limit);
        let live: BTreeSet<&str> = pods.iter().filter_map(|p| p.label(REVISION_LABEL)).collect();
        let keep = [revisions.current.nm(), revisions.update.nm()];
        let surplus = history::surplus(limit, &revisions.history, &keep, &live);
        revisions::remove(&self.context.api(set.ns()), surplus).await
    }

    async fn report(&self, set: &StatefulSet, status: StatefulSetStatus) -> Result<(), SyncError> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut wanted = set.clone();
        wanted.status = Some(status);
        self.context.write_status(&wanted).await?;
        Ok(())
    }
}
