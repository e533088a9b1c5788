//! Hooks of containers, and stopping a container with its grace period.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use tokio::time::Instant;

use super::context::Context;
use super::spec;
use crate::events::EventType;
use crate::probe;

/// Time that a container always gets between its stop signal and SIGKILL.
const MIN_GRACE: Duration = Duration::from_secs(2);

/// A hook that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HookError {
    /// The command exited badly.
    #[error("command '{command}' exited with {code}: {output}")]
    Exit {
        /// The command line.
        command: String,
        /// Its exit code.
        code: i32,
        /// What it wrote.
        output: String,
    },
    /// The hook could not be run.
    #[error("{0}")]
    Run(String),
}

/// Runs the postStart hook, if there is one.
pub(super) async fn post_start(
    context: &Context,
    container: &Container,
    id: &str,
    pod_ip: Option<&str>,
) -> Result<(), HookError> {
    match container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref()) {
        Some(handler) => run(context, container, id, pod_ip, handler, Duration::ZERO).await,
        None => Ok(()),
    }
}

async fn run(
    context: &Context,
    container: &Container,
    id: &str,
    pod_ip: Option<&str>,
    handler: &LifecycleHandler,
    limit: Duration,
) -> Result<(), HookError> {
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let done = context
            .runtime
            .exec_sync(id, &command, limit)
            .await
            .map_err(|error| HookError::Run(error.to_string()))?;
        if done.exit_code != 0 {
            let mut output = done.stdout;
            output.extend(done.stderr);
            return Err(HookError::Exit {
                command: command.join(" "),
                code: done.exit_code,
                output: String::from_utf8_lossy(&output).into_owned(),
            });
        }
    } else if let Some(http) = &handler.http_get {
        let limit = if limit.is_zero() { Duration::from_secs(60) } else { limit };
        let ip =
            pod_ip.ok_or_else(|| HookError::Run("failed to find networking container".into()))?;
        let (code, body) =
            probe::http_get(ip, http, container, limit).await.map_err(HookError::Run)?;
        if code >= 400 {
            return Err(HookError::Run(format!("HTTP status {code}: {body}")));
        }
    } else if let Some(sleep) = &handler.sleep {
        let seconds = u64::try_from(sleep.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }
    // tcpSocket handlers are accepted by the API and do nothing, as upstream.
    Ok(())
}

/// Stops one container: hook, stop signal, and SIGKILL when `grace` is over.
pub(super) async fn stop(
    context: &Context,
    pod: &Pod,
    id: &str,
    name: &str,
    message: &str,
    grace: Duration,
    pod_ip: Option<&str>,
) {
    context.events.container(pod, name, EventType::Normal, "Killing", message);
    let begun = Instant::now();
    if let Some((_, container)) = spec::container(pod, name)
        && let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref())
        && !grace.is_zero()
    {
        let hook = run(context, &container, id, pod_ip, hook, grace);
        match tokio::time::timeout(grace, hook).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let message = format!("PreStopHook failed: {error}");
                tracing::warn!(container = name, error = %error, "preStop hook failed");
                context.events.container(
                    pod,
                    name,
                    EventType::Warning,
                    "FailedPreStopHook",
                    message,
                );
            }
            Err(_) => tracing::warn!(container = name, "preStop hook used up the grace period"),
        }
    }
    let left = grace.saturating_sub(begun.elapsed()).max(MIN_GRACE);
    if let Err(error) = context.runtime.stop_container(id, left).await {
        tracing::warn!(container = name, id, error = %error, "stopping container failed");
        context.events.container(
            pod,
            name,
            EventType::Warning,
            "ExceededGracePeriod",
            "Container runtime did not kill the pod within specified grace period.",
        );
    }
}
