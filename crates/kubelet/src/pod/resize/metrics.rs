//! Metrics about resizes under upstream's names.

use std::time::Duration;

use component::metrics::register;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use machinery::quantity::Quantity;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts};

use super::conditions::ResizeConditions;
use super::resources::{PodResources, resizable};

/// Why resizes that wait are looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A Pod of the node was resized.
    PodResized,
    /// A Pod wishes for other resources.
    PodUpdated,
    /// A Pod came to the node.
    PodsAdded,
    /// A Pod left the node.
    PodsRemoved,
    /// A Pod ended.
    PodTerminated,
    /// It was some time ago that they were looked at.
    Periodic,
}

/// The metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    requested: IntCounterVec,
    duration: HistogramVec,
    pending: IntGaugeVec,
    infeasible: IntCounterVec,
    in_progress: IntGauge,
    accepted: IntCounterVec,
}

// === impl Trigger ===

impl Trigger {
    /// As in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PodResized => "pod_resized",
            Self::PodUpdated => "pod_updated",
            Self::PodsAdded => "pods_added",
            Self::PodsRemoved => "pods_removed",
            Self::PodTerminated => "pod_terminated",
            Self::Periodic => "periodic_retry",
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Registers the metrics of this process.
    pub fn new() -> Self {
        let valid = "constant names are valid";
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(IntCounterVec::new(Opts::new(name, help), labels).expect(valid))
        };
        let buckets = prometheus::exponential_buckets(10.0, 2.0, 15).expect("constant buckets");
        let duration = HistogramOpts::new(
            "kubelet_pod_resize_duration_milliseconds",
            "Duration in milliseconds to actuate a pod resize",
        )
        .buckets(buckets);
        let gauge = |name: &str, help: &str| Opts::new(name, help);
        Self {
            requested: counter(
                "kubelet_container_requested_resizes_total",
                "Number of requested resizes, counted at the container level. Different resources on the same container are counted separately.",
                &["resource", "requirement", "operation"],
            ),
            duration: register(HistogramVec::new(duration, &["success"]).expect(valid)),
            pending: register(
                IntGaugeVec::new(
                    gauge("kubelet_pod_pending_resizes", "Number of pending resizes for pods."),
                    &["reason"],
                )
                .expect(valid),
            ),
            infeasible: counter(
                "kubelet_pod_infeasible_resizes_total",
                "Number of infeasible resizes for pods.",
                &["reason_detail"],
            ),
            in_progress: register(
                IntGauge::with_opts(gauge(
                    "kubelet_pod_in_progress_resizes",
                    "Number of in-progress resizes for pods.",
                ))
                .expect(valid),
            ),
            accepted: counter(
                "kubelet_pod_deferred_accepted_resizes_total",
                "Cumulative number of resizes that were accepted after being deferred.",
                &["retry_trigger"],
            ),
        }
    }

    /// Counts what a change of a Pod asks for.
    pub fn requested(&self, old: &Pod, new: &Pod) {
        let old = PodResources::of(old);
        for container in resizable(new) {
            let Some(before) = old.containers.get(&container.name) else { continue };
            let after = container.resources.clone().unwrap_or_default();
            for resource in ["cpu", "memory"] {
                for requirement in ["requests", "limits"] {
                    let amount = |all: &ResourceRequirements| {
                        let list =
                            if requirement == "requests" { &all.requests } else { &all.limits };
                        let text = list.as_ref()?.get(resource)?;
                        Quantity::parse(&text.0).ok()
                    };
                    if let Some(operation) = operation(amount(before), amount(&after)) {
                        self.requested.with_label_values(&[resource, requirement, operation]).inc();
                    }
                }
            }
        }
    }

    /// Counts a resize that was carried out, or not.
    pub fn actuated(&self, took: Duration, success: bool) {
        let success = if success { "true" } else { "false" };
        self.duration.with_label_values(&[success]).observe(took.as_secs_f64() * 1e3);
    }

    /// Counts a resize that can never be granted.
    pub fn infeasible(&self, detail: &str) {
        self.infeasible.with_label_values(&[detail]).inc();
    }

    /// Counts one that was granted after it had to wait.
    pub fn accepted(&self, trigger: Trigger) {
        self.accepted.with_label_values(&[trigger.as_str()]).inc();
    }

    /// Tells how many wait and are under way.
    pub(super) fn count<'a>(&self, all: impl Iterator<Item = &'a ResizeConditions>) {
        let (mut deferred, mut infeasible, mut in_progress) = (0, 0, 0);
        for one in all {
            match one.pending_reason() {
                Some("Deferred") => deferred += 1,
                Some(_) => infeasible += 1,
                None => {}
            }
            in_progress += i64::from(one.is_in_progress());
        }
        self.pending.with_label_values(&["deferred"]).set(deferred);
        self.pending.with_label_values(&["infeasible"]).set(infeasible);
        self.in_progress.set(in_progress);
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn operation(old: Option<Quantity>, new: Option<Quantity>) -> Option<&'static str> {
    match (old, new) {
        (None, None) => None,
        (None, Some(_)) => Some("add"),
        (Some(_), None) => Some("remove"),
        (Some(old), Some(new)) => match old.partial_cmp(&new)? {
            std::cmp::Ordering::Less => Some("increase"),
            std::cmp::Ordering::Equal => None,
            std::cmp::Ordering::Greater => Some("decrease"),
        },
    }
}
