//! Carrying out plans: sandboxes and containers through the runtime.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use k8s_openapi::jiff::Timestamp;

use super::context::Context;
use super::lifecycle;
use super::plan::{Start, Waiting};
use super::spec::{self, Kind};
use crate::cgroup::resources;
use crate::cri::proto;
use crate::env;
use crate::events::EventType;
use crate::images::Wish;
use crate::runtime::container::{self, ContainerInputs};
use crate::runtime::hosts;
use crate::runtime::records::{ContainerRecord, PodRecord, State};
use crate::runtime::sandbox::{self, SandboxContext};
use crate::runtime::security;
use crate::seam::{PodIps, pod_uid};
use crate::volumes::{ImageMounts, PodVolumes};

/// Where a container's last words go when its spec does not say.
const TERMINATION_PATH: &str = "/dev/termination-log";

/// A container that could not be started, for its status and the retry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StartFailure {
    /// Goes into the status.
    pub(super) waiting: Waiting,
    /// When a retry makes sense, if that is known.
    pub(super) retry_at: Option<Timestamp>,
}

/// Describes the sandbox of `pod`.
pub(super) fn sandbox_config(
    context: &Context,
    pod: &Pod,
    attempt: u32,
) -> Result<proto::PodSandboxConfig, String> {
    let cgroup_parent =
        context.cgroups.as_ref().map(|cgroups| cgroups.pod_parent(pod)).unwrap_or_default();
    let facts = SandboxContext {
        dns: &context.dns,
        security: &context.security,
        log_dir: &context.pod_log_dir(pod),
        cgroup_parent,
    };
    sandbox::config(pod, attempt, &facts)
}

/// Makes and starts a sandbox; failures are told in events.
pub(super) async fn create_sandbox(
    context: &Context,
    pod: &Pod,
    attempt: u32,
) -> Result<String, String> {
    let failed = |error: String| {
        let message = format!("Failed to create pod sandbox: {error}");
        context.events.pod(pod, EventType::Warning, "FailedCreatePodSandBox", message);
        error
    };
    let config = sandbox_config(context, pod, attempt).map_err(failed)?;
    std::fs::create_dir_all(&config.log_directory).map_err(|error| {
        failed(format!("create pod log directory {:?} failed: {error}", config.log_directory))
    })?;
    let handler = match runtime_handler(context, pod).await {
        Ok(handler) => handler,
        Err(error) => return Err(failed(error)),
    };
    match context.runtime.run_sandbox(config, &handler).await {
        Ok(id) => Ok(id),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// The runtime's handler for the Pod's runtime class.
async fn runtime_handler(context: &Context, pod: &Pod) -> Result<String, String> {
    let Some(class) = spec::spec(pod).runtime_class_name.clone().filter(|c| !c.is_empty()) else {
        return Ok(String::new());
    };
    let missing = format!("failed to get sandbox runtime: RuntimeClass {class:?} not found");
    let Some(api) = &context.api else { return Err(missing) };
    let classes: kube::Api<k8s_openapi::api::node::v1::RuntimeClass> = kube::Api::all(api.clone());
    match classes.get_opt(&class).await {
        Ok(Some(found)) => Ok(found.handler),
        Ok(None) => Err(missing),
        Err(error) => Err(format!("failed to get RuntimeClass {class:?}: {error}")),
    }
}

/// A container that the runtime can be told to start.
struct Prepared {
    kind: Kind,
    spec: Container,
    sandbox: String,
    sandbox_config: proto::PodSandboxConfig,
    config: proto::ContainerConfig,
    log: PathBuf,
    ip: Option<String>,
}

/// Starts one container of a Pod whose sandbox is up, unless `stop` comes first; tells whether it
/// was started. What takes long is broken off by `stop`, but never the runtime while it starts the
/// container: containerd 1.6 keeps one of which the start was broken off for ever.
pub(super) async fn start_container(
    context: &Context,
    pod: &Arc<Pod>,
    record: &PodRecord,
    volumes: &PodVolumes,
    start: &Start,
    stop: impl Future<Output = ()>,
) -> Result<bool, StartFailure> {
    let mut stop = pin!(stop);
    let prepared = tokio::select! {
        prepared = prepare(context, pod, record, volumes, start) => prepared?,
        () = &mut stop => return Ok(false),
    };
    let Some(prepared) = prepared else { return Ok(true) };
    let id = launch(context, pod, &prepared).await?;
    tokio::select! {
        done = after_start(context, pod, &prepared, &id) => done.map(|()| true),
        () = &mut stop => Ok(false),
    }
}

/// Fetches the image, and gathers what the container is made of; `None` when the Pod has no such
/// container, or no sandbox.
async fn prepare(
    context: &Context,
    pod: &Arc<Pod>,
    record: &PodRecord,
    volumes: &PodVolumes,
    start: &Start,
) -> Result<Option<Prepared>, StartFailure> {
    let Some((kind, spec)) = spec::container(pod, &start.name) else { return Ok(None) };
    let Some(sandbox) = record.sandbox() else { return Ok(None) };
    let config = sandbox_config(context, pod, sandbox.attempt)
        .map_err(|error| failure("CreateContainerConfigError", error))?;

    let secrets = pull_secrets(context, pod).await;
    let ensure = async |wish| {
        context.images.ensure(wish, &secrets, &config).await.map_err(|missing| {
            let error = format!("Error: {}", missing.waiting.reason);
            context.events.container(pod, &spec.name, EventType::Warning, "Failed", error);
            StartFailure { waiting: missing.waiting, retry_at: missing.retry_at }
        })
    };
    let image = ensure(Wish::of_container(pod, &spec)).await?;
    let mut images = ImageMounts::new();
    for (volume, source) in spec::image_volumes(pod, &spec) {
        let found = ensure(Wish::of_volume(pod, source)).await?;
        let mounted = context.volumes.mount_image(pod, volume, &found.reference).await;
        let mounted =
            mounted.map_err(|error| failure("CreateContainerError", error.to_string()))?;
        images.insert(volume.name.clone(), mounted);
    }

    let ips = context.ips(pod, record);
    let warn = |reason: &str, text: &str| {
        let message = format!("Error: {text}");
        context.events.container(pod, &spec.name, EventType::Warning, "Failed", message);
        failure(reason, text.to_owned())
    };
    let env = env::build(pod, &spec, &context.env(&ips))
        .await
        .map_err(|error| warn("CreateContainerConfigError", &error.to_string()))?;
    let mut mounts = volumes
        .mounts(pod, &spec, &env, &images)
        .map_err(|error| warn("CreateContainerConfigError", &error.to_string()))?;
    let own = own_mounts(context, pod, &spec, &ips, &mounts)
        .map_err(|error| warn("CreateContainerConfigError", &error.to_string()))?;
    mounts.extend(own);
    let target = target_container(pod, kind, &spec.name, record);
    let security =
        security::for_container(pod, &spec, &image.user, target.as_deref(), &context.security)
            .map_err(|error| warn("CreateContainerConfigError", &error.to_string()))?;

    let log_path = format!("{}/{}.log", spec.name, start.restart_count);
    let log_dir = context.pod_log_dir(pod);
    std::fs::create_dir_all(log_dir.join(&spec.name))
        .map_err(|error| warn("CreateContainerConfigError", &error.to_string()))?;
    let inputs = ContainerInputs {
        image_ref: image.reference,
        restart_count: start.restart_count,
        env,
        mounts,
        resources: resources::container(pod, &spec, &context.memory),
        security,
        log_path: log_path.clone(),
    };
    Ok(Some(Prepared {
        config: container::config(pod, &spec, inputs),
        kind,
        spec,
        sandbox: sandbox.id.clone(),
        sandbox_config: config,
        log: log_dir.join(log_path),
        ip: ips.pod.into_iter().next(),
    }))
}

/// Creates the container and starts it; returns its ID.
async fn launch(
    context: &Context,
    pod: &Arc<Pod>,
    prepared: &Prepared,
) -> Result<String, StartFailure> {
    let Prepared { spec, config, .. } = prepared;
    let tell = |type_, reason: &str, message: &str| {
        context.events.container(pod, &spec.name, type_, reason, message.to_owned());
    };
    let warn = |reason: &str, text: &str| {
        tell(EventType::Warning, "Failed", &format!("Error: {text}"));
        failure(reason, text.to_owned())
    };
    let runtime = &context.runtime;
    let sandbox = prepared.sandbox_config.clone();
    let created = runtime.create_container(&prepared.sandbox, config.clone(), sandbox).await;
    let id = created.map_err(|error| warn("CreateContainerError", &error.message()))?;
    if prepared.kind != Kind::Ephemeral {
        let resources = spec.resources.clone().unwrap_or_default();
        context.ledger.actuate(&pod_uid(pod), [(spec.name.clone(), resources)]);
    }
    tell(EventType::Normal, "Created", "Container created");
    let started = runtime.start_container(&id).await;
    started.map_err(|error| warn("RunContainerError", &error.message()))?;
    tell(EventType::Normal, "Started", "Container started");
    link_log(context, pod, &spec.name, &id, &prepared.log);
    Ok(id)
}

/// Runs the hook of a container that was started; one that fails ends the container.
async fn after_start(
    context: &Context,
    pod: &Arc<Pod>,
    prepared: &Prepared,
    id: &str,
) -> Result<(), StartFailure> {
    let (spec, ip) = (&prepared.spec, prepared.ip.as_deref());
    if let Err(error) = lifecycle::post_start(context, spec, id, ip).await {
        let message = format!("PostStartHook failed: {error}");
        tracing::warn!(pod = spec::key(pod), container = spec.name, %error, "postStart failed");
        context.events.container(
            pod,
            &spec.name,
            EventType::Warning,
            "FailedPostStartHook",
            &*message,
        );
        lifecycle::stop(context, pod, id, &spec.name, "FailedPostStartHook", spec::grace(pod), ip)
            .await;
        return Err(failure("PostStartHookError", message));
    }
    Ok(())
}

fn failure(reason: &str, message: String) -> StartFailure {
    StartFailure { waiting: Waiting { reason: reason.to_owned(), message }, retry_at: None }
}

async fn pull_secrets(context: &Context, pod: &Pod) -> Vec<Arc<Secret>> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut secrets = Vec::new();
    for reference in spec::spec(pod).image_pull_secrets.iter().flatten() {
        match context.objects.secret(namespace, &reference.name).await {
            Ok(Some(secret)) => secrets.push(secret),
            Ok(None) | Err(_) => {
                let message = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    reference.name
                );
                context.events.pod(
                    pod,
                    EventType::Warning,
                    "FailedToRetrieveImagePullSecret",
                    message,
                );
            }
        }
    }
    secrets
}

/// Container whose process namespace an ephemeral container joins.
fn target_container(pod: &Pod, kind: Kind, name: &str, record: &PodRecord) -> Option<String> {
    if kind != Kind::Ephemeral {
        return None;
    }
    let list = spec::spec(pod).ephemeral_containers.as_ref()?;
    let target = list.iter().find(|e| e.name == name)?.target_container_name.clone()?;
    record.latest(&target).map(|c| c.id.clone())
}

/// The hosts file and the file for last words.
fn own_mounts(
    context: &Context,
    pod: &Pod,
    container: &Container,
    ips: &PodIps,
    taken: &[proto::Mount],
) -> std::io::Result<Vec<proto::Mount>> {
    let dir = context.pod_dir(&pod_uid(pod));
    let free = |path: &str| !taken.iter().any(|m| m.container_path == path);
    let mount = |host: &Path, inside: &str| proto::Mount {
        container_path: inside.to_owned(),
        host_path: host.display().to_string(),
        ..Default::default()
    };
    let mut mounts = Vec::new();
    std::fs::create_dir_all(&dir)?;
    if free("/etc/hosts") {
        let path = dir.join("etc-hosts");
        let node = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
        let text = hosts::hosts_file(pod, &ips.pod, &context.dns.cluster_domain, &node);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
        mounts.push(mount(&path, "/etc/hosts"));
    }
    let inside = container.termination_message_path.as_deref().unwrap_or(TERMINATION_PATH);
    if !inside.is_empty() && free(inside) {
        let path = new_termination_log(&dir.join("containers").join(&container.name))?;
        mounts.push(mount(&path, inside));
    }
    Ok(mounts)
}

/// A fresh file for every instance, writable for whoever the container runs as.
fn new_termination_log(dir: &Path) -> std::io::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let name = uuid::Uuid::new_v4().simple().to_string();
    let path = dir.join(&name[..8]);
    std::fs::write(&path, "")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666))?;
    Ok(path)
}

/// `/var/log/containers/POD_NAMESPACE_CONTAINER-ID.log`, which log collectors look for.
fn link_log(context: &Context, pod: &Pod, container: &str, id: &str, log: &Path) {
    let Some(parent) = context.log_dir.parent() else { return };
    let links = parent.join("containers");
    let name = format!(
        "{}_{}_{container}-{id}.log",
        pod.metadata.name.as_deref().unwrap_or_default(),
        pod.metadata.namespace.as_deref().unwrap_or_default()
    );
    let made = std::fs::create_dir_all(&links)
        .and_then(|()| std::os::unix::fs::symlink(log, links.join(name)));
    if let Err(error) = made {
        tracing::debug!(%error, "no link for the container log");
    }
}

/// Removes what a Pod that runs on does not need any more: all but the newest ended instance of
/// each container besides the current one, with their logs, and sandboxes that were replaced.
pub(super) async fn remove_leftovers(context: &Context, pod: &Pod, record: &PodRecord) {
    let mut names: Vec<&str> = record.containers.iter().map(|c| c.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let old = record.instances(name).skip(1).filter(|c| c.state == State::Exited).skip(1);
        for container in old {
            remove_container(context, container).await;
        }
    }
    for sandbox in record.sandboxes.iter().skip(1).filter(|s| !s.ready) {
        if record.containers.iter().any(|c| c.sandbox_id == sandbox.id) {
            continue;
        }
        if let Err(error) = context.runtime.remove_sandbox(&sandbox.id).await {
            tracing::warn!(pod = spec::key(pod), %error, "old sandbox stays");
        }
    }
}

/// Removes an ended container with its log; says whether it is gone.
pub(super) async fn remove_container(context: &Context, container: &ContainerRecord) -> bool {
    if let Err(error) = context.runtime.remove_container(&container.id).await {
        tracing::warn!(container = container.name, %error, "old container stays");
        return false;
    }
    let (Some(dir), Some(file)) = (container.log_path.parent(), container.log_path.file_name())
    else {
        return true;
    };
    let prefix = file.to_string_lossy().into_owned();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        // Rotated logs are named after the log.
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(&prefix)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::debug!(%error, "old log stays");
        }
    }
    if let Some(words) = &container.termination_log
        && let Err(error) = std::fs::remove_file(words)
    {
        tracing::debug!(%error, "old termination log stays");
    }
    prune_log_links(&context.log_dir);
    true
}

/// Removes links to logs that are gone.
pub(super) fn prune_log_links(log_dir: &Path) {
    let Some(parent) = log_dir.parent() else { return };
    let Ok(entries) = std::fs::read_dir(parent.join("containers")) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let dangling = path.is_symlink() && !path.exists();
        if dangling && let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(%error, "dangling log link stays");
        }
    }
}
