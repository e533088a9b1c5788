//! Metrics about images on the node, under upstream's names. Upstream tells two more of its pull records:
//! how full its copies of them in memory are. Here there are only the files.

use component::metrics::register;
use prometheus::{IntCounterVec, IntGauge, Opts};

/// What a look at the pull records says about a Pod and an image that is on the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// The image needs no credentials.
    PolicyAllowed,
    /// The Pod has what it could be pulled with.
    RecordFound,
    /// Only a registry can tell whether the Pod may use it.
    MustAuthenticate,
    /// What is kept, or what the Pod has, cannot be read.
    Error,
}

/// What was found when a container needed an image; nothing where it was not looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// `imagePullPolicy`.
    pub(super) policy: String,
    /// Whether it is on the node.
    pub(super) present: Option<bool>,
    /// Whether it has to be pulled for this Pod.
    pub(super) required: Option<bool>,
}

/// The metrics.
#[derive(Clone, Debug)]
pub(super) struct Metrics {
    requests: IntCounterVec,
    checks: IntCounterVec,
    intents: IntGauge,
    records: IntGauge,
}

// === impl Check ===

impl Check {
    /// Whether the Pod may use the image as it is.
    pub(super) fn allows(self) -> bool {
        matches!(self, Self::PolicyAllowed | Self::RecordFound)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::PolicyAllowed => "credentialPolicyAllowed",
            Self::RecordFound => "credentialRecordFound",
            Self::MustAuthenticate => "mustAuthenticate",
            Self::Error => "error",
        }
    }
}

// === impl Metrics ===

impl Metrics {
    /// Registers the metrics of this process.
    pub(super) fn new() -> Self {
        let valid = "constant names are valid";
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(IntCounterVec::new(Opts::new(name, help), labels).expect(valid))
        };
        let gauge = |name: &str, help: &str| register(IntGauge::new(name, help).expect(valid));
        Self {
            requests: counter(
                "kubelet_image_manager_ensure_image_requests_total",
                "Number of ensure-image requests processed by the kubelet.",
                &["pull_policy", "present_locally", "pull_required"],
            ),
            checks: counter(
                "kubelet_imagemanager_image_mustpull_checks_total",
                "Counter for how many times kubelet checked whether credentials need to be re-verified to access an image",
                &["result"],
            ),
            intents: gauge(
                "kubelet_imagemanager_ondisk_pullintents",
                "Number of ImagePullIntents stored on disk.",
            ),
            records: gauge(
                "kubelet_imagemanager_ondisk_pulledrecords",
                "Number of ImagePulledRecords stored on disk.",
            ),
        }
    }

    /// Counts a container that needed an image.
    pub(super) fn requested(&self, request: &Request) {
        let text = |known: Option<bool>| match known {
            Some(true) => "true",
            Some(false) => "false",
            None => "unknown",
        };
        let policy = request.policy.to_lowercase();
        let labels = [policy.as_str(), text(request.present), text(request.required)];
        self.requests.with_label_values(&labels).inc();
    }

    /// Counts a look at the records.
    pub(super) fn checked(&self, check: Check) {
        self.checks.with_label_values(&[check.as_str()]).inc();
    }

    /// Tells how many images are being pulled, or were when a kubelet ended.
    pub(super) fn intents(&self, number: usize) {
        self.intents.set(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// Tells of how many images it is known who pulled them.
    pub(super) fn records(&self, number: usize) {
        self.records.set(i64::try_from(number).unwrap_or(i64::MAX));
    }
}

#[cfg(test)]
impl Metrics {
    /// How often this was found.
    pub(super) fn found(&self, check: Check) -> u64 {
        self.checks.with_label_values(&[check.as_str()]).get()
    }

    /// How many intents and records there are.
    pub(super) fn kept(&self) -> (i64, i64) {
        (self.intents.get(), self.records.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_for_is_unknown() {
        let metrics = Metrics::new();
        let before = metrics.requests.with_label_values(&["always", "unknown", "true"]).get();
        metrics.requested(&Request {
            policy: "Always".into(),
            present: None,
            required: Some(true),
        });
        let after = metrics.requests.with_label_values(&["always", "unknown", "true"]).get();
        assert_eq!(after, before + 1);
    }
}
