//! `ironclad status`: the clusters of this host and how their nodes are.

use std::path::Path;
use std::time::Duration;

use client::ConnectOptions;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;

use crate::plan::Role;
use crate::state::{self, Cluster};

/// How long an API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A table of all clusters of the host, or of the one named; empty when there is none.
pub async fn table(clusters: &Path, name: Option<&str>) -> Vec<[String; 6]> {
    let mut rows = Vec::new();
    for cluster in state::all(clusters) {
        if name.is_none_or(|name| cluster.plan.name == name) {
            let ready = ready(&state::kubeconfig(clusters, &cluster.plan.name)).await;
            rows.extend(describe(&cluster, ready.as_deref()));
        }
    }
    rows
}

/// The head of the table.
pub const HEAD: [&str; 6] = ["CLUSTER", "NODE", "ROLE", "ADDRESS", "PROCESS", "STATUS"];

fn describe(cluster: &Cluster, nodes: Option<&[(String, bool)]>) -> Vec<[String; 6]> {
    let row = |node: &crate::plan::NodePlan| {
        let process = cluster.nodes.get(&node.name).filter(|process| process.runs());
        let known = nodes.and_then(|all| all.iter().find(|(name, _)| *name == node.name));
        let status = match (nodes, known) {
            (None, _) => "Unknown (the API server does not answer)",
            (_, None) => "Missing",
            (_, Some((_, true))) => "Ready",
            (_, Some((_, false))) => "NotReady",
        };
        let role = match node.role {
            Role::ControlPlane => "control-plane",
            Role::Worker => "worker",
        };
        [
            cluster.plan.name.clone(),
            node.name.clone(),
            role.to_owned(),
            node.address.to_string(),
            process.map_or("stopped".to_owned(), |process| process.pid.to_string()),
            status.to_owned(),
        ]
    };
    cluster.plan.nodes.iter().map(row).collect()
}

async fn ready(kubeconfig: &Path) -> Option<Vec<(String, bool)>> {
    let options = ConnectOptions {
        kubeconfig: Some(kubeconfig.to_owned()),
        user_agent: "ironclad-status".to_owned(),
    };
    let nodes: Api<Node> = Api::all(client::connect(&options).await.ok()?);
    let list = tokio::time::timeout(PATIENCE, nodes.list(&ListParams::default())).await;
    let list = list.ok()?.ok()?;
    let named = |node: Node| (node.metadata.name.clone().unwrap_or_default(), is_ready(&node));
    Some(list.items.into_iter().map(named).collect())
}

/// Whether the node's condition `Ready` is true.
pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Request, plan};

    #[test]
    fn a_node_without_a_process_is_stopped_and_without_an_object_missing() {
        let plan = plan(&Request { name: "c".into(), nodes: 2 }, &[]).unwrap();
        let cluster = Cluster { plan, host_forwarded: true, nodes: [].into() };
        let rows = describe(&cluster, Some(&[("m1".to_owned(), true)]));
        let short: Vec<_> = rows.iter().map(|r| format!("{} {} {}", r[1], r[4], r[5])).collect();
        assert_eq!(short, ["m1 stopped Ready", "w1 stopped Missing"]);
        assert!(describe(&cluster, None)[0][5].starts_with("Unknown"));
    }
}
