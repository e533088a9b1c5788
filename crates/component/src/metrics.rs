//! The one registry of metrics of a process and its text form.

mod process;

use std::sync::OnceLock;

use prometheus::{Encoder as _, IntGaugeVec, Opts, Registry, TextEncoder};

/// Content type of [`encode`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The registry that `/metrics` shows. Components register their collectors here once, at start.
#[must_use]
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::new)
}

/// Registers a collector and hands it back, for use in a `LazyLock` or constructor. A second
/// collector of the same name is kept out of the registry, so that a component can be started
/// twice in one process.
pub fn register<C: prometheus::core::Collector + Clone + 'static>(collector: C) -> C {
    if let Err(error) = registry().register(Box::new(collector.clone())) {
        tracing::debug!(%error, "metric is not registered");
    }
    collector
}

/// Shows which features are on: name, stage (`ALPHA`, `BETA`, `DEPRECATED`, nothing for what is
/// stable) and state.
///
/// # Panics
/// Never: the metric is well-formed.
pub fn show_features<'f>(states: impl IntoIterator<Item = (&'f str, &'f str, bool)>) {
    let options = Opts::new(
        "kubernetes_feature_enabled",
        "[BETA] This metric records the data about the stage and enablement of a k8s feature.",
    );
    let gauge = IntGaugeVec::new(options, &["name", "stage"]);
    let gauge = register(gauge.expect("a fixed metric is well-formed"));
    for (name, stage, is_on) in states {
        gauge.with_label_values(&[name, stage]).set(i64::from(is_on));
    }
}

/// All metrics in the Prometheus text format, those of the process included.
#[must_use]
pub fn encode() -> Vec<u8> {
    let mut out = Vec::with_capacity(16 * 1024);
    if let Err(error) = TextEncoder::new().encode(&registry().gather(), &mut out) {
        tracing::error!(%error, "metrics cannot be encoded");
    }
    process::append(&mut out);
    out
}
