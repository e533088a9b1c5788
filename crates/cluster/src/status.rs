//! `ironclad status`: the clusters of this host and how their nodes are.

use std::path::Path;
use std::time::Duration;

use client::ConnectOptions;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::ListParams;

use crate::network;
use crate::node::control::{self, Request};
use crate::node::services::{Action, Activity};
use crate::plan::{NodePlan, Role};
use crate::state::{self, Cluster};

/// How long an API server may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A table of all clusters of the host, or of the one named; empty when there is none.
pub async fn table(clusters: &Path, name: Option<&str>) -> Vec<[String; 6]> {
    let mut rows = Vec::new();
    for cluster in state::all(clusters) {
        if name.is_none_or(|name| cluster.plan.name == name) {
            let name = &cluster.plan.name;
            let ready = ready(&state::kubeconfig(clusters, name)).await;
            let host = |node: &NodePlan| Host {
                stopped: stopped(&node.name, &state::node(clusters, name, &node.name)),
                connected: network::is_connected(node),
            };
            rows.extend(describe(&cluster, ready.as_deref(), host));
        }
    }
    rows
}

/// The head of the table.
pub const HEAD: [&str; 6] = ["CLUSTER", "NODE", "ROLE", "ADDRESS", "PROCESS", "STATUS"];

/// What this machine says of a node that runs.
#[derive(Default)]
struct Host {
    /// Services that do not run.
    stopped: Vec<String>,
    /// Whether its cable is plugged in.
    connected: Option<bool>,
}

/// The services of `node` that an administrator stopped, or that do not come up.
fn stopped(node: &str, folder: &Path) -> Vec<String> {
    let request = Request { action: Action::Status, service: None };
    let all = control::ask(node, folder, &request).unwrap_or_default();
    all.into_iter()
        .filter(|service| service.activity != Activity::Active)
        .map(|service| format!("{} stopped", service.name))
        .collect()
}

fn describe(
    cluster: &Cluster,
    nodes: Option<&[(String, bool)]>,
    host: impl Fn(&NodePlan) -> Host,
) -> Vec<[String; 6]> {
    let row = |node: &NodePlan| {
        let started = cluster.nodes.get(&node.name);
        let process = started.filter(|process| process.runs());
        let known = nodes.and_then(|all| all.iter().find(|(name, _)| *name == node.name));
        let status = match (nodes, known) {
            (None, _) => "Unknown (the API server does not answer)",
            (_, None) => "Missing",
            (_, Some((_, true))) => "Ready",
            (_, Some((_, false))) => "NotReady",
        };
        let host = process.map(|_| host(node)).unwrap_or_default();
        let mut problems = host.stopped;
        if host.connected == Some(false) {
            problems.push("disconnected".to_owned());
        }
        let status = match problems.as_slice() {
            [] => status.to_owned(),
            all => format!("{status}, {}", all.join(", ")),
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
            match (process, started) {
                (Some(process), _) => process.pid.to_string(),
                (None, Some(_)) => "dead".to_owned(),
                (None, None) => "off".to_owned(),
            },
            status,
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

/// Whether the Pod is Ready.
pub(crate) fn pod_is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
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
    use crate::state::Process;

    #[test]
    fn nodes_that_are_off_or_have_no_object_or_lack_something_say_so() {
        let plan = plan(&Request::new("c", 4), &[]).unwrap();
        let own = Process::of(nix::unistd::getpid()).unwrap();
        let gone = Process { started: own.started + 1, ..own };
        let nodes = [("m1".to_owned(), own), ("w1".to_owned(), own), ("w2".to_owned(), gone)];
        let cluster = Cluster { plan, host_forwarded: true, nodes: nodes.into() };
        let host = |node: &NodePlan| Host {
            stopped: if node.name == "w1" { vec!["kubelet stopped".into()] } else { Vec::new() },
            connected: Some(node.name != "w1"),
        };
        let known = [("m1", true), ("w1", false), ("w3", false)].map(|(n, r)| (n.to_owned(), r));
        let rows = describe(&cluster, Some(&known), host);
        let short: Vec<_> = rows.iter().map(|r| format!("{} {} {}", r[1], r[4], r[5])).collect();
        assert_eq!(
            short,
            [
                format!("m1 {} Ready", own.pid),
                format!("w1 {} NotReady, kubelet stopped, disconnected", own.pid),
                "w2 dead Missing".to_owned(),
                "w3 off NotReady".to_owned()
            ]
        );
        assert!(describe(&cluster, None, host)[0][5].starts_with("Unknown"));
    }
}
