//! Recording of what happened to an object as core/v1 Events.
//!
//! Recording never waits: events go through a channel to one task that correlates them as
//! upstream does (spam filter per source and object, aggregation of similar messages, counting
//! of equal ones) and writes them.

mod correlate;
#[cfg(test)]
mod tests;

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event as CoreEvent, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;

use correlate::{Correlator, Outcome};

/// Events waiting to be written; more are dropped, as nothing may wait for them.
const BACKLOG: usize = 1000;
/// Attempts to write one event while the server does not answer.
const ATTEMPTS: u32 = 12;

/// Whether an event tells of ordinary life or of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventType {
    /// Ordinary life.
    Normal,
    /// Trouble.
    Warning,
}

impl EventType {
    /// The text in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Records events of one component; clones share its correlation state.
#[derive(Debug, Clone)]
pub struct EventRecorder {
    source: EventSource,
    queue: mpsc::Sender<Occurrence>,
}

/// Something that happened, before correlation.
#[derive(Debug, Clone)]
struct Occurrence {
    source: EventSource,
    regarding: ObjectReference,
    event_type: EventType,
    reason: String,
    message: String,
    at: Timestamp,
}

impl EventRecorder {
    /// A recorder that reports as `component`, on `host` when that matters (kubelet, proxy).
    #[must_use]
    pub fn new(client: Client, component: &str, host: Option<&str>) -> Self {
        let (queue, events) = mpsc::channel(BACKLOG);
        tokio::spawn(write_all(client, events));
        let source =
            EventSource { component: Some(component.to_owned()), host: host.map(str::to_owned) };
        Self { source, queue }
    }

    /// The same recorder under another component name, such as one controller of many.
    #[must_use]
    pub fn for_component(&self, component: &str) -> Self {
        let source = EventSource { component: Some(component.to_owned()), ..self.source.clone() };
        Self { source, queue: self.queue.clone() }
    }

    /// Records that something happened to `object`.
    pub fn event<K>(
        &self,
        object: &K,
        event_type: EventType,
        reason: &str,
        message: impl Into<String>,
    ) where
        K: Resource<DynamicType = ()>,
    {
        let mut reference = object.object_ref(&());
        reference.resource_version = object.meta().resource_version.clone();
        self.event_ref(&reference, event_type, reason, message);
    }

    /// Records that something happened to the object that `regarding` refers to.
    pub fn event_ref(
        &self,
        regarding: &ObjectReference,
        event_type: EventType,
        reason: &str,
        message: impl Into<String>,
    ) {
        let occurrence = Occurrence {
            source: self.source.clone(),
            regarding: regarding.clone(),
            event_type,
            reason: reason.to_owned(),
            message: message.into(),
            at: Timestamp::now(),
        };
        if self.queue.try_send(occurrence).is_err() {
            tracing::debug!(reason, "event dropped: too many wait to be written");
        }
    }
}

async fn write_all(client: Client, mut events: mpsc::Receiver<Occurrence>) {
    let mut correlator = Correlator::default();
    while let Some(occurrence) = events.recv().await {
        let outcome = correlator.correlate(&occurrence);
        write(&client, &mut correlator, outcome).await;
    }
}

async fn write(client: &Client, correlator: &mut Correlator, outcome: Outcome) {
    for _ in 0..ATTEMPTS {
        let (namespace, result) = match &outcome {
            Outcome::Drop => return,
            Outcome::Create { event, .. } => {
                let namespace = event.metadata.namespace.clone().unwrap_or_default();
                let api: Api<CoreEvent> = Api::namespaced(client.clone(), &namespace);
                (namespace, api.create(&PostParams::default(), event).await)
            }
            Outcome::Count { namespace, name, patch, .. } => {
                let api: Api<CoreEvent> = Api::namespaced(client.clone(), namespace);
                let patched = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
                (namespace.clone(), patched)
            }
        };
        match result {
            Ok(written) => {
                correlator.written(&outcome, &written);
                return;
            }
            // The counted event has expired; begin a new series.
            Err(kube::Error::Api(status)) if status.is_not_found() => {
                let Outcome::Count { event, key, .. } = outcome else { return };
                let create = Outcome::Create { event, key };
                return Box::pin(write(client, correlator, create)).await;
            }
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                // Forbidden, a namespace that is going away, ...: repeating does not help.
                tracing::debug!(%status.message, namespace, "event rejected");
                return;
            }
            Err(error) => {
                tracing::debug!(%error, "cannot write event, retrying");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// The Event object that `occurrence` begins.
fn first_event(occurrence: &Occurrence, message: &str, sequence: u64) -> CoreEvent {
    let regarding = &occurrence.regarding;
    let nanos = u64::try_from(occurrence.at.as_nanosecond()).unwrap_or(0).wrapping_add(sequence);
    let namespace = regarding.namespace.clone().filter(|n| !n.is_empty());
    CoreEvent {
        metadata: ObjectMeta {
            name: Some(format!("{}.{nanos:x}", regarding.name.as_deref().unwrap_or_default())),
            namespace: Some(namespace.unwrap_or_else(|| "default".to_owned())),
            ..ObjectMeta::default()
        },
        involved_object: regarding.clone(),
        reason: Some(occurrence.reason.clone()),
        message: Some(message.to_owned()),
        source: Some(occurrence.source.clone()),
        first_timestamp: Some(Time(occurrence.at)),
        last_timestamp: Some(Time(occurrence.at)),
        count: Some(1),
        type_: Some(occurrence.event_type.as_str().to_owned()),
        reporting_component: occurrence.source.component.clone(),
        reporting_instance: occurrence.source.host.clone(),
        ..CoreEvent::default()
    }
}
