//! The rules of single kinds, one file or folder per family.

mod admission;
mod aggregation;
mod autoscaling;
mod batch;
mod certificates;
mod config;
mod definition;
mod dra;
mod endpoints;
mod event;
mod flowcontrol;
mod forms;
mod namespace;
mod network;
mod node;
mod placement;
pub mod pod;
mod quota;
mod rbac;
pub mod service;
mod storage;
#[cfg(test)]
mod tests;
mod workloads;

use crate::strategy::{Plain, PlainSubdomain, Strategy};

/// The strategy of a built-in kind.
pub(crate) fn strategy(group: &str, version: &str, kind: &str) -> &'static dyn Strategy {
    match (group, kind) {
        ("", "ConfigMap") => &config::ConfigMap,
        ("", "Endpoints") => &endpoints::Endpoints,
        ("", "Event") => &event::Event { newer: false },
        ("", "LimitRange") => &quota::LimitRange,
        ("", "Namespace") => &namespace::Namespace,
        ("", "Node") => &node::Node,
        ("", "PersistentVolume") => &storage::PersistentVolume,
        ("", "PersistentVolumeClaim") => &storage::PersistentVolumeClaim,
        ("", "Pod") => &pod::Pod,
        ("", "PodTemplate") => &workloads::PodTemplate,
        ("", "ReplicationController") => &workloads::ReplicationController,
        ("", "ResourceQuota") => &quota::ResourceQuota,
        ("", "Secret") => &config::Secret,
        ("", "Service") => &service::Service,
        ("", "ServiceAccount") => &config::ServiceAccount,
        ("admissionregistration.k8s.io", kind) => admission(kind),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            &definition::CustomResourceDefinition
        }
        ("apiregistration.k8s.io", "APIService") => &aggregation::ApiService,
        ("apps", "ControllerRevision") => &workloads::ControllerRevision,
        ("apps", "DaemonSet") => &workloads::DaemonSet,
        ("apps", "Deployment") => &workloads::Deployment,
        ("apps", "ReplicaSet") => &workloads::ReplicaSet,
        ("apps", "StatefulSet") => &workloads::StatefulSet,
        ("autoscaling", "HorizontalPodAutoscaler") => match version {
            "v1" => &autoscaling::Autoscaler { older: true },
            _ => &autoscaling::Autoscaler { older: false },
        },
        ("batch", "CronJob") => &batch::CronJob,
        ("batch", "Job") => &batch::Job,
        ("certificates.k8s.io", "CertificateSigningRequest") => &certificates::SigningRequest,
        ("certificates.k8s.io", "ClusterTrustBundle") => &certificates::ClusterTrustBundle,
        ("coordination.k8s.io", "Lease") => &placement::Lease,
        ("discovery.k8s.io", "EndpointSlice") => &endpoints::EndpointSlice,
        ("events.k8s.io", "Event") => &event::Event { newer: true },
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => &flowcontrol::FlowSchema,
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => {
            &flowcontrol::PriorityLevel
        }
        ("networking.k8s.io", "IPAddress") => &network::IpAddress,
        ("networking.k8s.io", "Ingress") => &network::Ingress,
        ("networking.k8s.io", "IngressClass") => &network::IngressClass,
        ("networking.k8s.io", "NetworkPolicy") => &network::NetworkPolicy,
        ("networking.k8s.io", "ServiceCIDR") => &network::ServiceCidr,
        ("node.k8s.io", "RuntimeClass") => &placement::RuntimeClass,
        ("policy", "PodDisruptionBudget") => &workloads::PodDisruptionBudget,
        ("rbac.authorization.k8s.io", "ClusterRole") => &rbac::Role { namespaced: false },
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => {
            &rbac::RoleBinding { namespaced: false }
        }
        ("rbac.authorization.k8s.io", "Role") => &rbac::Role { namespaced: true },
        ("rbac.authorization.k8s.io", "RoleBinding") => &rbac::RoleBinding { namespaced: true },
        ("resource.k8s.io", "DeviceClass") => &dra::DeviceClass,
        ("resource.k8s.io", "ResourceClaim") => &dra::ResourceClaim,
        ("resource.k8s.io", "ResourceClaimTemplate") => &dra::ResourceClaimTemplate,
        ("resource.k8s.io", "ResourceSlice") => &dra::ResourceSlice,
        ("scheduling.k8s.io", "PriorityClass") => &placement::PriorityClass,
        ("storage.k8s.io", "CSIDriver") => &storage::CsiDriver,
        ("storage.k8s.io", "CSINode") => &storage::CsiNode,
        ("storage.k8s.io", "CSIStorageCapacity") => &storage::CsiStorageCapacity,
        ("storage.k8s.io", "StorageClass") => &storage::StorageClass,
        ("storage.k8s.io", "VolumeAttachment") => &storage::VolumeAttachment,
        ("storage.k8s.io", "VolumeAttributesClass") => &storage::VolumeAttributesClass,
        ("internal.apiserver.k8s.io" | "certificates.k8s.io", _) => &Plain,
        _ => &PlainSubdomain,
    }
}

fn admission(kind: &str) -> &'static dyn Strategy {
    match kind {
        "MutatingWebhookConfiguration" => &admission::WebhookConfiguration { mutating: true },
        "ValidatingWebhookConfiguration" => &admission::WebhookConfiguration { mutating: false },
        "MutatingAdmissionPolicy" => &admission::Policy { mutating: true },
        "ValidatingAdmissionPolicy" => &admission::Policy { mutating: false },
        "MutatingAdmissionPolicyBinding" => &admission::PolicyBinding { mutating: true },
        "ValidatingAdmissionPolicyBinding" => &admission::PolicyBinding { mutating: false },
        _ => &PlainSubdomain,
    }
}
