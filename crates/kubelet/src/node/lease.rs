//! The node's heartbeat: a Lease in `kube-node-lease`.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use tokio_util::sync::CancellationToken;

/// Namespace of node leases.
const NAMESPACE: &str = "kube-node-lease";
/// Wait after a failed renewal.
const RETRY: Duration = Duration::from_secs(1);

/// Renews the lease of `node_name` every quarter of `duration` until shutdown.
pub async fn keep(
    client: kube::Client,
    node_name: String,
    duration: Duration,
    node: Arc<dyn Fn() -> Option<Arc<Node>> + Send + Sync>,
    shutdown: CancellationToken,
) {
    let api: kube::Api<Lease> = kube::Api::namespaced(client, NAMESPACE);
    let mut held: Option<Lease> = None;
    loop {
        let wanted = lease(held.clone(), &node_name, duration, node().as_deref());
        let renewed = match &held {
            Some(_) => api.replace(&node_name, &PostParams::default(), &wanted).await,
            None => create_or_get(&api, &node_name, &wanted).await,
        };
        let pause = match renewed {
            Ok(lease) => {
                let adopted = held.is_none() && lease.spec != wanted.spec;
                held = Some(lease);
                // An old lease that was found must be renewed at once.
                if adopted { Duration::ZERO } else { duration / 4 }
            }
            Err(error) => {
                tracing::warn!(%error, "node lease not renewed");
                held = None;
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

async fn create_or_get(
    api: &kube::Api<Lease>,
    name: &str,
    wanted: &Lease,
) -> Result<Lease, kube::Error> {
    match api.get_opt(name).await? {
        Some(found) => Ok(found),
        None => api.create(&PostParams::default(), wanted).await,
    }
}

fn lease(held: Option<Lease>, name: &str, duration: Duration, node: Option<&Node>) -> Lease {
    let mut lease = held.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NAMESPACE.to_owned()),
            ..Default::default()
        },
        ..Default::default()
    });
    if lease.metadata.owner_references.is_none()
        && let Some(node) = node
    {
        lease.metadata.owner_references = Some(vec![OwnerReference {
            api_version: "v1".into(),
            kind: "Node".into(),
            name: name.to_owned(),
            uid: node.metadata.uid.clone().unwrap_or_default(),
            ..Default::default()
        }]);
    }
    let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
    spec.holder_identity = Some(name.to_owned());
    spec.lease_duration_seconds = i32::try_from(duration.as_secs()).ok();
    spec.renew_time = Some(MicroTime(Timestamp::now()));
    lease
}
