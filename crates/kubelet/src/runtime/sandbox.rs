//! The description of a Pod's sandbox.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::dns::{self, DnsContext};
use super::security::{self, SecurityDefaults};
use super::{hosts, labels};
use crate::cri::proto;

/// What a sandbox configuration depends on besides the Pod.
pub struct SandboxContext<'a> {
    /// Resolver facts.
    pub dns: &'a DnsContext,
    /// Node-wide security defaults.
    pub security: &'a SecurityDefaults,
    /// Folder for the logs of the Pod's containers.
    pub log_dir: &'a Path,
    /// Cgroup that the runtime puts the Pod under.
    pub cgroup_parent: String,
}

/// Describes attempt number `attempt` of the sandbox of `pod`.
pub fn config(
    pod: &Pod,
    attempt: u32,
    context: &SandboxContext<'_>,
) -> Result<proto::PodSandboxConfig, String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let host_network = spec.host_network == Some(true);
    let hostname = if host_network {
        String::new()
    } else {
        hosts::sandbox_hostname(pod, &context.dns.cluster_domain)?
    };
    let meta = &pod.metadata;
    let annotations = meta.annotations.clone().unwrap_or_default().into_iter().collect();
    let sysctls = spec.security_context.iter().flat_map(|s| s.sysctls.iter().flatten());
    Ok(proto::PodSandboxConfig {
        metadata: Some(proto::PodSandboxMetadata {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            attempt,
        }),
        hostname,
        log_directory: context.log_dir.display().to_string(),
        dns_config: Some(dns::config(pod, context.dns)),
        port_mappings: if host_network {
            Vec::new()
        } else {
            let sidecars = spec
                .init_containers
                .iter()
                .flatten()
                .filter(|c| c.restart_policy.as_deref() == Some("Always"));
            spec.containers.iter().chain(sidecars).flat_map(port_mappings).collect()
        },
        labels: labels::for_sandbox(pod),
        annotations,
        linux: Some(proto::LinuxPodSandboxConfig {
            cgroup_parent: context.cgroup_parent.clone(),
            security_context: Some(security::for_sandbox(&spec, context.security)),
            sysctls: sysctls.map(|s| (s.name.clone(), s.value.clone())).collect(),
            ..Default::default()
        }),
    })
}

/// Ports that the runtime should publish on the node.
fn port_mappings(container: &Container) -> Vec<proto::PortMapping> {
    let ports = container.ports.iter().flatten().filter(|port| port.host_port.unwrap_or(0) != 0);
    ports
        .map(|port| proto::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => proto::Protocol::Udp,
                Some("SCTP") => proto::Protocol::Sctp,
                _ => proto::Protocol::Tcp,
            }
            .into(),
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or(0),
            host_ip: port.host_ip.clone().unwrap_or_default(),
        })
        .collect()
}
