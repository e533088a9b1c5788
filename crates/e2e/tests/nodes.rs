//! What a new cluster looks like.

use crate::cluster::{Cluster, eventually_equal};

#[test]
fn three_nodes_are_ready() {
    let text = Cluster::shared().kubectl("get nodes --no-headers");
    let rows: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
    assert_eq!(
        rows,
        [["m1", "Ready", "control-plane"], ["w1", "Ready", "<none>"], ["w2", "Ready", "<none>"],]
    );
    assert!(text.contains("v1.36."), "{text}");
}

#[test]
fn every_component_shows_up_in_kube_system() {
    let cluster = Cluster::shared();
    let rows = || {
        let text = cluster.kubectl("get pods -n kube-system -o wide --no-headers");
        let mut rows: Vec<String> = text
            .lines()
            .map(|line| {
                let cells: Vec<&str> = line.split_whitespace().collect();
                // The age may be two words when a Pod was restarted; the node is third from the end.
                let node = cells[cells.len() - 3];
                let name = cells[0];
                let name = match name {
                    _ if name.starts_with("kube-proxy-") => "kube-proxy",
                    _ if name.starts_with("kube-dns-") => {
                        return format!("kube-dns {} {}", cells[1], cells[2]);
                    }
                    other => other,
                };
                format!("{name} {} {} {node}", cells[1], cells[2])
            })
            .collect();
        rows.sort();
        rows
    };
    let wanted = [
        "kube-apiserver-m1 1/1 Running m1",
        "kube-certificates-m1 1/1 Running m1",
        "kube-controller-manager-m1 1/1 Running m1",
        "kube-dns 1/1 Running",
        "kube-dns 1/1 Running",
        "kube-proxy 1/1 Running m1",
        "kube-proxy 1/1 Running w1",
        "kube-proxy 1/1 Running w2",
        "kube-scheduler-m1 1/1 Running m1",
    ]
    .map(str::to_owned)
    .to_vec();
    eventually_equal("all running", &wanted, rows);
}

#[test]
fn a_node_describes_itself() {
    let cluster = Cluster::shared();
    let node = cluster.json("get node w1");
    let info = &node["status"]["nodeInfo"];
    assert!(info["kubeletVersion"].as_str().unwrap().starts_with("v1.36."), "{info}");
    assert!(info["containerRuntimeVersion"].as_str().unwrap().starts_with("containerd://"));
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "w1");
    let text = cluster.kubectl("describe node m1");
    for part in ["Taints:             node-role.kubernetes.io/control-plane:NoSchedule", "PodCIDR:"]
    {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(cluster.kubectl("get lease -n kube-node-lease w2").contains("w2"));
}

#[test]
fn the_server_has_its_version_and_is_healthy() {
    let cluster = Cluster::shared();
    let version = cluster.json("version");
    assert!(version["serverVersion"]["gitVersion"].as_str().unwrap().starts_with("v1.36."));
    assert_eq!(cluster.kubectl("get --raw /readyz"), "ok");
    assert!(cluster.kubectl("get --raw /metrics").contains("apiserver_request_total"));
}
