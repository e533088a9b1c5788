//! The description of one container instance.

use k8s_openapi::api::core::v1::{Container, Pod};

use super::labels;
use crate::cri::proto;
use crate::env;

/// What a container configuration is made of besides the spec.
pub struct ContainerInputs {
    /// Image reference that the runtime gave for the image on the node.
    pub image_ref: String,
    /// Restarts before this instance.
    pub restart_count: u32,
    /// Complete environment.
    pub env: Vec<(String, String)>,
    /// All mounts.
    pub mounts: Vec<proto::Mount>,
    /// Limits.
    pub resources: proto::LinuxContainerResources,
    /// Security.
    pub security: proto::LinuxContainerSecurityContext,
    /// Log file, relative to the Pod's log folder.
    pub log_path: String,
}

/// Describes the next instance of `container`.
pub fn config(pod: &Pod, container: &Container, inputs: ContainerInputs) -> proto::ContainerConfig {
    let expand = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| env::expand(text, &inputs.env)).collect()
    };
    proto::ContainerConfig {
        metadata: Some(proto::ContainerMetadata {
            name: container.name.clone(),
            attempt: inputs.restart_count,
        }),
        image: Some(proto::ImageSpec {
            image: inputs.image_ref,
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        labels: labels::for_container(pod, container),
        annotations: labels::container_annotations(pod, container, inputs.restart_count),
        log_path: inputs.log_path,
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        tty: container.tty == Some(true),
        linux: Some(proto::LinuxContainerConfig {
            resources: Some(inputs.resources),
            security_context: Some(inputs.security),
        }),
        envs: inputs.env.into_iter().map(|(key, value)| proto::KeyValue { key, value }).collect(),
        mounts: inputs.mounts,
        ..Default::default()
    }
}
