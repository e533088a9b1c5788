//! Figures of the embedded engine, under the names that etcd uses for them.

use std::sync::LazyLock;

use prometheus::{Histogram, HistogramOpts, IntGauge, Opts, Registry, exponential_buckets};

/// Time until a batch is durable in the journal.
pub(crate) static JOURNAL: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = exponential_buckets(0.000_05, 2.0, 17).expect("buckets are positive");
    Histogram::with_opts(
        HistogramOpts::new(
            "etcd_disk_wal_fsync_duration_seconds",
            "The latency distributions of fsync called by WAL.",
        )
        .buckets(buckets),
    )
    .expect("the metric is well formed")
});

/// Time of one commit to the file, which may hold many batches.
pub(crate) static COMMIT: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = exponential_buckets(0.000_1, 2.0, 16).expect("buckets are positive");
    Histogram::with_opts(
        HistogramOpts::new(
            "etcd_disk_backend_commit_duration_seconds",
            "The latency distributions of commit called by backend.",
        )
        .buckets(buckets),
    )
    .expect("the metric is well formed")
});

/// Number of live keys.
pub(crate) static KEYS: LazyLock<IntGauge> = LazyLock::new(|| {
    IntGauge::new("etcd_debugging_mvcc_keys_total", "Total number of keys.")
        .expect("the metric is well formed")
});

/// Current revision.
pub(crate) static REVISION: LazyLock<IntGauge> = LazyLock::new(|| {
    IntGauge::new("etcd_debugging_mvcc_current_revision", "The current revision of store.")
        .expect("the metric is well formed")
});

/// Compacted revision.
pub(crate) static COMPACTED: LazyLock<IntGauge> = LazyLock::new(|| {
    IntGauge::new("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction.")
        .expect("the metric is well formed")
});

/// Bytes that the file takes.
pub(crate) static ALLOCATED: LazyLock<IntGauge> = LazyLock::new(|| {
    IntGauge::new(
        "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the underlying database physically allocated in bytes.",
    )
    .expect("the metric is well formed")
});

/// Bytes of it that hold something.
pub(crate) static USED: LazyLock<IntGauge> = LazyLock::new(|| {
    IntGauge::new(
        "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the underlying database logically in use in bytes.",
    )
    .expect("the metric is well formed")
});

/// How many may hold something; 0 is no limit.
pub(crate) static QUOTA: LazyLock<IntGauge> = LazyLock::new(|| {
    IntGauge::new("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.")
        .expect("the metric is well formed")
});

/// Whether that is exceeded.
pub(crate) static NO_SPACE: LazyLock<IntGauge> = LazyLock::new(|| {
    let options = Opts::new("etcd_server_alarms", "Whether an alarm of the store is raised.");
    IntGauge::with_opts(options.const_label("alarm_type", "NOSPACE"))
        .expect("the metric is well formed")
});

/// Time of writing the file anew.
pub(crate) static DEFRAGMENTATION: LazyLock<Histogram> = LazyLock::new(|| {
    let buckets = exponential_buckets(0.01, 2.0, 14).expect("buckets are positive");
    Histogram::with_opts(
        HistogramOpts::new(
            "etcd_disk_backend_defrag_duration_seconds",
            "The latency distribution of backend defragmentation.",
        )
        .buckets(buckets),
    )
    .expect("the metric is well formed")
});

pub(crate) fn set(gauge: &IntGauge, value: u64) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Adds the embedded engine's figures to `registry`.
///
/// # Errors
/// When they are there already.
pub fn register(registry: &Registry) -> Result<(), prometheus::Error> {
    registry.register(Box::new(JOURNAL.clone()))?;
    registry.register(Box::new(COMMIT.clone()))?;
    registry.register(Box::new(KEYS.clone()))?;
    registry.register(Box::new(REVISION.clone()))?;
    registry.register(Box::new(COMPACTED.clone()))?;
    registry.register(Box::new(ALLOCATED.clone()))?;
    registry.register(Box::new(USED.clone()))?;
    registry.register(Box::new(QUOTA.clone()))?;
    registry.register(Box::new(NO_SPACE.clone()))?;
    registry.register(Box::new(DEFRAGMENTATION.clone()))
}
