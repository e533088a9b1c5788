//! One probe of one container as a state machine; pure.
//!
//! <https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-probes>

use k8s_openapi::api::core::v1::Probe;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A container that fails is restarted.
    Liveness,
    /// A container that fails gets no traffic.
    Readiness,
    /// The others wait until this one has succeeded.
    Startup,
}

impl Kind {
    /// As events name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
            Self::Startup => "Startup",
        }
    }
}

/// What a single attempt found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All is well.
    Success,
    /// Well enough, but somebody should look.
    Warning(String),
    /// Not well.
    Failure(String),
    /// The attempt itself went wrong; it does not count.
    Error(String),
}

/// What is known of the container that is to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Runtime's ID.
    pub id: String,
    /// Whether its process runs.
    pub running: bool,
    /// When it was started.
    pub started_at: Timestamp,
    /// Whether its startup probe has succeeded (or it has none).
    pub started: bool,
    /// What to assume of a container that ran before this kubelet did.
    pub adopted: Option<bool>,
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until the next turn.
    Wait,
    /// Probe, then call [`Worker::observe`].
    Probe,
}

/// The probe of one container, over all its restarts.
#[derive(Clone, Debug)]
pub struct Worker {
    kind: Kind,
    initial_delay: SignedDuration,
    failure_threshold: u32,
    success_threshold: u32,
    container: Option<String>,
    /// Verdict on the current container; `None` while there is none yet.
    verdict: Option<bool>,
    last: Option<bool>,
    run: u32,
    on_hold: bool,
}

impl Worker {
    /// A probe that has not run yet.
    pub fn new(kind: Kind, probe: &Probe) -> Self {
        let threshold = |value: Option<i32>, default| match value {
            Some(value) if value > 0 => value.unsigned_abs(),
            _ => default,
        };
        Self {
            kind,
            initial_delay: SignedDuration::from_secs(
                probe.initial_delay_seconds.unwrap_or(0).max(0).into(),
            ),
            failure_threshold: threshold(probe.failure_threshold, 3),
            success_threshold: threshold(probe.success_threshold, 1),
            container: None,
            verdict: None,
            last: None,
            run: 0,
            on_hold: false,
        }
    }

    /// Verdict on the container with this ID.
    pub fn verdict(&self, container: &str) -> Option<bool> {
        self.verdict.filter(|_| self.container.as_deref() == Some(container))
    }

    /// One turn, at the probe's period or when something has changed.
    pub fn tick(&mut self, target: Option<&Target>, now: Timestamp) -> Step {
        let Some(target) = target else { return Step::Wait };
        if self.container.as_deref() != Some(target.id.as_str()) {
            self.container = Some(target.id.clone());
            self.verdict = target.adopted.filter(|_| target.running).or(match self.kind {
                Kind::Liveness => Some(true),
                Kind::Readiness => Some(false),
                Kind::Startup => None,
            });
            self.last = None;
            self.run = 0;
            self.on_hold = false;
        }
        if self.on_hold {
            return Step::Wait;
        }
        if !target.running {
            self.verdict = Some(false);
            return Step::Wait;
        }
        if now.duration_since(target.started_at) < self.initial_delay {
            return Step::Wait;
        }
        match (self.kind, target.started) {
            // It has done its work for this container.
            (Kind::Startup, true) => Step::Wait,
            (Kind::Startup, false) | (Kind::Liveness | Kind::Readiness, true) => Step::Probe,
            (Kind::Liveness | Kind::Readiness, false) => Step::Wait,
        }
    }

    /// Takes in what an attempt on `container` found; true when the verdict has changed.
    pub fn observe(&mut self, container: &str, outcome: &Outcome) -> bool {
        if self.container.as_deref() != Some(container) {
            // Restarted while it was being probed.
            return false;
        }
        let success = match outcome {
            Outcome::Success | Outcome::Warning(_) => true,
            Outcome::Failure(_) => false,
            Outcome::Error(_) => return false,
        };
        if self.last == Some(success) {
            self.run += 1;
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let threshold = if success { self.success_threshold } else { self.failure_threshold };
        if self.run < threshold {
            return false;
        }
        let changed = self.verdict != Some(success);
        self.verdict = Some(success);
        let restart_due = self.kind == Kind::Liveness && !success;
        if restart_due || self.kind == Kind::Startup {
            // Nothing more to learn of this container: it is about to be killed, or has started.
            self.on_hold = true;
            self.run = 0;
        }
        changed
    }
}

#[cfg(test)]
mod tests;
