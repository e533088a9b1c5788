//! Notice of containers that start and end, so that nobody has to wait for the next relist.
//!
//! CRI's own `GetContainerEvents` is used where the runtime has it; containerd before 1.7 does not,
//! but its native event stream on the same socket tells of task exits.

use futures::StreamExt as _;
use futures::stream::BoxStream;
use prost::Message as _;

use super::containerd::events_client::EventsClient;
use super::{NAMESPACE, Runtime, RuntimeError, containerd, proto};

/// Something happened to a container or sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEvent {
    /// ID of the container or sandbox.
    pub container_id: String,
    /// Whether its process ended.
    pub ended: bool,
}

/// Topics of containerd that change what a Pod status says.
const TOPICS: [&str; 2] = ["topic==\"/tasks/exit\"", "topic==\"/tasks/oom\""];

impl Runtime {
    /// Subscribes to container events; the stream ends when the runtime goes away.
    pub async fn events(&self) -> Result<BoxStream<'static, TaskEvent>, RuntimeError> {
        match self.cri_events().await {
            Err(error) if error.is_unimplemented() => self.containerd_events().await,
            other => other,
        }
    }

    async fn cri_events(&self) -> Result<BoxStream<'static, TaskEvent>, RuntimeError> {
        let stream = self
            .runtime
            .clone()
            .get_container_events(proto::GetEventsRequest {})
            .await?
            .into_inner();
        let events = stream.take_while(|item| std::future::ready(item.is_ok())).filter_map(
            |item| async move {
                let item = item.ok()?;
                let ended = matches!(
                    item.container_event_type(),
                    proto::ContainerEventType::ContainerStoppedEvent
                        | proto::ContainerEventType::ContainerDeletedEvent
                );
                Some(TaskEvent { container_id: item.container_id, ended })
            },
        );
        Ok(events.boxed())
    }

    async fn containerd_events(&self) -> Result<BoxStream<'static, TaskEvent>, RuntimeError> {
        let filters = TOPICS.map(str::to_owned).to_vec();
        let stream = EventsClient::new(self.channel.clone())
            .subscribe(containerd::SubscribeRequest { filters })
            .await?
            .into_inner();
        let events = stream.take_while(|item| std::future::ready(item.is_ok())).filter_map(
            |item| async move {
                let envelope = item.ok()?;
                if envelope.namespace != NAMESPACE {
                    return None;
                }
                let event = containerd::TaskEvent::decode(envelope.event?.value.as_slice()).ok()?;
                let ended = envelope.topic == "/tasks/exit";
                Some(TaskEvent { container_id: event.container_id, ended })
            },
        );
        Ok(events.boxed())
    }
}
