//! The phase of a Pod, from the states of its containers.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::spec::{self, Kind, RestartPolicy};

/// Phase of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not all containers have been started.
    Pending,
    /// At least one container runs or is about to.
    Running,
    /// All containers ended well, for good.
    Succeeded,
    /// All containers ended, at least one badly.
    Failed,
}

// === impl Phase ===

impl Phase {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// Whether nothing will run any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Seen {
    Unknown,
    Waiting,
    Running,
    Ended(i32),
}

/// What a status says of a container: its state, or when that is waiting, the one before.
fn seen(statuses: &[ContainerStatus], name: &str) -> (Seen, bool) {
    let Some(status) = statuses.iter().find(|s| s.name == name) else {
        return (Seen::Unknown, false);
    };
    let started = status.started == Some(true);
    let state = status.state.clone().unwrap_or_default();
    if state.running.is_some() {
        return (Seen::Running, started);
    }
    if let Some(terminated) = state.terminated {
        return (Seen::Ended(terminated.exit_code), started);
    }
    match status.last_state.as_ref().and_then(|s| s.terminated.as_ref()) {
        Some(terminated) => (Seen::Ended(terminated.exit_code), started),
        None => (Seen::Waiting, started),
    }
}

/// Computes the phase. `stopped` says that the kubelet has stopped the Pod for good, so that ended
/// containers will not be restarted.
pub fn phase(
    pod: &Pod,
    init: &[ContainerStatus],
    regular: &[ContainerStatus],
    stopped: bool,
) -> Phase {
    let spec = spec::spec(pod);
    let policy = spec::restart_policy(pod);
    let states: Vec<Seen> = spec.containers.iter().map(|c| seen(regular, &c.name).0).collect();
    let count = |keep: fn(&Seen) -> bool| states.iter().filter(|s| keep(s)).count();
    let running = count(|s| *s == Seen::Running);
    let waiting = count(|s| *s == Seen::Waiting);
    let unknown = count(|s| *s == Seen::Unknown);
    let ended = count(|s| matches!(s, Seen::Ended(_)));
    let succeeded = count(|s| *s == Seen::Ended(0));

    let begun = running + ended > 0;
    let mut pending_init = false;
    let mut sidecar_up = false;
    for container in spec.init_containers.iter().flatten() {
        let kind = spec::init_kind(container);
        let (state, started) = seen(init, &container.name);
        match (kind, state) {
            (Kind::Sidecar, Seen::Running) => {
                sidecar_up = true;
                pending_init |= !started && !begun;
            }
            (Kind::Sidecar, Seen::Ended(_)) => {}
            (Kind::Init, Seen::Ended(0)) => {}
            (Kind::Init, Seen::Ended(code)) => {
                if !begun && (stopped || !spec::should_restart(pod, kind, container, code)) {
                    return Phase::Failed;
                }
                pending_init |= !begun;
            }
            _ => pending_init |= !begun,
        }
    }
    if stopped && !pending_init && waiting == 0 && running == 0 {
        return if succeeded == states.len() { Phase::Succeeded } else { Phase::Failed };
    }
    if pending_init || waiting > 0 {
        return Phase::Pending;
    }
    if running > 0 && unknown == 0 {
        return Phase::Running;
    }
    if running == 0 && ended > 0 && unknown == 0 {
        let again = spec.containers.iter().zip(&states).any(|(container, state)| match state {
            Seen::Ended(code) => spec::should_restart(pod, Kind::Regular, container, *code),
            _ => false,
        });
        // Sidecars are stopped after the regular containers; until then the Pod is not over.
        if again || sidecar_up || (policy == RestartPolicy::Always && !stopped) {
            return Phase::Running;
        }
        return if succeeded == ended { Phase::Succeeded } else { Phase::Failed };
    }
    Phase::Pending
}
