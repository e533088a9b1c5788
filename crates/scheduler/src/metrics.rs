//! Metrics under upstream's names.

use component::metrics::register;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts};

use crate::queue::Depth;

/// The scheduler's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    attempts: IntCounterVec,
    duration: HistogramVec,
    pending: IntGaugeVec,
}

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A node was found and the Pod bound.
    Scheduled,
    /// No node fits.
    Unschedulable,
    /// Something went wrong.
    Error,
}

// === impl Metrics ===

impl Metrics {
    /// Registers the metrics of this process.
    pub fn new() -> Self {
        let valid = "constant names are valid";
        let attempts = Opts::new(
            "scheduler_schedule_attempts_total",
            "Number of attempts to schedule pods, by the result.",
        );
        let duration = HistogramOpts::new(
            "scheduler_scheduling_attempt_duration_seconds",
            "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
        )
        .buckets(prometheus::exponential_buckets(0.001, 2.0, 15).expect("constant buckets"));
        let pending =
            Opts::new("scheduler_pending_pods", "Number of pending pods, by the queue type.");
        Metrics {
            attempts: register(IntCounterVec::new(attempts, &["profile", "result"]).expect(valid)),
            duration: register(HistogramVec::new(duration, &["profile", "result"]).expect(valid)),
            pending: register(IntGaugeVec::new(pending, &["queue"]).expect(valid)),
        }
    }

    /// Counts a try.
    pub fn attempt(&self, profile: &str, outcome: Outcome, seconds: f64) {
        let result = match outcome {
            Outcome::Scheduled => "scheduled",
            Outcome::Unschedulable => "unschedulable",
            Outcome::Error => "error",
        };
        self.attempts.with_label_values(&[profile, result]).inc();
        self.duration.with_label_values(&[profile, result]).observe(seconds);
    }

    /// Shows the length of the queue.
    pub fn depth(&self, depth: Depth) {
        let parts = [
            ("active", depth.active),
            ("backoff", depth.backoff),
            ("unschedulable", depth.unschedulable),
            ("gated", depth.gated),
        ];
        for (queue, pods) in parts {
            self.pending.with_label_values(&[queue]).set(pods as i64);
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
