//! All containers of a Pod start anew because one of them ended (KEP-5532).

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::{Turn, Worker};
use crate::pod::plan::{self, backoff_key};
use crate::pod::{executor, spec};
use crate::runtime::records::PodRecord;

impl Worker {
    /// Removes the ended containers of a Pod that starts anew.
    pub(super) async fn start_anew(
        &mut self,
        pod: &Pod,
        record: &PodRecord,
        remove: &[String],
    ) -> Option<Turn> {
        if let Some(trigger) = plan::trigger(pod, record)
            && let Some((_, container)) = spec::container(pod, &trigger.name)
        {
            let ended = trigger.finished_at.unwrap_or(trigger.created_at);
            self.backoff.next(&backoff_key(&container), ended, Timestamp::now());
        }
        for id in remove {
            let Some(container) = record.containers.iter().find(|c| c.id == *id) else { continue };
            let next = container.restart_count + 1;
            let count = self.counts.entry(container.name.clone()).or_default();
            *count = next.max(*count);
            if !executor::remove_container(&self.context, container).await {
                return Some(Turn::Wait(self.retry_at()));
            }
        }
        None
    }
}
