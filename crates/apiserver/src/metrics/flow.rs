//! Metrics of flow control.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
};

use crate::flow::Refusal;

const LABELS: [&str; 2] = ["priority_level", "flow_schema"];

fn counter(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let metric = IntCounterVec::new(Opts::new(name, help), labels);
    component::metrics::register(metric.expect("a fixed metric is well-formed"))
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels);
    component::metrics::register(metric.expect("a fixed metric is well-formed"))
}

static DISPATCHED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Number of requests executed by API Priority and Fairness subsystem";
    counter("apiserver_flowcontrol_dispatched_requests_total", help, &LABELS)
});

static REJECTED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let help = "Number of requests rejected by API Priority and Fairness subsystem";
    let labels = ["priority_level", "flow_schema", "reason"];
    counter("apiserver_flowcontrol_rejected_requests_total", help, &labels)
});

static EXECUTING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution \
                stage in the API Priority and Fairness subsystem";
    gauge("apiserver_flowcontrol_current_executing_requests", help, &LABELS)
});

static SEATS: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Concurrency (number of seats) occupied by the currently executing (initial stage \
                for a WATCH, any stage otherwise) requests in the API Priority and Fairness \
                subsystem";
    gauge("apiserver_flowcontrol_current_executing_seats", help, &LABELS)
});

static IN_QUEUE: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Number of requests currently pending in queues of the API Priority and Fairness \
                subsystem";
    gauge("apiserver_flowcontrol_current_inqueue_requests", help, &LABELS)
});

static WAIT: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "Length of time a request spent waiting in its queue";
    let options = HistogramOpts::new("apiserver_flowcontrol_request_wait_duration_seconds", help)
        .buckets(vec![0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0]);
    let metric = HistogramVec::new(options, &["priority_level", "flow_schema", "execute"]);
    component::metrics::register(metric.expect("a fixed metric is well-formed"))
});

static NOMINAL: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "Nominal number of execution seats configured for each priority level";
    gauge("apiserver_flowcontrol_nominal_limit_seats", help, &["priority_level"])
});

static CURRENT: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    let help = "current derived number of execution seats available to each priority level";
    gauge("apiserver_flowcontrol_current_limit_seats", help, &["priority_level"])
});

/// Of the requests of a schema.
pub(crate) struct OfSchema {
    level: String,
    schema: String,
    dispatched: IntCounter,
    executing: IntGauge,
    seats: IntGauge,
    in_queue: IntGauge,
    waited: Histogram,
}

/// A request that runs, until dropped.
#[derive(Debug, Default)]
pub(crate) struct Executing(Option<(IntGauge, IntGauge, u32)>);

/// A request that waits, until dropped.
pub(crate) struct Queued(IntGauge);

/// Of a level.
pub(crate) struct OfLevel {
    nominal: IntGauge,
    current: IntGauge,
}

// === impl OfSchema ===

impl OfSchema {
    pub(crate) fn new(level: &str, schema: &str) -> Self {
        let labels = [level, schema];
        Self {
            level: level.to_owned(),
            schema: schema.to_owned(),
            dispatched: DISPATCHED.with_label_values(&labels),
            executing: EXECUTING.with_label_values(&labels),
            seats: SEATS.with_label_values(&labels),
            in_queue: IN_QUEUE.with_label_values(&labels),
            waited: WAIT.with_label_values(&[level, schema, "true"]),
        }
    }

    pub(crate) fn executing(&self, seats: u32) -> Executing {
        self.dispatched.inc();
        self.executing.inc();
        self.seats.add(seats.into());
        Executing(Some((self.executing.clone(), self.seats.clone(), seats)))
    }

    pub(crate) fn queued(&self) -> Queued {
        self.in_queue.inc();
        Queued(self.in_queue.clone())
    }

    /// A request got its turn after this time; at once if none.
    pub(crate) fn waited(&self, time: Option<Duration>) {
        self.waited.observe(time.map_or(0.0, |time| time.as_secs_f64()));
    }

    pub(crate) fn refused(&self, why: Refusal) {
        REJECTED.with_label_values(&[&self.level, &self.schema, why.as_str()]).inc();
    }
}

impl Drop for Executing {
    fn drop(&mut self) {
        if let Some((executing, seats, taken)) = &self.0 {
            executing.dec();
            seats.sub((*taken).into());
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.dec();
    }
}

// === impl OfLevel ===

impl OfLevel {
    pub(crate) fn new(level: &str) -> Self {
        Self {
            nominal: NOMINAL.with_label_values(&[level]),
            current: CURRENT.with_label_values(&[level]),
        }
    }

    pub(crate) fn limits(&self, nominal: u32, current: u32) {
        self.nominal.set(nominal.into());
        self.current.set(current.into());
    }
}
