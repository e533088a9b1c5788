//! The one registry of metrics of a process and its text form.

mod process;

use std::sync::OnceLock;

use prometheus::{Encoder as _, Registry, TextEncoder};

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
