//! Metrics of the watch caches. The caches count for themselves; the figures are taken over when
//! somebody asks, so that a change costs no look-up of labels.

use std::collections::HashSet;
use std::sync::LazyLock;

use prometheus::{IntCounterVec, IntGaugeVec, Opts};

use crate::cache::Counts;
use crate::registry::Registry;

const LABELS: [&str; 2] = ["group", "resource"];

struct Family {
    metric: IntCounterVec,
    of: fn(&Counts) -> u64,
}

fn counter(name: &str, help: &str, of: fn(&Counts) -> u64) -> Family {
    let metric = IntCounterVec::new(Opts::new(name, help), &LABELS);
    let metric = component::metrics::register(metric.expect("a fixed metric is well-formed"));
    Family { metric, of }
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels);
    component::metrics::register(metric.expect("a fixed metric is well-formed"))
}

static COUNTERS: LazyLock<[Family; 5]> = LazyLock::new(|| {
    [
        counter(
            "apiserver_init_events_total",
            "Counter of init events processed in watch cache broken by resource type.",
            |counts| counts.initial,
        ),
        counter(
            "apiserver_watch_cache_events_received_total",
            "Counter of events received in watch cache broken by resource type.",
            |counts| counts.changes,
        ),
        counter(
            "apiserver_watch_cache_events_dispatched_total",
            "Counter of events dispatched in watch cache broken by resource type.",
            |counts| counts.changes,
        ),
        counter(
            "apiserver_watch_cache_initializations_total",
            "Counter of watch cache initializations broken by resource type.",
            |_| 1,
        ),
        counter(
            "apiserver_terminated_watchers_total",
            "Counter of watchers closed due to unresponsiveness broken by resource type.",
            |counts| counts.terminated,
        ),
    ]
});

static CAPACITY: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Total capacity of watch cache broken by resource type.";
    gauge("apiserver_watch_cache_capacity", help, &LABELS)
});

static REVISION: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Current resource version of watch cache broken by resource type.";
    gauge("apiserver_watch_cache_resource_version", help, &LABELS)
});

static OBJECTS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Number of stored objects at the time of last check split by kind.";
    gauge("apiserver_resource_objects", help, &LABELS)
});

/// Upstream's older name for the same.
static STORAGE_OBJECTS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "[DEPRECATED, consider using apiserver_resource_objects instead] Number of stored \
                objects at the time of last check split by kind.";
    gauge("apiserver_storage_objects", help, &["resource"])
});

/// Takes the caches' figures over.
pub(super) fn refresh(registry: &Registry) {
    let mut seen = HashSet::new();
    for resource in registry.resources().iter() {
        if !seen.insert(resource.storage.prefix.clone()) {
            continue;
        }
        let cache = resource.cache();
        let counts = cache.counts();
        let labels = [&*resource.group, resource.name.as_str()];
        for family in COUNTERS.iter() {
            let counter = family.metric.with_label_values(&labels);
            counter.inc_by((family.of)(&counts).saturating_sub(counter.get()));
        }
        let set = |gauge: &IntGaugeVec, labels: &[&str], value: u64| {
            gauge.with_label_values(labels).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&CAPACITY, &labels, counts.capacity);
        set(&REVISION, &labels, counts.revision);
        set(&OBJECTS, &labels, counts.objects);
        let name = resource.group_resource().to_string();
        set(&STORAGE_OBJECTS, &[&name], counts.objects);
    }
}
