//! Metrics of the store, the same for every engine.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};
use store::Store;

use crate::cache::ROOT;

const LABELS: [&str; 3] = ["operation", "group", "resource"];
/// The store that all resources are in, by upstream's way of counting.
const CLUSTER: &str = "etcd-0";
/// Whoever asks for metrics waits for the store's size at most so long.
const SIZE: Duration = Duration::from_secs(1);

static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "etcd_request_duration_seconds",
        "Seconds that requests to the store took, by operation and resource.",
    )
    .buckets(vec![
        0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
        10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
    ]);
    component::metrics::register(
        HistogramVec::new(options, &LABELS).expect("a fixed metric is well-formed"),
    )
});

static TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter("etcd_requests_total", "Requests to the store, by operation and resource.")
});

static ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Requests to the store that failed, by operation and resource.";
    counter("etcd_request_errors_total", help)
});

static BYTES: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options =
        Opts::new("apiserver_storage_size_bytes", "Bytes that the store has taken on its disk.");
    component::metrics::register(
        IntGaugeVec::new(options, &["storage_cluster_id"]).expect("a fixed metric is well-formed"),
    )
});

fn counter(name: &str, help: &str) -> IntCounterVec {
    let metric = IntCounterVec::new(Opts::new(name, help), &LABELS);
    component::metrics::register(metric.expect("a fixed metric is well-formed"))
}

/// Counts requests to the store.
pub(crate) struct Requests;

impl store::Observer for Requests {
    fn answered(&self, operation: &'static str, key: &[u8], took: Duration, failed: bool) {
        let (group, resource) = resource(key);
        let labels = [operation, group, resource];
        DURATION.with_label_values(&labels).observe(took.as_secs_f64());
        TOTAL.with_label_values(&labels).inc();
        if failed {
            ERRORS.with_label_values(&labels).inc();
        }
    }
}

/// The resource under whose prefix a key of the store is, as `deployments.apps`.
#[must_use]
pub fn resource_of_key(key: &[u8]) -> String {
    match resource(key) {
        ("", name) => name.to_owned(),
        (group, name) => format!("{name}.{group}"),
    }
}

/// Group and name of the resource under whose prefix a key is.
fn resource(key: &[u8]) -> (&str, &str) {
    static BUILT_IN: LazyLock<HashMap<&str, (&str, &str)>> = LazyLock::new(|| {
        let mut known = HashMap::new();
        for registration in resources::all() {
            // Of those that show the same objects, the one whose group they are stored in.
            if registration.group == registration.storage.kind.group {
                let labels = (&*registration.group, &*registration.resource);
                known.entry(&*registration.storage.prefix).or_insert(labels);
            }
        }
        known
    });
    let text = std::str::from_utf8(key).unwrap_or_default();
    let rest = text.strip_prefix(ROOT).unwrap_or(text);
    let (first, behind) = rest.split_once('/').unwrap_or((rest, ""));
    if let Some(labels) = BUILT_IN.get(first) {
        return *labels;
    }
    let second = behind.split('/').next().unwrap_or_default();
    let prefix = &rest[..rest.len().min(first.len() + 1 + second.len())];
    match BUILT_IN.get(prefix) {
        Some(labels) => *labels,
        // Custom resources have their group in the key.
        None if first.contains('.') => (first, second),
        None => ("", first),
    }
}

/// Asks the store for its size.
pub(super) async fn refresh(store: &Store) {
    match tokio::time::timeout(SIZE, store.status()).await {
        Ok(Ok(status)) => {
            let bytes = i64::try_from(status.allocated_bytes).unwrap_or(i64::MAX);
            BYTES.with_label_values(&[CLUSTER]).set(bytes);
        }
        failed => {
            tracing::debug!(?failed, "the size of the store is not known");
            BYTES.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_their_resource() {
        let check = |key: &str, group: &str, name: &str| {
            assert_eq!(resource(key.as_bytes()), (group, name), "{key}");
        };
        check("/registry/configmaps/default/a", "", "configmaps");
        check("/registry/deployments/default/a", "apps", "deployments");
        check("/registry/services/specs/default/a", "", "services");
        check("/registry/minions/n1", "", "nodes");
        check("/registry/example.com/widgets/default/a", "example.com", "widgets");
        check("/registry/masterleases/192.0.2.1", "", "masterleases");
        check("/registry/", "", "");
        check("compact_rev_key", "", "compact_rev_key");
    }
}
