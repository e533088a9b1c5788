//! Metrics of requests, under upstream's names.

use std::sync::LazyLock;
use std::time::Instant;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

use crate::request_info::RequestInfo;

static TOTAL: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options = Opts::new(
        "apiserver_request_total",
        "Counter of apiserver requests broken out for each verb, dry run value, group, version, \
         resource, scope, component, and HTTP response code.",
    );
    let labels = [
        "verb",
        "dry_run",
        "group",
        "version",
        "resource",
        "subresource",
        "scope",
        "component",
        "code",
    ];
    component::metrics::register(
        IntCounterVec::new(options, &labels).expect("a fixed metric is well-formed"),
    )
});

static DURATION: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "apiserver_request_duration_seconds",
        "Response latency distribution in seconds for each verb, dry run value, group, version, \
         resource, subresource, scope and component.",
    )
    .buckets(vec![
        0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
        10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
    ]);
    let labels =
        ["verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"];
    component::metrics::register(
        HistogramVec::new(options, &labels).expect("a fixed metric is well-formed"),
    )
});

static LONG_RUNNING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = Opts::new(
        "apiserver_longrunning_requests",
        "Gauge of all active long-running apiserver requests broken out by verb, group, version, \
         resource, scope and component. Not all requests are tracked this way.",
    );
    let labels = ["verb", "group", "version", "resource", "subresource", "scope", "component"];
    component::metrics::register(
        IntGaugeVec::new(options, &labels).expect("a fixed metric is well-formed"),
    )
});

static IN_FLIGHT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let options = Opts::new(
        "apiserver_current_inflight_requests",
        "Maximal number of currently used inflight request limit of this apiserver per request \
         kind in last second.",
    );
    component::metrics::register(
        IntGaugeVec::new(options, &["request_kind"]).expect("a fixed metric is well-formed"),
    )
});

/// The verb as metrics name it.
fn verb(info: &RequestInfo<'_>) -> &'static str {
    match info.verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "head" => "HEAD",
        "proxy" => "CONNECT",
        _ => "other",
    }
}

fn scope(info: &RequestInfo<'_>) -> &'static str {
    if !info.path_name().is_empty() {
        "resource"
    } else if !info.namespace.is_empty() {
        "namespace"
    } else if info.is_resource {
        "cluster"
    } else {
        ""
    }
}

/// Counts a finished request. `known` is false for paths that serve nothing, whose names must not
/// become labels.
pub(crate) fn finished(
    info: &RequestInfo<'_>,
    known: bool,
    dry_run: bool,
    code: u16,
    start: Instant,
) {
    let (group, version, resource, subresource) = if known {
        (info.group, info.version, info.resource, info.subresource)
    } else {
        ("", "", "", "")
    };
    let mut buffer = [0; 3];
    let code = code_text(code, &mut buffer);
    let dry_run = if dry_run { "All" } else { "" };
    let (verb, scope) = (verb(info), scope(info));
    let labels = [verb, dry_run, group, version, resource, subresource, scope, "apiserver", code];
    TOTAL.with_label_values(&labels).inc();
    if info.verb != "watch" {
        DURATION.with_label_values(&labels[..8]).observe(start.elapsed().as_secs_f64());
    }
}

fn code_text(code: u16, buffer: &mut [u8; 3]) -> &str {
    for (at, unit) in [100, 10, 1].into_iter().enumerate() {
        buffer[at] = b'0' + u8::try_from(code / unit % 10).expect("one digit");
    }
    std::str::from_utf8(buffer).expect("digits are ASCII")
}

/// Counts a request that stays open, until dropped.
pub(crate) struct LongRunning(prometheus::IntGauge);

impl LongRunning {
    pub(crate) fn new(info: &RequestInfo<'_>) -> Self {
        let gauge = LONG_RUNNING.with_label_values(&[
            verb(info),
            info.group,
            info.version,
            info.resource,
            info.subresource,
            scope(info),
            "apiserver",
        ]);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for LongRunning {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts an ordinary request, until dropped.
pub(crate) struct InFlight(&'static prometheus::IntGauge);

impl InFlight {
    pub(crate) fn new(read_only: bool) -> Self {
        static KINDS: LazyLock<[prometheus::IntGauge; 2]> = LazyLock::new(|| {
            ["readOnly", "mutating"].map(|kind| IN_FLIGHT.with_label_values(&[kind]))
        });
        let gauge = &KINDS[usize::from(!read_only)];
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
