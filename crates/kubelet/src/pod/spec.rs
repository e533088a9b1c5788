//! Questions that a Pod's spec answers.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod, PodSpec, Volume};

use crate::runtime::security::pod_text;

/// Restart policy of a Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// Whatever the exit code.
    Always,
    /// After exit codes other than zero.
    OnFailure,
    /// Never.
    Never,
}

/// Which list of the spec a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Init container that runs to completion.
    Init,
    /// Restartable init container.
    Sidecar,
    /// Regular container.
    Regular,
    /// Ephemeral container.
    Ephemeral,
}

/// The rule that has all containers of a Pod start anew.
pub const RESTART_ALL: &str = "RestartAllContainers";
/// Grace period of a Pod that sets none.
const DEFAULT_GRACE: i64 = 30;

/// The spec; empty for an object without one.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

/// Restart policy of the Pod.
pub fn restart_policy(pod: &Pod) -> RestartPolicy {
    match spec(pod).restart_policy.as_deref() {
        Some("Never") => RestartPolicy::Never,
        Some("OnFailure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::Always,
    }
}

/// Whether an init container keeps running beside the regular ones (KEP-753).
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Kind of an init container.
pub fn init_kind(container: &Container) -> Kind {
    if is_sidecar(container) { Kind::Sidecar } else { Kind::Init }
}

/// All containers with their kind: init, regular, ephemeral.
pub fn containers(pod: &Pod) -> Vec<(Kind, Container)> {
    let spec = spec(pod);
    let init = spec.init_containers.iter().flatten().map(|c| (init_kind(c), c.clone()));
    let regular = spec.containers.iter().map(|c| (Kind::Regular, c.clone()));
    init.chain(regular).chain(ephemeral(pod).into_iter().map(|c| (Kind::Ephemeral, c))).collect()
}

/// One container by name.
pub fn container(pod: &Pod, name: &str) -> Option<(Kind, Container)> {
    containers(pod).into_iter().find(|(_, c)| c.name == name)
}

/// The volumes of a Pod that are images and that a container mounts, with their sources.
pub fn image_volumes<'a>(
    pod: &'a Pod,
    container: &Container,
) -> Vec<(&'a Volume, &'a ImageVolumeSource)> {
    let mounted = |name: &str| container.volume_mounts.iter().flatten().any(|m| m.name == name);
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let images = volumes.filter_map(|volume| Some((volume, volume.image.as_ref()?)));
    images.filter(|(volume, _)| mounted(&volume.name)).collect()
}

/// Ephemeral containers in the shape of regular ones, which they share all fields with that the
/// runtime cares for.
pub fn ephemeral(pod: &Pod) -> Vec<Container> {
    let list = spec(pod).ephemeral_containers.clone().unwrap_or_default();
    list.into_iter()
        .map(|e| Container {
            args: e.args,
            command: e.command,
            env: e.env,
            env_from: e.env_from,
            image: e.image,
            image_pull_policy: e.image_pull_policy,
            name: e.name,
            resources: e.resources,
            security_context: e.security_context,
            stdin: e.stdin,
            stdin_once: e.stdin_once,
            termination_message_path: e.termination_message_path,
            termination_message_policy: e.termination_message_policy,
            tty: e.tty,
            volume_mounts: e.volume_mounts,
            working_dir: e.working_dir,
            ..Default::default()
        })
        .collect()
}

/// Whether a container of `kind` that ended with `exit_code` is to be started again, by its own
/// rules, its own policy, or the Pod's.
pub fn should_restart(pod: &Pod, kind: Kind, container: &Container, exit_code: i32) -> bool {
    if kind == Kind::Ephemeral {
        return false;
    }
    if restart_rule(container, exit_code) == Some("Restart") {
        return true;
    }
    let policy = match container.restart_policy.as_deref() {
        Some("Always") => RestartPolicy::Always,
        Some("OnFailure") => RestartPolicy::OnFailure,
        Some("Never") => RestartPolicy::Never,
        _ => restart_policy(pod),
    };
    match policy {
        // An init container that succeeded is done, whatever the Pod's policy.
        RestartPolicy::Always => kind != Kind::Init || exit_code != 0,
        RestartPolicy::OnFailure => exit_code != 0,
        RestartPolicy::Never => false,
    }
}

/// What the first of the container's own rules that is about this exit code asks for.
pub fn restart_rule(container: &Container, exit_code: i32) -> Option<&str> {
    let rules = container.restart_policy_rules.iter().flatten();
    let mut matching = rules.filter(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.iter().flatten().any(|&code| code == exit_code);
            (codes.operator == "In") == listed
        })
    });
    matching.next().map(|rule| rule.action.as_str())
}

/// Whether the end of a container may have all containers of the Pod start anew.
pub fn may_restart_all(pod: &Pod) -> bool {
    let spec = spec(pod);
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut rules = containers.flat_map(|c| c.restart_policy_rules.iter().flatten());
    rules.any(|rule| rule.action == RESTART_ALL)
}

/// Grace period for stopping the Pod: that of its deletion, else its own.
pub fn grace(pod: &Pod) -> Duration {
    let seconds = pod
        .metadata
        .deletion_grace_period_seconds
        .or(spec(pod).termination_grace_period_seconds)
        .unwrap_or(DEFAULT_GRACE);
    Duration::from_secs(u64::try_from(seconds).unwrap_or(1))
}

/// Whether the Pod shares the node's network.
pub fn host_network(pod: &Pod) -> bool {
    spec(pod).host_network == Some(true)
}

/// Whether its phase says that it will never run again.
pub fn is_terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// `namespace/name`.
pub fn key(pod: &Pod) -> String {
    format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        pod.metadata.name.as_deref().unwrap_or_default()
    )
}

/// `name_namespace(uid)`.
pub fn text(pod: &Pod) -> String {
    pod_text(pod)
}
