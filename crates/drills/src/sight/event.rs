//! An event, as `kubectl describe` shows it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Event;

use super::{Seen, Shown};

/// An event that was found.
#[derive(Clone, Debug)]
pub(crate) struct EventSight(pub(crate) Arc<Event>);

// === impl EventSight ===

impl EventSight {
    /// Its message holds `words`.
    pub(crate) fn saying(self, words: &str) -> Seen<Self> {
        let message = self.0.message.as_deref().unwrap_or_default();
        if message.contains(words) { Ok(self) } else { Err(format!("the event says: {message}")) }
    }
}

impl Shown for EventSight {
    fn rows(&self) -> Vec<String> {
        let event = &self.0;
        let about = &event.involved_object;
        let source = event.source.as_ref().and_then(|source| source.component.clone());
        let source = source.or_else(|| event.reporting_component.clone()).unwrap_or_default();
        vec![format!(
            "event  {}  {}  {}/{}  {source}  {}",
            event.type_.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            about.kind.as_deref().unwrap_or_default().to_lowercase(),
            about.name.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default().trim(),
        )]
    }
}
