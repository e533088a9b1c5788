//! What every controller of Pods does with them, whichever kind owns them: it notices their
//! events, makes and removes them, and counts both so that no round acts on a copy that lags.

use client::{Api, Event, EventRecorder, EventType, Expectations, Informer, Resource, WorkQueue};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use machinery::selector::LabelSelector;

use crate::context::Context;
use crate::error::{is_namespace_terminating, is_not_found, message};
use crate::object::{Key, Meta};
use crate::{claim, slow_start};

/// The Pods of one controller.
pub(crate) struct PodControl {
    /// Keys of owners whose Pods may need something.
    pub(crate) queue: WorkQueue<Key>,
    /// By the text of the owner's key.
    pub(crate) expectations: Expectations,
    recorder: EventRecorder,
}

impl PodControl {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            queue: WorkQueue::new(),
            expectations: Expectations::new(),
            recorder: context.recorder.clone(),
        }
    }

    /// Checks off what was expected of an owner and brings it back.
    pub(crate) fn observe(&self, event: &Event<Pod>, owner: Key) {
        let pod = event.object();
        let name = owner.to_string();
        if pod.is_deleting() || matches!(event, Event::Deleted(_)) {
            self.expectations.deletion_observed(&name, pod.id());
        } else if matches!(event, Event::Added(_)) {
            self.expectations.creation_observed(&name);
        }
        self.queue.add(owner);
    }

    /// Brings the event of any Pod to the owner it has, the one it had, and, when it newly is an
    /// orphan or has other labels, to those that may adopt it.
    pub(crate) fn route<K: Resource<DynamicType = ()>>(
        &self,
        event: &Event<Pod>,
        owners: &Informer<K>,
        selector: impl Fn(&K) -> Option<LabelSelector>,
    ) {
        let pod = event.object();
        let is_news = match event {
            Event::Added(pod) => !pod.is_deleting(),
            Event::Updated { old, new } => {
                let moved = old.controller() != new.controller();
                if moved && let Some(former) = claim::controller_of(owners, &**old) {
                    self.queue.add(Key::of(&*former));
                }
                moved || old.metadata.labels != new.metadata.labels
            }
            Event::Deleted(_) => false,
        };
        match claim::controller_of(owners, &**pod) {
            Some(owner) => self.observe(event, Key::of(&*owner)),
            None if is_news => self.wake_adopters(pod, owners, selector),
            None => {}
        }
    }

    /// An orphan may be adopted by any owner whose selector matches it.
    pub(crate) fn wake_adopters<K: Resource>(
        &self,
        pod: &Pod,
        owners: &Informer<K>,
        selector: impl Fn(&K) -> Option<LabelSelector>,
    ) {
        for owner in claim::adopters(owners, pod, selector) {
            self.queue.add(Key::of(&*owner));
        }
    }

    /// Creates `count` Pods, which must have been expected. After a failure those that were not
    /// tried are not expected any more.
    pub(crate) async fn create<K: Resource<DynamicType = ()>>(
        &self,
        api: &Api<Pod>,
        owner: &K,
        count: usize,
        pod: impl Fn(usize) -> Pod,
    ) -> Result<(), kube::Error> {
        let name = Key::of(owner).to_string();
        let params = PostParams::default();
        let (created, error) = slow_start::batches(count, |n| {
            let (name, params, pod) = (&name, &params, pod(n));
            async move {
                match api.create(params, &pod).await {
                    Ok(created) => {
                        let text = format!("Created pod: {}", created.nm());
                        self.recorder.event(owner, EventType::Normal, "SuccessfulCreate", text);
                        Ok(())
                    }
                    Err(error) if is_namespace_terminating(&error) => {
                        self.expectations.creation_observed(name);
                        Ok(())
                    }
                    Err(error) => {
                        let text = format!("Error creating: {}", message(&error));
                        self.recorder.event(owner, EventType::Warning, "FailedCreate", text);
                        Err(error)
                    }
                }
            }
        })
        .await;
        let Some(error) = error else { return Ok(()) };
        for _ in created..count {
            self.expectations.creation_observed(&name);
        }
        Err(error)
    }

    /// Deletes a Pod, which must have been expected.
    pub(crate) async fn delete<K: Resource<DynamicType = ()>>(
        &self,
        api: &Api<Pod>,
        owner: &K,
        pod: &Pod,
    ) -> Result<(), kube::Error> {
        match api.delete(pod.nm(), &DeleteParams::default()).await {
            Ok(_) => {
                let text = format!("Deleted pod: {}", pod.nm());
                self.recorder.event(owner, EventType::Normal, "SuccessfulDelete", text);
                Ok(())
            }
            Err(error) => {
                self.expectations.deletion_observed(&Key::of(owner).to_string(), pod.id());
                if is_not_found(&error) {
                    return Ok(());
                }
                let text = format!("Error deleting: {}", message(&error));
                self.recorder.event(owner, EventType::Warning, "FailedDelete", text);
                Err(error)
            }
        }
    }
}
