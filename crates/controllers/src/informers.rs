//! The shared informers: one copy of each resource for all controllers.

use std::collections::BTreeMap;

use client::{Api, Client, Informer, Resource, WorkQueue};
use component::bootstrap_token;
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::api::apps::v1::{
    ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet,
};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{
    ConfigMap, Endpoints, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
    ReplicationController, ResourceQuota, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRole;
use tokio_util::sync::CancellationToken;

use crate::object::{Key, Meta, by_orphanage, by_owner};
use crate::pods;

/// Index: by the UID of the controlling owner.
pub(crate) const OWNER: &str = "owner";
/// Index: what nobody controls, by namespace.
pub(crate) const ORPHAN: &str = "orphan";
/// Index: by node.
pub(crate) const NODE: &str = "node";
/// Index: EndpointSlices by `namespace/service`.
pub(crate) const SERVICE: &str = "service";

/// Every resource that more than one object of the controller manager reads.
#[derive(Clone)]
pub(crate) struct Informers {
    pub(crate) pods: Informer<Pod>,
    pub(crate) nodes: Informer<Node>,
    pub(crate) node_leases: Informer<Lease>,
    pub(crate) namespaces: Informer<Namespace>,
    pub(crate) services: Informer<Service>,
    pub(crate) endpoints: Informer<Endpoints>,
    pub(crate) slices: Informer<EndpointSlice>,
    pub(crate) service_accounts: Informer<ServiceAccount>,
    /// Only those named `kube-root-ca.crt`.
    pub(crate) root_cas: Informer<ConfigMap>,
    pub(crate) deployments: Informer<Deployment>,
    pub(crate) replica_sets: Informer<ReplicaSet>,
    pub(crate) replication_controllers: Informer<ReplicationController>,
    pub(crate) daemon_sets: Informer<DaemonSet>,
    pub(crate) revisions: Informer<ControllerRevision>,
    pub(crate) stateful_sets: Informer<StatefulSet>,
    pub(crate) budgets: Informer<PodDisruptionBudget>,
    pub(crate) jobs: Informer<Job>,
    pub(crate) cron_jobs: Informer<CronJob>,
    pub(crate) cluster_roles: Informer<ClusterRole>,
    pub(crate) signing_requests: Informer<CertificateSigningRequest>,
    /// Only bootstrap tokens.
    pub(crate) bootstrap_tokens: Informer<Secret>,
    /// Only `kube-public/cluster-info`.
    pub(crate) cluster_info: Informer<ConfigMap>,
    pub(crate) service_cidrs: Informer<ServiceCIDR>,
    pub(crate) ip_addresses: Informer<IPAddress>,
    pub(crate) validating_policies: Informer<ValidatingAdmissionPolicy>,
    pub(crate) quotas: Informer<ResourceQuota>,
    pub(crate) claims: Informer<PersistentVolumeClaim>,
    pub(crate) volumes: Informer<PersistentVolume>,
}

impl Informers {
    /// Starts them all.
    pub(crate) fn start(client: &Client, shutdown: &CancellationToken) -> Self {
        macro_rules! plain {
            () => {
                Informer::builder(Api::all(client.clone())).start(shutdown)
            };
        }
        macro_rules! owned {
            () => {
                Informer::builder(Api::all(client.clone()))
                    .index(OWNER, by_owner)
                    .index(ORPHAN, by_orphanage)
                    .start(shutdown)
            };
        }
        Self {
            pods: Informer::<Pod>::builder(Api::all(client.clone()))
                .index(OWNER, by_owner)
                .index(ORPHAN, by_orphanage)
                .index(NODE, |pod| pods::node_name(pod).map(str::to_owned).into_iter().collect())
                .start(shutdown),
            nodes: Informer::<Node>::builder(Api::all(client.clone()))
                .transform(|node| {
                    // Names of images are most of a node and nobody here reads them.
                    if let Some(status) = &mut node.status {
                        status.images = None;
                    }
                })
                .start(shutdown),
            node_leases: Informer::builder(Api::namespaced(client.clone(), "kube-node-lease"))
                .start(shutdown),
            namespaces: plain!(),
            services: plain!(),
            endpoints: plain!(),
            slices: Informer::<EndpointSlice>::builder(Api::all(client.clone()))
                .index(SERVICE, |slice| {
                    slice
                        .label("kubernetes.io/service-name")
                        .map(|service| format!("{}/{service}", slice.ns()))
                        .into_iter()
                        .collect()
                })
                .start(shutdown),
            service_accounts: plain!(),
            root_cas: Informer::builder(Api::all(client.clone()))
                .fields("metadata.name=kube-root-ca.crt")
                .start(shutdown),
            deployments: plain!(),
            replica_sets: owned!(),
            replication_controllers: plain!(),
            daemon_sets: plain!(),
            revisions: owned!(),
            stateful_sets: plain!(),
            budgets: plain!(),
            jobs: owned!(),
            cron_jobs: plain!(),
            cluster_roles: plain!(),
            signing_requests: plain!(),
            bootstrap_tokens: Informer::builder(Api::namespaced(
                client.clone(),
                bootstrap_token::NAMESPACE,
            ))
            .fields(&format!("type={}", bootstrap_token::TYPE))
            .start(shutdown),
            cluster_info: Informer::builder(Api::namespaced(client.clone(), "kube-public"))
                .fields(&format!("metadata.name={}", bootstrap_token::CLUSTER_INFO))
                .start(shutdown),
            service_cidrs: plain!(),
            ip_addresses: plain!(),
            validating_policies: plain!(),
            quotas: plain!(),
            claims: plain!(),
            volumes: plain!(),
        }
    }

    /// Which of them have not synced yet, by resource; for `/readyz` and the log.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        let synced: BTreeMap<&'static str, bool> = [
            ("pods", self.pods.has_synced()),
            ("nodes", self.nodes.has_synced()),
            ("leases", self.node_leases.has_synced()),
            ("namespaces", self.namespaces.has_synced()),
            ("services", self.services.has_synced()),
            ("endpoints", self.endpoints.has_synced()),
            ("endpointslices", self.slices.has_synced()),
            ("serviceaccounts", self.service_accounts.has_synced()),
            ("configmaps", self.root_cas.has_synced()),
            ("deployments", self.deployments.has_synced()),
            ("replicasets", self.replica_sets.has_synced()),
            ("replicationcontrollers", self.replication_controllers.has_synced()),
            ("daemonsets", self.daemon_sets.has_synced()),
            ("controllerrevisions", self.revisions.has_synced()),
            ("statefulsets", self.stateful_sets.has_synced()),
            ("poddisruptionbudgets", self.budgets.has_synced()),
            ("jobs", self.jobs.has_synced()),
            ("cronjobs", self.cron_jobs.has_synced()),
            ("clusterroles", self.cluster_roles.has_synced()),
            ("certificatesigningrequests", self.signing_requests.has_synced()),
            ("secrets", self.bootstrap_tokens.has_synced()),
            ("cluster-info", self.cluster_info.has_synced()),
            ("servicecidrs", self.service_cidrs.has_synced()),
            ("ipaddresses", self.ip_addresses.has_synced()),
            ("validatingadmissionpolicies", self.validating_policies.has_synced()),
            ("resourcequotas", self.quotas.has_synced()),
            ("persistentvolumeclaims", self.claims.has_synced()),
            ("persistentvolumes", self.volumes.has_synced()),
        ]
        .into();
        synced.into_iter().filter(|(_, synced)| !synced).map(|(name, _)| name).collect()
    }
}

/// Brings every object to the queue whenever it changes, for the controller of its kind.
pub(crate) fn enqueue<K: Resource + 'static>(informer: &Informer<K>, queue: &WorkQueue<Key>) {
    let queue = queue.clone();
    informer.on_event(move |event| queue.add(Key::of(&**event.object())));
}
