//! `/metrics` and `/metrics/resource`.

use std::fmt::Write as _;

use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use k8s_openapi::jiff::Timestamp;

use super::response::{Body, full};
use super::stats::Readings;

/// An answer in Prometheus' text format.
pub(super) fn prometheus(text: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(full(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

struct Family {
    text: String,
    name: &'static str,
}

impl Family {
    fn new(name: &'static str, kind: &str, help: &str) -> Self {
        let text = format!("# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}\n");
        Self { text, name }
    }

    fn add(&mut self, labels: &[(&str, &str)], value: Option<f64>, time: Timestamp) {
        let Some(value) = value else { return };
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let labels =
            if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let millis = time.as_millisecond();
        writeln!(self.text, "{}{labels} {value} {millis}", self.name).expect("writing to a string");
    }
}

fn seconds(nanos: Option<u64>) -> Option<f64> {
    nanos.map(|nanos| nanos as f64 / 1e9)
}

fn count(value: Option<u64>) -> Option<f64> {
    value.map(|value| value as f64)
}

/// CPU and memory under upstream's names, which the metrics server reads.
pub(super) fn resource(readings: &Readings) -> String {
    let counter = |name, help| Family::new(name, "counter", help);
    let gauge = |name, help| Family::new(name, "gauge", help);
    let mut container_cpu = counter(
        "container_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the container in core-seconds",
    );
    let mut container_memory = gauge(
        "container_memory_working_set_bytes",
        "Current working set of the container in bytes",
    );
    let mut container_start = gauge(
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds",
    );
    let mut node_cpu = counter(
        "node_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the node in core-seconds",
    );
    let mut node_memory =
        gauge("node_memory_working_set_bytes", "Current working set of the node in bytes");
    let mut pod_cpu = counter(
        "pod_cpu_usage_seconds_total",
        "Cumulative cpu time consumed by the pod in core-seconds",
    );
    let mut pod_memory =
        gauge("pod_memory_working_set_bytes", "Current working set of the pod in bytes");
    let time = readings.time;
    node_cpu.add(&[], seconds(readings.node.cpu_nanos), time);
    node_memory.add(&[], count(readings.node.working_set), time);
    for pod in &readings.pods {
        let labels = [("namespace", pod.namespace.as_str()), ("pod", pod.name.as_str())];
        pod_cpu.add(&labels, seconds(pod.usage.cpu_nanos), time);
        pod_memory.add(&labels, count(pod.usage.working_set), time);
        for container in &pod.containers {
            let labels = [("container", container.name.as_str()), labels[0], labels[1]];
            container_cpu.add(&labels, seconds(container.usage.cpu_nanos), time);
            container_memory.add(&labels, count(container.usage.working_set), time);
            let start = container.started_at.map(|at| at.as_millisecond() as f64 / 1e3);
            container_start.add(&labels, start, time);
        }
    }
    let mut out = String::new();
    let families = [
        container_cpu,
        container_memory,
        container_start,
        node_cpu,
        node_memory,
        pod_cpu,
        pod_memory,
    ];
    for family in families {
        out.push_str(&family.text);
    }
    out.push_str(
        "# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise\n\
         # TYPE resource_scrape_error gauge\nresource_scrape_error 0\n",
    );
    out
}
