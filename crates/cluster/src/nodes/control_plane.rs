//! What a control plane that comes or goes has besides a worker: the cluster's keys, and a member of
//! its etcd. A member joins before its control plane starts and leaves while it still runs, and only
//! if the others can go on without it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};

use super::{NodeError, runs};
use crate::etcd::{self, Member};
use crate::host::control_plane::keys_of;
use crate::host::members;
use crate::node::files::{ClusterKeys, PKI};
use crate::plan::NodePlan;
use crate::state::{Cluster, Folder};
use crate::status::pod_is_ready;
use crate::{addons, preflight, up};

/// Between attempts to give a member a vote.
const POLL: Duration = Duration::from_millis(200);

/// What a further control plane starts with.
pub(super) struct Newcomer {
    pub(super) keys: ClusterKeys,
    pub(super) member: Member,
    /// The number of its member.
    id: String,
}

/// The keys of the cluster, from a control plane of it.
fn keys(folder: &Folder, cluster: &Cluster) -> Result<ClusterKeys, NodeError> {
    let Some(any) = cluster.plan.control_planes().find(|node| runs(cluster, &node.name)) else {
        return Err(NodeError::Off(cluster.plan.control_plane().name.clone()));
    };
    Ok(keys_of(&folder.node(&any.name).join(PKI.trim_start_matches('/')))?)
}

/// Makes a member for `node` known to the others.
pub(super) async fn introduce(
    folder: &Folder,
    cluster: &Cluster,
    node: &NodePlan,
    client: &Client,
) -> Result<Newcomer, NodeError> {
    let program = preflight::etcd()?;
    let keys = keys(folder, cluster)?;
    let url = etcd::peer_url(node.address);
    let (id, all) = members::add(client, &url).await?;
    let member = members::joining(&all, &node.name, &url, program.image());
    Ok(Newcomer { keys, member, id })
}

/// Waits until the member of a control plane that has started votes, and marks its Node.
pub(super) async fn settle(
    newcomer: &Newcomer,
    node: &NodePlan,
    client: &Client,
) -> Result<(), NodeError> {
    while !members::promote(client, &newcomer.id).await.unwrap_or(false) {
        tokio::time::sleep(POLL).await;
    }
    up::registered(client, &node.name).await;
    Ok(addons::mark_control_plane(client, &node.name).await?)
}

/// Refuses to remove a control plane that others need.
pub(super) async fn spare(
    cluster: &Cluster,
    node: &NodePlan,
    client: &Client,
) -> Result<(), NodeError> {
    if cluster.plan.control_planes().count() < 2 {
        return Err(NodeError::ControlPlane(node.name.clone()));
    }
    if cluster.plan.virtual_address.is_none() && node == cluster.plan.control_plane() {
        return Err(NodeError::Endpoint(node.name.clone()));
    }
    let pods: Api<Pod> = Api::namespaced(client.clone(), "kube-system");
    let mut well = BTreeSet::new();
    for other in cluster.plan.control_planes().filter(|other| runs(cluster, &other.name)) {
        let pod = pods.get_opt(&format!("etcd-{}", other.name)).await.map_err(|source| {
            NodeError::Look { node: other.name.clone(), source: Box::new(source) }
        })?;
        if pod.as_ref().is_some_and(pod_is_ready) {
            well.insert(other.name.clone());
        }
    }
    match members::needed(&members::list(client).await?, &node.name, &well) {
        Some(reason) => Err(NodeError::Quorum { node: node.name.clone(), reason }),
        None => Ok(()),
    }
}

/// Takes the member of `node` out of the cluster, and has the administrator's kubeconfigs be those of
/// another control plane if they are its.
pub(super) async fn leave(
    folder: &Folder,
    cluster: &Cluster,
    node: &NodePlan,
    client: &Client,
) -> Result<(), NodeError> {
    let url = etcd::peer_url(node.address);
    members::leave_at(client, &node.name, &url).await?;
    let others = cluster.plan.control_planes().filter(|other| *other != node);
    let Some(other) = others.into_iter().next() else { return Ok(()) };
    for name in up::ADMINISTRATORS {
        let link = folder.join(name);
        let failed = |source| NodeError::File { path: link.clone(), source };
        let kept = |name: &str| -> PathBuf { folder.node(name).join("etc/kubernetes") };
        if fs::read_link(&link).map_err(failed)?.starts_with(kept(&node.name)) {
            let partial = link.with_added_extension("partial");
            fs::remove_file(&partial).ok();
            std::os::unix::fs::symlink(kept(&other.name).join(name), &partial)
                .and_then(|()| fs::rename(&partial, &link))
                .map_err(failed)?;
        }
    }
    Ok(())
}
