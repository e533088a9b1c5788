//! Metrics of auditing.

use std::sync::LazyLock;

use prometheus::{IntCounter, IntCounterVec, Opts};

static EVENTS: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Counter of audit events generated and sent to the audit backend.";
    component::metrics::register(
        IntCounter::new("apiserver_audit_event_total", help)
            .expect("a fixed metric is well-formed"),
    )
});

static ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(
        "apiserver_audit_error_total",
        "Counter of audit events that failed to be audited properly. Plugin identifies the plugin \
         affected by the error.",
    );
    component::metrics::register(
        IntCounterVec::new(options, &["plugin"]).expect("a fixed metric is well-formed"),
    )
});

static LEVELS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(
        "apiserver_audit_level_total",
        "Counter of policy levels for audit events (1 per request).",
    );
    component::metrics::register(
        IntCounterVec::new(options, &["level"]).expect("a fixed metric is well-formed"),
    )
});

static REJECTED: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Counter of apiserver requests rejected due to an error in audit logging backend.";
    component::metrics::register(
        IntCounter::new("apiserver_audit_requests_rejected_total", help)
            .expect("a fixed metric is well-formed"),
    )
});

/// An event is made.
pub(crate) fn event() {
    EVENTS.inc();
}

/// Events could not be written.
pub(crate) fn lost(plugin: &str, events: usize) {
    ERRORS.with_label_values(&[plugin]).inc_by(events as u64);
}

/// So much is noted of a request.
pub(crate) fn level(level: &str) {
    LEVELS.with_label_values(&[level]).inc();
}

/// A request is refused because its event could not be written.
pub(crate) fn rejected() {
    REJECTED.inc();
}
