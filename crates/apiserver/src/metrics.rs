//! Metrics of requests, watches and the store, under upstream's names.

pub(crate) mod aggregation;
pub(crate) mod audit;
pub(crate) mod flow;
mod storage;
mod watch_cache;

use std::sync::LazyLock;
use std::time::Instant;

use http_body::Body as _;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    exponential_buckets,
};

use crate::flow::Kind;
use crate::http::respond::Reply;
use crate::registry::{Registry, Resource};
use crate::request_info::RequestInfo;

pub(crate) use storage::Requests;
pub use storage::resource_of_key;

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

static RESPONSE_SIZES: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "apiserver_response_sizes",
        "Response size distribution in bytes for each group, version, verb, resource, \
         subresource, scope and component.",
    )
    .buckets(exponential_buckets(1000.0, 10.0, 7).expect("constant buckets"));
    let labels = ["verb", "group", "version", "resource", "subresource", "scope", "component"];
    component::metrics::register(
        HistogramVec::new(options, &labels).expect("a fixed metric is well-formed"),
    )
});

static WATCH_EVENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let options =
        Opts::new("apiserver_watch_events_total", "Number of events sent in watch clients");
    let labels = ["group", "version", "resource"];
    component::metrics::register(
        IntCounterVec::new(options, &labels).expect("a fixed metric is well-formed"),
    )
});

static WATCH_EVENT_SIZES: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options = HistogramOpts::new(
        "apiserver_watch_events_sizes",
        "Watch event size distribution in bytes",
    )
    .buckets(exponential_buckets(1024.0, 2.0, 8).expect("constant buckets"));
    let labels = ["group", "version", "resource"];
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
    reply: &Reply,
    start: Instant,
) {
    let (group, version, resource, subresource) = if known {
        (info.group, info.version, info.resource, info.subresource)
    } else {
        ("", "", "", "")
    };
    let mut buffer = [0; 3];
    let code = code_text(reply.status().as_u16(), &mut buffer);
    let dry_run = if dry_run { "All" } else { "" };
    let (verb, scope) = (verb(info), scope(info));
    let labels = [verb, dry_run, group, version, resource, subresource, scope, "apiserver", code];
    TOTAL.with_label_values(&labels).inc();
    if matches!(verb, "GET" | "LIST")
        && let Some(size) = reply.body().size_hint().exact()
    {
        let labels = [verb, group, version, resource, subresource, scope, "apiserver"];
        RESPONSE_SIZES.with_label_values(&labels).observe(size as f64);
    }
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
pub(crate) struct LongRunning(IntGauge);

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
pub(crate) struct InFlight(&'static IntGauge);

impl InFlight {
    pub(crate) fn new(kind: Kind) -> Self {
        static KINDS: LazyLock<[IntGauge; 2]> = LazyLock::new(|| {
            [Kind::ReadOnly, Kind::Mutating]
                .map(|kind| IN_FLIGHT.with_label_values(&[kind.as_str()]))
        });
        let gauge = &KINDS[usize::from(kind == Kind::Mutating)];
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts the events of a watch.
pub(crate) struct WatchEvents {
    events: IntCounter,
    sizes: Histogram,
}

impl WatchEvents {
    pub(crate) fn new(resource: &Resource) -> Self {
        let labels = [&*resource.group, &*resource.version, resource.name.as_str()];
        Self {
            events: WATCH_EVENTS.with_label_values(&labels),
            sizes: WATCH_EVENT_SIZES.with_label_values(&labels),
        }
    }

    /// An event of so many bytes is sent.
    pub(crate) fn sent(&self, bytes: usize) {
        self.events.inc();
        self.sizes.observe(bytes as f64);
    }
}

/// All metrics of the process as text.
pub(crate) async fn text(registry: &Registry) -> Vec<u8> {
    watch_cache::refresh(registry);
    storage::refresh(registry.store()).await;
    component::metrics::encode()
}
