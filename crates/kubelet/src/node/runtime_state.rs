//! Whether the container runtime and its network are up, as the Node's Ready condition tells it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cri::{Runtime, proto};

/// Between checks of a runtime that is well.
const CALM: Duration = Duration::from_secs(5);
/// Between checks of one that is not, so that its return is noticed at once.
const EAGER: Duration = Duration::from_millis(200);
/// How long a runtime may not answer before it counts as down: a restart of it is no outage.
const PATIENCE: Duration = Duration::from_secs(5);

/// Health of runtime and network; `None` is healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeState {
    runtime: Option<String>,
    network: Option<String>,
}

// === impl RuntimeState ===

impl Default for RuntimeState {
    fn default() -> Self {
        Self {
            runtime: Some("container runtime status check may not have completed yet".into()),
            network: Some("container runtime network not ready".into()),
        }
    }
}

impl RuntimeState {
    /// What is wrong with the runtime.
    pub fn runtime_error(&self) -> Option<String> {
        self.runtime.clone()
    }

    /// What is wrong with the network.
    pub fn network_error(&self) -> Option<String> {
        self.network.clone()
    }

    /// All that keeps the node from being ready, as the Ready condition's message; empty if nothing.
    pub fn message(&self, others: &[String]) -> String {
        let mut all: Vec<String> = self.runtime.iter().chain(&self.network).cloned().collect();
        all.extend(others.iter().cloned());
        match all.as_slice() {
            [] => String::new(),
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        }
    }

    fn read(status: proto::StatusResponse) -> Self {
        let conditions = status.status.unwrap_or_default().conditions;
        let problem = |type_: &str, what: &str| match conditions.iter().find(|c| c.r#type == type_)
        {
            Some(condition) if condition.status => None,
            Some(condition) => Some(format!(
                "{what}: {type_}=false reason:{} message:{}",
                condition.reason, condition.message
            )),
            None => Some(format!("{what}: {type_} condition is missing")),
        };
        Self {
            runtime: problem("RuntimeReady", "container runtime not ready"),
            network: problem("NetworkReady", "container runtime network not ready"),
        }
    }
}

/// Watches the runtime until shutdown.
pub async fn watch(
    runtime: Runtime,
    state: watch::Sender<RuntimeState>,
    shutdown: CancellationToken,
) {
    let mut failing: Option<Instant> = None;
    loop {
        let seen = runtime.status().await;
        match seen {
            Ok(status) => {
                failing = None;
                publish(&state, RuntimeState::read(status));
            }
            Err(error) => {
                tracing::debug!(%error, "container runtime does not answer");
                if failing.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                    let down = RuntimeState {
                        runtime: Some("container runtime is down".into()),
                        network: state.borrow().network.clone(),
                    };
                    publish(&state, down);
                }
            }
        }
        let calm = {
            let state = state.borrow();
            state.runtime.is_none() && state.network.is_none()
        };
        let pause = if calm && failing.is_none() { CALM } else { EAGER };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

fn publish(state: &watch::Sender<RuntimeState>, new: RuntimeState) {
    state.send_if_modified(|old| {
        let changed = *old != new;
        if changed {
            tracing::info!(message = new.message(&[]), "container runtime state");
            *old = new;
        }
        changed
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_worded_as_upstream() {
        let condition = |type_: &str, status| proto::RuntimeCondition {
            r#type: type_.into(),
            status,
            reason: if status { "" } else { "NetworkPluginNotReady" }.into(),
            message: if status {
                ""
            } else {
                "Network plugin returns error: cni plugin not initialized"
            }
            .into(),
        };
        let status = proto::StatusResponse {
            status: Some(proto::RuntimeStatus {
                conditions: vec![condition("RuntimeReady", true), condition("NetworkReady", false)],
            }),
            ..Default::default()
        };
        let state = RuntimeState::read(status);
        assert_eq!(
            state.message(&[]),
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized"
        );
        let down =
            RuntimeState { runtime: Some("container runtime is down".into()), network: None };
        assert_eq!(down.message(&["x".into()]), "[container runtime is down, x]");
    }
}
