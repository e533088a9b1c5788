//! Whether a cluster is as it should be. Pure.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;

use crate::sight::{NodeSight, Seen};
use crate::view::View;

/// What every control plane runs as static Pods.
const CONTROL_PLANE: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// Every node is there, Ready and free of taints; the control plane and the add-ons run.
pub(crate) fn whole(now: &View, nodes: &[String], control_planes: &[String]) -> Seen<()> {
    let there = now.nodes();
    let unknown: Vec<_> = there
        .iter()
        .filter_map(|node| node.metadata.name.clone())
        .filter(|name| !nodes.contains(name))
        .collect();
    if !unknown.is_empty() {
        return Err(format!("there are further nodes: {}", unknown.join(", ")));
    }
    for name in nodes {
        now.node(name).and_then(NodeSight::ready).and_then(NodeSight::untainted)?;
    }
    for node in control_planes {
        for component in CONTROL_PLANE {
            now.static_pod(component, node)
                .exactly(1)
                .map_err(|_| format!("Pod {component}-{node} is missing"))?;
        }
    }
    daemons(&now.daemon_sets(), nodes.len())?;
    now.system_pods().ready().map(drop)
}

fn daemons(sets: &[Arc<DaemonSet>], nodes: usize) -> Seen<()> {
    for set in sets {
        let ready = set.status.as_ref().map_or(0, |status| status.number_ready);
        if usize::try_from(ready) != Ok(nodes) {
            let name = set.metadata.name.as_deref().unwrap_or_default();
            return Err(format!("DaemonSet {name} has {ready} ready Pods for {nodes} nodes"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_node_has_its_daemons() {
        let set = |ready: i32| {
            let set: DaemonSet = serde_json::from_value(json!({
                "metadata": {"name": "kube-proxy"},
                "status": {
                    "numberReady": ready, "currentNumberScheduled": 3,
                    "desiredNumberScheduled": 3, "numberMisscheduled": 0,
                },
            }))
            .unwrap();
            Arc::new(set)
        };
        assert!(daemons(&[set(3)], 3).is_ok());
        let error = daemons(&[set(2)], 3).unwrap_err();
        assert_eq!(error, "DaemonSet kube-proxy has 2 ready Pods for 3 nodes");
    }
}
