//! Giving a Pod that runs what it was allocated, and telling how far that is.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::Worker;
use crate::events::EventType;
use crate::pod::resize::actuate;
use crate::pod::resize::conditions::ResizeConditions;
use crate::pod::resize::messages::message;
use crate::pod::resize::plan::Differences;
use crate::pod::spec;

impl Worker {
    /// Gives the Pod what it was allocated; says whether that went well.
    pub(super) async fn resize(&mut self, pod: &Arc<Pod>, differences: &Differences) -> bool {
        if !differences.has_steps() {
            return true;
        }
        let context = &self.context;
        let done = actuate(context, pod, differences).await;
        self.resize_failed = done.is_err();
        if let Err(error) = &done {
            tracing::warn!(pod = spec::key(pod), error, "not resized");
            let (generation, now) = (pod.metadata.generation, Timestamp::now());
            let news = context.ledger.tell(&self.uid, |told| told.failed(error, generation, now));
            if news {
                let text = message("error", pod, generation, error);
                context.events.pod(pod, EventType::Warning, "ResizeError", text);
            }
        }
        done.is_ok()
    }

    /// Tells that a resize is under way, or that it is done.
    pub(super) fn note_resize(&mut self, pod: &Pod, differences: &Differences, now: Timestamp) {
        let (ledger, generation) = (&self.context.ledger, pod.metadata.generation);
        if differences.in_progress() || !self.resized.is_empty() {
            ledger.tell(&self.uid, |told| told.under_way(generation, now));
            return;
        }
        if ledger.is_pending(pod) {
            // It was allocated something else since this turn began.
            return;
        }
        self.resize_failed = false;
        if let Some(generation) = ledger.tell(&self.uid, ResizeConditions::done) {
            let text = message("completed", pod, generation, "");
            self.context.events.pod(pod, EventType::Normal, "ResizeCompleted", text);
        }
    }
}
