//! Where events go, and who waits for them to get there.

use std::sync::Arc;

use machinery::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::Batcher;
use super::log::Log;
use super::options::{LogOptions, Mode, WebhookOptions};
use super::policy::Stage;
use super::webhook::Webhook;
use super::{Error, metrics, truncate};

/// An event on its way.
pub(super) type Event = Arc<Value>;

/// A place to write events to.
pub(super) struct Sink {
    target: Arc<Target>,
    mode: Mode,
    batcher: Option<Batcher>,
    /// Bytes that an event may have.
    max_size: Option<u64>,
}

/// What writes.
pub(super) enum Target {
    Log(Log),
    Webhook(Box<Webhook>),
}

// === impl Target ===

impl Target {
    fn name(&self) -> &'static str {
        match self {
            Self::Log(_) => "log",
            Self::Webhook(_) => "webhook",
        }
    }

    /// Writes events; what cannot be written is counted and said.
    pub(super) async fn write(&self, events: &[Event]) -> bool {
        let result = match self {
            Self::Log(log) => log.write(events).map_err(|error| error.to_string()),
            Self::Webhook(webhook) => webhook.send(events).await,
        };
        self.is_written(events, result)
    }

    fn is_written(&self, events: &[Event], result: Result<(), String>) -> bool {
        let Err(error) = result else { return true };
        self.lost(events.len(), &error);
        false
    }

    pub(super) fn lost(&self, events: usize, error: &str) {
        tracing::error!(plugin = self.name(), events, error, "unable to audit events");
        metrics::lost(self.name(), events);
    }
}

// === impl Sink ===

impl Sink {
    pub(super) fn log(
        options: &LogOptions,
        until: (&TaskTracker, &CancellationToken),
    ) -> Result<Self, Error> {
        let target = Arc::new(Target::Log(Log::open(options).map_err(Error::Log)?));
        let batcher =
            (options.mode == Mode::Batch).then(|| Batcher::start(&target, options.batch, until));
        let max_size = options.truncate.map(|limits| limits.max_event_size);
        Ok(Self { target, mode: options.mode, batcher, max_size })
    }

    pub(super) async fn webhook(
        options: &WebhookOptions,
        until: (&TaskTracker, &CancellationToken),
    ) -> Result<Self, Error> {
        let webhook = Webhook::load(options).await.map_err(Error::Webhook)?;
        let target = Arc::new(Target::Webhook(Box::new(webhook)));
        let batcher =
            (options.mode == Mode::Batch).then(|| Batcher::start(&target, options.batch, until));
        let max_size = options.truncate.map(|limits| limits.max_event_size);
        Ok(Self { target, mode: options.mode, batcher, max_size })
    }

    /// An event as it may be written. One that is too large is given up, which is counted and said.
    fn fit(&self, event: &Event) -> Option<Event> {
        let Some(max) = self.max_size else { return Some(event.clone()) };
        let fitting = truncate::fit(event, max);
        if fitting.is_none() {
            self.target.lost(1, "event is too large even after truncating");
        }
        fitting
    }

    /// Takes an event; false if the request must not go on because it was lost.
    pub(super) async fn take(&self, stage: Stage, event: &Event) -> bool {
        let Some(event) = &self.fit(event) else { return true };
        if let Some(batcher) = &self.batcher {
            batcher.add(event.clone());
            return true;
        }
        let written = self.target.write(std::slice::from_ref(event)).await;
        written || self.mode != Mode::BlockingStrict || stage != Stage::RequestReceived
    }

    /// Takes an event for which nobody waits: what takes time goes on in the background.
    pub(super) fn take_now(&self, event: &Event) {
        let Some(event) = &self.fit(event) else { return };
        if let Some(batcher) = &self.batcher {
            return batcher.add(event.clone());
        }
        let events = std::slice::from_ref(event);
        match &*self.target {
            Target::Log(log) => {
                let written = log.write(events).map_err(|error| error.to_string());
                self.target.is_written(events, written);
            }
            Target::Webhook(_) => {
                let (target, event) = (self.target.clone(), event.clone());
                // At the very end of a process there is no runtime any more.
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(async move { target.write(&[event]).await });
                }
            }
        }
    }
}
