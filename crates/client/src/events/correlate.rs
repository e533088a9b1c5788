//! Decides what an occurrence becomes: a new Event, a higher count of one, or nothing.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{Event as CoreEvent, ObjectReference};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Occurrence, first_event};

/// Different messages of one kind within [`WINDOW`] before they are combined.
const MAX_SIMILAR: usize = 10;
const WINDOW: SignedDuration = SignedDuration::from_mins(10);
/// Spam filter: events of one source about one object at once, and seconds for another.
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;
/// Entries kept in each table; the ones longest unused go first.
const CAPACITY: usize = 4096;

/// The memory of a recorder.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    similar: HashMap<String, Similar>,
    series: HashMap<String, Series>,
    tokens: HashMap<String, Bucket>,
    sequence: u64,
}

#[derive(Debug)]
struct Similar {
    messages: BTreeSet<String>,
    last: Timestamp,
}

#[derive(Debug)]
struct Series {
    namespace: String,
    name: String,
    count: i32,
    first: Timestamp,
    last: Timestamp,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    last: Timestamp,
}

/// What to do with an occurrence.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Too many; say nothing.
    Drop,
    /// Write a new Event.
    Create { event: Box<CoreEvent>, key: String },
    /// Patch an Event that exists; `event` stands in should it have expired.
    Count { namespace: String, name: String, patch: Value, event: Box<CoreEvent>, key: String },
}

impl Correlator {
    /// Takes an occurrence in and says what becomes of it.
    pub(super) fn correlate(&mut self, occurrence: &Occurrence) -> Outcome {
        let now = occurrence.at;
        let source = source_key(occurrence);
        let object = object_key(&occurrence.regarding);
        if !self.admit(&format!("{source}|{object}"), now) {
            return Outcome::Drop;
        }
        let kind =
            format!("{source}|{object}|{}|{}", occurrence.event_type.as_str(), occurrence.reason);
        let combined = self.is_one_of_many(&kind, &occurrence.message, now);
        let (key, message) = if combined {
            (kind, format!("(combined from similar events): {}", occurrence.message))
        } else {
            (format!("{kind}|{}", occurrence.message), occurrence.message.clone())
        };
        self.sequence += 1;
        let mut event = first_event(occurrence, &message, self.sequence % 1000);
        let Some(series) = self.series.get_mut(&key) else {
            return Outcome::Create { event: Box::new(event), key };
        };
        series.count += 1;
        series.last = now;
        event.count = Some(series.count);
        event.first_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(series.first));
        let patch = json!({
            "count": series.count,
            "lastTimestamp": event.last_timestamp,
            "message": message,
        });
        Outcome::Count {
            namespace: series.namespace.clone(),
            name: series.name.clone(),
            patch,
            event: Box::new(event),
            key,
        }
    }

    /// Remembers what the server stored, so that the next one counts.
    pub(super) fn written(&mut self, outcome: &Outcome, event: &CoreEvent) {
        let (Outcome::Create { key, .. } | Outcome::Count { key, .. }) = outcome else { return };
        let time = |t: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
            t.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0)
        };
        let series = Series {
            namespace: event.metadata.namespace.clone().unwrap_or_default(),
            name: event.metadata.name.clone().unwrap_or_default(),
            count: event.count.unwrap_or(1),
            first: time(&event.first_timestamp),
            last: time(&event.last_timestamp),
        };
        self.series.insert(key.clone(), series);
        evict(&mut self.series, |s| s.last);
    }

    fn admit(&mut self, key: &str, now: Timestamp) -> bool {
        let bucket =
            self.tokens.entry(key.to_owned()).or_insert(Bucket { tokens: BURST, last: now });
        let seconds = now.duration_since(bucket.last).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + seconds / REFILL_SECONDS).min(BURST);
        bucket.last = now;
        let admitted = bucket.tokens >= 1.0;
        if admitted {
            bucket.tokens -= 1.0;
        }
        evict(&mut self.tokens, |b| b.last);
        admitted
    }

    fn is_one_of_many(&mut self, kind: &str, message: &str, now: Timestamp) -> bool {
        let similar = self
            .similar
            .entry(kind.to_owned())
            .or_insert(Similar { messages: BTreeSet::new(), last: now });
        if now.duration_since(similar.last) > WINDOW {
            similar.messages.clear();
        }
        similar.last = now;
        if similar.messages.len() < MAX_SIMILAR {
            similar.messages.insert(message.to_owned());
        }
        let many = similar.messages.len() >= MAX_SIMILAR;
        evict(&mut self.similar, |s| s.last);
        many
    }
}

/// Drops the older half of a table that is full.
fn evict<V>(table: &mut HashMap<String, V>, last: impl Fn(&V) -> Timestamp) {
    if table.len() <= CAPACITY {
        return;
    }
    let mut times: Vec<Timestamp> = table.values().map(&last).collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    table.retain(|_, value| last(value) > median);
}

fn source_key(occurrence: &Occurrence) -> String {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    format!("{}|{}", text(&occurrence.source.component), text(&occurrence.source.host))
}

fn object_key(object: &ObjectReference) -> String {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    format!(
        "{}|{}|{}|{}|{}|{}",
        text(&object.kind),
        text(&object.namespace),
        text(&object.name),
        text(&object.uid),
        text(&object.api_version),
        text(&object.field_path),
    )
}
