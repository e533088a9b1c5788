//! Metrics under upstream's names.

use component::metrics::register;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge};

/// The proxy's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// `kubeproxy_sync_proxy_rules_duration_seconds`.
    pub sync_duration: Histogram,
    /// `kubeproxy_sync_proxy_rules_nftables_sync_failures_total`.
    pub sync_failures: IntCounter,
    /// `kubeproxy_sync_proxy_rules_last_timestamp_seconds`.
    pub last_sync: IntGauge,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the metrics of this process.
    pub fn new() -> Self {
        let invalid = "constant names are valid";
        let duration = HistogramOpts::new(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "SyncProxyRules latency in seconds",
        )
        .buckets(prometheus::exponential_buckets(0.001, 2.0, 15).expect("constant buckets"));
        Metrics {
            sync_duration: register(Histogram::with_opts(duration).expect(invalid)),
            sync_failures: register(
                IntCounter::new(
                    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
                    "Cumulative proxy nftables sync failures",
                )
                .expect(invalid),
            ),
            last_sync: register(
                IntGauge::new(
                    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
                    "The last time proxy rules were successfully synced",
                )
                .expect(invalid),
            ),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
