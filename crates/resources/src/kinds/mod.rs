//! The rules of single kinds, one file or folder per family.

mod addresses;
pub mod admission;
mod aggregation;
mod autoscaling;
pub mod batch;
mod certificates;
mod config;
mod definition;
mod difference;
mod dra;
mod endpoints;
mod event;
pub mod flowcontrol;
mod forms;
mod internal;
mod migration;
mod namespace;
mod network;
mod node;
mod placement;
pub mod pod;
mod policy;
mod quota;
mod rbac;
pub mod service;
mod storage;
#[cfg(test)]
mod tests;
mod workloads;

use std::sync::Arc;

use crate::strategy::{PlainSubdomain, Strategy};

/// The strategy of a built-in kind.
pub(crate) fn strategy(group: &str, version: &str, kind: &str) -> Arc<dyn Strategy> {
    match (group, kind) {
        ("", "ConfigMap") => Arc::new(config::ConfigMap),
        ("", "Endpoints") => Arc::new(endpoints::Endpoints),
        ("", "Event") => Arc::new(event::Event { newer: false }),
        ("", "LimitRange") => Arc::new(quota::LimitRange),
        ("", "Namespace") => Arc::new(namespace::Namespace),
        ("", "Node") => Arc::new(node::Node),
        ("", "PersistentVolume") => Arc::new(storage::PersistentVolume),
        ("", "PersistentVolumeClaim") => Arc::new(storage::PersistentVolumeClaim),
        ("", "Pod") => Arc::new(pod::Pod),
        ("", "PodTemplate") => Arc::new(workloads::PodTemplate),
        ("", "ReplicationController") => Arc::new(workloads::ReplicationController),
        ("", "ResourceQuota") => Arc::new(quota::ResourceQuota),
        ("", "Secret") => Arc::new(config::Secret),
        ("", "Service") => Arc::new(service::Service),
        ("", "ServiceAccount") => Arc::new(config::ServiceAccount),
        ("admissionregistration.k8s.io", kind) => admission(kind),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            Arc::new(definition::CustomResourceDefinition)
        }
        ("apiregistration.k8s.io", "APIService") => Arc::new(aggregation::ApiService),
        ("apps", "ControllerRevision") => Arc::new(workloads::ControllerRevision),
        ("apps", "DaemonSet") => Arc::new(workloads::DaemonSet),
        ("apps", "Deployment") => Arc::new(workloads::Deployment),
        ("apps", "ReplicaSet") => Arc::new(workloads::ReplicaSet),
        ("apps", "StatefulSet") => Arc::new(workloads::StatefulSet),
        ("autoscaling", "HorizontalPodAutoscaler") => match version {
            "v1" => Arc::new(autoscaling::Autoscaler { older: true }),
            _ => Arc::new(autoscaling::Autoscaler { older: false }),
        },
        ("batch", "CronJob") => Arc::new(batch::CronJob),
        ("batch", "Job") => Arc::new(batch::Job),
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            Arc::new(certificates::SigningRequest)
        }
        ("certificates.k8s.io", "ClusterTrustBundle") => Arc::new(certificates::ClusterTrustBundle),
        ("certificates.k8s.io", "PodCertificateRequest") => {
            Arc::new(certificates::PodCertificateRequest)
        }
        ("coordination.k8s.io", "Lease") => Arc::new(placement::Lease),
        ("coordination.k8s.io", "LeaseCandidate") => Arc::new(placement::LeaseCandidate),
        ("discovery.k8s.io", "EndpointSlice") => Arc::new(endpoints::EndpointSlice),
        ("events.k8s.io", "Event") => Arc::new(event::Event { newer: true }),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => Arc::new(flowcontrol::FlowSchema),
        ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration") => {
            Arc::new(flowcontrol::PriorityLevel)
        }
        ("networking.k8s.io", "IPAddress") => Arc::new(network::IpAddress),
        ("networking.k8s.io", "Ingress") => Arc::new(network::Ingress),
        ("networking.k8s.io", "IngressClass") => Arc::new(network::IngressClass),
        ("networking.k8s.io", "NetworkPolicy") => Arc::new(network::NetworkPolicy),
        ("networking.k8s.io", "ServiceCIDR") => Arc::new(network::ServiceCidr),
        ("node.k8s.io", "RuntimeClass") => Arc::new(placement::RuntimeClass),
        ("policy", "PodDisruptionBudget") => Arc::new(policy::PodDisruptionBudget),
        ("rbac.authorization.k8s.io", "ClusterRole") => Arc::new(rbac::Role { namespaced: false }),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding") => {
            Arc::new(rbac::RoleBinding { namespaced: false })
        }
        ("rbac.authorization.k8s.io", "Role") => Arc::new(rbac::Role { namespaced: true }),
        ("rbac.authorization.k8s.io", "RoleBinding") => {
            Arc::new(rbac::RoleBinding { namespaced: true })
        }
        ("resource.k8s.io", kind) if version == "v1beta1" && kind != "DeviceClass" => {
            Arc::new(dra::Older(strategy(group, "v1", kind)))
        }
        ("resource.k8s.io", "DeviceClass") => Arc::new(dra::DeviceClass),
        ("resource.k8s.io", "DeviceTaintRule") => Arc::new(dra::DeviceTaintRule),
        ("resource.k8s.io", "ResourceClaim") => Arc::new(dra::ResourceClaim),
        ("resource.k8s.io", "ResourceClaimTemplate") => Arc::new(dra::ResourceClaimTemplate),
        ("resource.k8s.io", "ResourcePoolStatusRequest") => Arc::new(dra::PoolStatusRequest),
        ("resource.k8s.io", "ResourceSlice") => Arc::new(dra::ResourceSlice),
        ("scheduling.k8s.io", "PodGroup") => Arc::new(placement::PodGroup),
        ("scheduling.k8s.io", "PriorityClass") => Arc::new(placement::PriorityClass),
        ("storage.k8s.io", "CSIDriver") => Arc::new(storage::CsiDriver),
        ("storage.k8s.io", "CSINode") => Arc::new(storage::CsiNode),
        ("storage.k8s.io", "CSIStorageCapacity") => Arc::new(storage::CsiStorageCapacity),
        ("storage.k8s.io", "StorageClass") => Arc::new(storage::StorageClass),
        ("storage.k8s.io", "VolumeAttachment") => Arc::new(storage::VolumeAttachment),
        ("storage.k8s.io", "VolumeAttributesClass") => Arc::new(storage::VolumeAttributesClass),
        ("internal.apiserver.k8s.io", "StorageVersion") => Arc::new(migration::StorageVersion),
        ("storagemigration.k8s.io", "StorageVersionMigration") => Arc::new(migration::Migration),
        _ => Arc::new(PlainSubdomain),
    }
}

fn admission(kind: &str) -> Arc<dyn Strategy> {
    match kind {
        "MutatingWebhookConfiguration" => {
            Arc::new(admission::WebhookConfiguration { mutating: true })
        }
        "ValidatingWebhookConfiguration" => {
            Arc::new(admission::WebhookConfiguration { mutating: false })
        }
        "MutatingAdmissionPolicy" => Arc::new(admission::Policy { mutating: true }),
        "ValidatingAdmissionPolicy" => Arc::new(admission::Policy { mutating: false }),
        "MutatingAdmissionPolicyBinding" => Arc::new(admission::PolicyBinding { mutating: true }),
        "ValidatingAdmissionPolicyBinding" => {
            Arc::new(admission::PolicyBinding { mutating: false })
        }
        _ => Arc::new(PlainSubdomain),
    }
}
