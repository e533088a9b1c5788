//! Events that are too large to be written go without the objects of requests and responses.

use std::sync::Arc;

use machinery::{Value, codec};

use super::sink::Event;

/// Says in an event that it is not whole.
const ANNOTATION: &str = "audit.k8s.io/truncated";

/// An event of at most `max` bytes that says as much of it as possible; none if that is not enough
/// for anything.
pub(super) fn fit(event: &Event, max: u64) -> Option<Event> {
    if size(event) <= max {
        return Some(event.clone());
    }
    if !matches!(event["level"].as_str(), Some("Request" | "RequestResponse")) {
        return None;
    }
    let mut event = (**event).clone();
    if let Some(fields) = event.as_object_mut() {
        fields.shift_remove("requestObject");
        fields.shift_remove("responseObject");
    }
    event["annotations"][ANNOTATION] = "true".into();
    (size(&event) <= max).then(|| Arc::new(event))
}

/// Bytes of an event in the log, the end of its line included.
fn size(event: &Value) -> u64 {
    let mut text = Vec::new();
    codec::write_untyped(&mut text, event);
    text.len() as u64 + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn large_events_lose_their_objects() {
        let event = |level: &str| {
            let object = "x".repeat(100);
            Arc::new(json!({"level": level, "requestObject": object, "responseObject": object}))
        };
        let whole = event("Request");
        assert_eq!(fit(&whole, size(&whole)), Some(whole.clone()));
        let cut = json!({"level": "Request", "annotations": {ANNOTATION: "true"}});
        assert_eq!(fit(&whole, size(&whole) - 1).as_deref(), Some(&cut));
        assert_eq!(fit(&whole, size(&cut)).as_deref(), Some(&cut));
        assert_eq!(fit(&whole, size(&cut) - 1), None);
        assert_eq!(fit(&event("Metadata"), 100), None);
    }
}
