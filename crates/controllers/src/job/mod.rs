//! Jobs: Pods that run to their end, as often as asked for.

mod indexes;
mod plan;
mod policy;
#[cfg(test)]
mod tests;
pub(crate) mod ttl;

use std::iter;
use std::sync::Arc;

use client::{Action, Api, Event, EventType};
use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams};
use machinery::selector::LabelSelector;
use serde_json::json;

use crate::context::{Context, after};
use crate::error::{SyncError, is_not_found};
use crate::informers::enqueue;
use crate::object::{Key, Meta, controller_reference};
use crate::pod_control::PodControl;
use crate::{claim, pods, selector};

use plan::{FINALIZER, New, Plan, Snapshot};

struct Controller {
    context: Context,
    pods: PodControl,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let pods = PodControl::new(&context);
    let controller = Arc::new(Controller { context: context.clone(), pods });
    let informers = &context.informers;
    enqueue(&informers.jobs, &controller.pods.queue);
    let watcher = Arc::clone(&controller);
    informers.pods.on_event(move |event| watcher.pod_event(event));
    informers.jobs.synced().await;
    informers.pods.synced().await;
    let queue = controller.pods.queue.clone();
    context.work(queue, 5, |key| Arc::clone(&controller).sync(key)).await;
}

impl Controller {
    fn pod_event(&self, event: &Event<Pod>) {
        let jobs = &self.context.informers.jobs;
        let pod = event.object();
        let reference = pod.controller().filter(|reference| reference.kind == "Job");
        if let Some(reference) = reference
            && claim::controller_of(jobs, &**pod).is_none()
        {
            // Even of a Job that is gone: its Pods have a finalizer to lose.
            self.pods.observe(event, Key::new(pod.ns(), &reference.name));
            return;
        }
        self.pods.route(event, jobs, |job| wanted(job).ok());
    }

    async fn sync(self: Arc<Self>, key: Key) -> Result<Action, SyncError> {
        let informers = &self.context.informers;
        let name = key.to_string();
        let Some(job) = informers.jobs.get(Some(&key.namespace), &key.name) else {
            self.pods.expectations.forget(&name);
            return self.release_orphans(&key).await;
        };
        if job.is_deleting()
            || job.spec.as_ref().is_some_and(|s| {
                s.managed_by.as_deref().is_some_and(|m| m != "kubernetes.io/job-controller")
            })
        {
            return Ok(Action::Done);
        }
        let trusted = self.pods.expectations.satisfied(&name);
        let candidates = claim::candidates(&informers.pods, &*job);
        let claims = claim::sort(candidates, job.id(), false, &wanted(&job)?);
        claim::confirm(&self.context, &*job, &claims).await?;
        let api: Api<Pod> = self.context.api(&key.namespace);
        let reference = controller_reference(&*job);
        let owned = claim::settle(&api, claims, &reference, &[FINALIZER]).await?;
        if !trusted {
            return Ok(Action::Done);
        }
        let snapshot = Snapshot { job: &job, pods: &owned, now: Timestamp::now() };
        let plan = plan::plan(&snapshot);
        let requeue = plan.requeue;
        self.execute(&api, &job, plan).await?;
        Ok(after(requeue))
    }

    async fn execute(&self, api: &Api<Pod>, job: &Job, plan: Plan) -> Result<(), SyncError> {
        let name = Key::of(job).to_string();
        let recorder = &self.context.recorder;
        let victims = plan.delete.iter().chain(&plan.stop).map(|p| p.id().to_owned());
        self.pods.expectations.expect(&name, plan.create.len(), victims);
        let created =
            self.pods.create(api, job, plan.create.len(), |n| pod_for(job, plan.create[n])).await;
        let deleted =
            join_all(plan.delete.iter().map(|pod| self.discard(api, job, &name, pod))).await;
        let stopped = join_all(plan.stop.iter().map(|pod| self.delete(api, job, &name, pod))).await;
        if let Some(status) = plan.status {
            let mut wanted = job.clone();
            wanted.status = Some(status);
            if !self.context.write_status(&wanted).await? {
                return Ok(());
            }
        }
        for (normal, reason, text) in plan.events {
            let type_ = if normal { EventType::Normal } else { EventType::Warning };
            recorder.event(job, type_, &reason, text);
        }
        // Only now, that the status names them, may they go.
        let released = join_all(plan.release.iter().map(|pod| release(api, pod))).await;
        let mut results = iter::once(created).chain(deleted).chain(stopped).chain(released);
        results.find_map(Result::err).map_or(Ok(()), |error| Err(error.into()))
    }

    /// Deletes a Pod that does not count.
    async fn discard(
        &self,
        api: &Api<Pod>,
        job: &Job,
        name: &str,
        pod: &Pod,
    ) -> Result<(), kube::Error> {
        if let Err(error) = release(api, pod).await {
            self.pods.expectations.deletion_observed(name, pod.id());
            return Err(error);
        }
        self.delete(api, job, name, pod).await
    }

    async fn delete(
        &self,
        api: &Api<Pod>,
        job: &Job,
        name: &str,
        pod: &Pod,
    ) -> Result<(), kube::Error> {
        match api.delete(pod.nm(), &DeleteParams::default()).await {
            Ok(_) => {
                let text = format!("Deleted pod: {}", pod.nm());
                self.context.recorder.event(job, EventType::Normal, "SuccessfulDelete", text);
                Ok(())
            }
            Err(error) => {
                self.pods.expectations.deletion_observed(name, pod.id());
                if is_not_found(&error) { Ok(()) } else { Err(error) }
            }
        }
    }

    /// Pods of a Job that is gone need not be counted any more.
    async fn release_orphans(&self, key: &Key) -> Result<Action, SyncError> {
        let api: Api<Pod> = self.context.api(&key.namespace);
        for pod in self.context.informers.pods.list_namespace(&key.namespace) {
            let ours = pod.controller().is_some_and(|r| r.kind == "Job" && r.name == key.name);
            if ours {
                release(&api, &pod).await?;
            }
        }
        Ok(Action::Done)
    }
}

/// Selects the Pods of a Job.
fn wanted(job: &Job) -> Result<LabelSelector, SyncError> {
    Ok(selector::compile(job.spec.as_ref().and_then(|s| s.selector.as_ref()))?)
}

/// Takes this controller's finalizer off a Pod.
async fn release(api: &Api<Pod>, pod: &Pod) -> Result<(), kube::Error> {
    let has = pod.metadata.finalizers.iter().flatten().any(|f| f == FINALIZER);
    if !has {
        return Ok(());
    }
    let patch = json!({"metadata": {
        "uid": pod.id(),
        "$deleteFromPrimitiveList/finalizers": [FINALIZER],
    }});
    match api.patch(pod.nm(), &PatchParams::default(), &Patch::Strategic(&patch)).await {
        Ok(_) => Ok(()),
        Err(error) if is_not_found(&error) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The Pod to create.
fn pod_for(job: &Job, new: New) -> Pod {
    let template = job.spec.as_ref().map(|s| s.template.clone()).unwrap_or_default();
    let mut pod = pods::from_template(&template, job.ns(), controller_reference(job));
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|f| f == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    let Some(index) = new.index else { return pod };
    let text = index.to_string();
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(indexes::INDEX.to_owned(), text.clone());
    if let Some(failures) = new.failures {
        annotations.insert(indexes::FAILURES.to_owned(), failures.counted.to_string());
        if failures.ignored > 0 {
            annotations.insert(indexes::IGNORED_FAILURES.to_owned(), failures.ignored.to_string());
        }
    }
    pod.metadata.labels.get_or_insert_default().insert(indexes::INDEX.to_owned(), text);
    pod.metadata.generate_name = Some(format!("{}-{index}-", job.nm()));
    let Some(spec) = &mut pod.spec else { return pod };
    spec.hostname.get_or_insert_with(|| format!("{}-{index}", job.nm()));
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let env = container.env.get_or_insert_default();
        if env.iter().any(|e| e.name == "JOB_COMPLETION_INDEX") {
            continue;
        }
        env.push(EnvVar {
            name: "JOB_COMPLETION_INDEX".to_owned(),
            value: None,
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    api_version: None,
                    field_path: format!("metadata.labels['{}']", indexes::INDEX),
                }),
                ..EnvVarSource::default()
            }),
        });
    }
    pod
}
