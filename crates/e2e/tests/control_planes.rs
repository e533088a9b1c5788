//! Three control planes and their store: what goes on when one of them is lost, and that it comes
//! back.

use std::collections::BTreeSet;

use crate::chaos::{Own, processes};
use crate::cluster::{
    Cluster, Namespace, WEB, eventually, eventually_equal, ironclad, refused, run, stdout,
};

const MASTERS: [&str; 3] = ["m1", "m2", "m3"];

/// What kubectl prints, or why it does not.
fn ask(cluster: &Cluster, arguments: &str) -> Result<String, String> {
    let arguments = format!("--request-timeout=10s {arguments}");
    let output = cluster.command(&arguments).output().expect("kubectl runs");
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// What kubectl prints once it succeeds: a connection that was there before a loss breaks off.
fn insist(cluster: &Cluster, arguments: &str) -> String {
    eventually(arguments, || ask(cluster, arguments))
}

/// The node that holds a lease of `kube-system`.
fn holder(cluster: &Cluster, lease: &str) -> String {
    let path = format!("get lease {lease} -n kube-system -o jsonpath={{.spec.holderIdentity}}");
    let holder = ask(cluster, &path).unwrap_or_default();
    holder.split('_').next().unwrap_or_default().to_owned()
}

/// The addresses behind the Service `kubernetes`.
fn endpoints(cluster: &Cluster) -> BTreeSet<String> {
    let path = "get endpointslice kubernetes -o jsonpath={.endpoints[*].addresses[0]}";
    let text = ask(cluster, path).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The names of the store's members that have a vote.
fn members(cluster: &Cluster) -> Vec<String> {
    let text = insist(cluster, "get --raw /store/members");
    let all: serde_json::Value = serde_json::from_str(&text).expect("members are JSON");
    let all = all["members"].as_array().expect("members are a list");
    let voters = all.iter().filter(|member| member["isLearner"] == false);
    let mut names: Vec<_> = voters.map(|m| m["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

fn ready(cluster: &Cluster, pod: &str) -> Result<(), String> {
    let text = ask(cluster, &format!("get pod {pod} -n kube-system --no-headers"))?;
    if text.contains("1/1") { Ok(()) } else { Err(text) }
}

#[test]
fn each_of_three_control_planes_can_be_lost_and_comes_back() {
    let own = Own::with("e2e-ha", &["--control-planes", "3", "--nodes", "4"]);
    let cluster = &own.0;
    for node in MASTERS {
        for pod in ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"] {
            eventually("ready", || ready(cluster, &format!("{pod}-{node}")));
        }
    }
    let address = |node: &str| {
        let path = "jsonpath={.status.addresses[0].address}";
        cluster.kubectl(&format!("get node {node} -o {path}"))
    };
    let addresses = MASTERS.map(address);
    let all: BTreeSet<String> = addresses.iter().cloned().collect();
    eventually_equal("all behind the Service", &all, || endpoints(cluster));
    assert_eq!(members(cluster), MASTERS);

    let space = Namespace::on(cluster.clone(), "lost");
    space.kubectl(&format!("create deployment web --image={} --replicas=1", WEB[0]));
    space.kubectl("rollout status deployment/web --timeout=90s");

    // The first one, which made the others, and then whoever has the address.
    let first = "m1".to_owned();
    lose(cluster, &space, &first, &addresses, 2);
    let next = holder(cluster, "virtual-ip");
    lose(cluster, &space, &next, &addresses, 3);
    store(cluster, &space);
    authorities(cluster, &space);
    come_and_go(cluster, &space);
}

/// Control planes are removed and added, unless the others need them; the first one too.
fn come_and_go(cluster: &Cluster, space: &Namespace) {
    run(cluster, "node poweroff m2");
    eventually("answered", || ask(cluster, "get --raw /readyz"));
    let refusal = refused(cluster, "node remove m3");
    let reason = "1 of the 2 members that would be left work, and 2 have to";
    assert!(refusal.contains(reason), "{refusal}");
    run(cluster, "node poweron m2");
    eventually("its Pod is ready", || ready(cluster, "etcd-m2"));
    insist(cluster, "wait --for=condition=Ready node/m2 --timeout=90s");

    run(cluster, "node remove m1");
    assert_eq!(members(cluster), ["m2", "m3"]);
    let nodes = insist(cluster, "get nodes -o name");
    assert!(!nodes.contains("node/m1"), "{nodes}");
    assert!(processes(cluster, "m1", "").is_empty());
    run(cluster, "certs check");
    let said = run(cluster, "node add --control-plane");
    assert!(said.contains("Node m1 has joined."), "{said}");
    assert_eq!(members(cluster), MASTERS);
    eventually("three behind the Service", || {
        let all = endpoints(cluster);
        if all.len() == 3 { Ok(()) } else { Err(format!("{all:?}")) }
    });
    insist(cluster, &format!("-n {} scale deployment/web --replicas=5", space.name));
    let ready = "--for=jsonpath={.status.readyReplicas}=5";
    insist(cluster, &format!("-n {} wait deployment/web {ready}", space.name));
}

/// Authorities are replaced on all control planes, with most members of etcd always there.
fn authorities(cluster: &Cluster, space: &Namespace) {
    let bundle = || {
        let map = insist(cluster, "get configmap kube-root-ca.crt -o jsonpath={.data.ca\\.crt}");
        map.trim().to_owned()
    };
    let old = bundle();
    for authority in ["ca", "etcd-ca"] {
        let said = run(cluster, &format!("certs rotate-ca --authority {authority} --grace 5s"));
        assert!(said.contains("The new authority has taken over"), "{said}");
        run(cluster, "certs check");
        eventually("all members are well", || {
            let said = ironclad().args(["store", "check", "--name", &cluster.name]).output();
            let said = String::from_utf8_lossy(&said.expect("ironclad runs").stdout).into_owned();
            if said.contains("3 members hold the same") { Ok(()) } else { Err(said) }
        });
    }
    let new = bundle();
    assert!(new != old && new.matches("BEGIN").count() == 1, "{new}");
    insist(cluster, &format!("-n {} scale deployment/web --replicas=4", space.name));
    let ready = "--for=jsonpath={.status.readyReplicas}=4";
    insist(cluster, &format!("-n {} wait deployment/web {ready}", space.name));
}

/// Without `node`, the API answers, another leads, and a Pod more runs; then it is back.
fn lose(cluster: &Cluster, space: &Namespace, node: &str, addresses: &[String; 3], pods: usize) {
    let own = MASTERS.iter().position(|name| *name == node).expect("it is a control plane");
    let all: BTreeSet<String> = addresses.iter().cloned().collect();
    let mut others = all.clone();
    others.remove(&addresses[own]);
    run(cluster, &format!("node poweroff {node}"));
    assert!(processes(cluster, node, "").is_empty());
    eventually("answered", || ask(cluster, "get --raw /readyz"));
    for lease in ["virtual-ip", "kube-controller-manager", "kube-scheduler"] {
        eventually(&format!("{lease} led by another"), || {
            let holder = holder(cluster, lease);
            if holder.is_empty() || holder == node { Err(holder) } else { Ok(()) }
        });
    }
    eventually_equal("only those that live", &others, || endpoints(cluster));
    let web = format!("-n {} deployment/web", space.name);
    insist(cluster, &format!("scale {web} --replicas={pods}"));
    insist(cluster, &format!("wait {web} --for=jsonpath={{.status.readyReplicas}}={pods}"));

    run(cluster, &format!("node poweron {node}"));
    // Which asks every member what it holds.
    eventually("the member is well again", || {
        let mut command = ironclad();
        let output = command.args(["store", "check", "--name", &cluster.name]).output();
        let output = output.expect("ironclad runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if text.contains("3 members hold the same") { Ok(()) } else { Err(format!("{output:?}")) }
    });
    eventually("its Pod is ready", || ready(cluster, &format!("etcd-{node}")));
    eventually("its server is ready", || ready(cluster, &format!("kube-apiserver-{node}")));
    eventually_equal("all behind the Service", &all, || endpoints(cluster));
    insist(cluster, &format!("wait --for=condition=Ready node/{node}"));
    assert_eq!(members(cluster), MASTERS);
    // It has heard of what was written meanwhile: its own server says so.
    let server = format!("--server=https://{}:6443", addresses[own]);
    let told = insist(cluster, &format!("{server} get {web} -o jsonpath={{.spec.replicas}}"));
    assert_eq!(told, pods.to_string());
}

/// The store's commands work with three servers and three members.
fn store(cluster: &Cluster, space: &Namespace) {
    let own = |arguments: &str| format!("-n {} {arguments}", space.name);
    insist(cluster, &own("create configmap before"));
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("snapshot");
    let file = file.display().to_string();
    let saved = run(cluster, &format!("snapshot save {file}"));
    assert!(saved.contains("Saved revision "), "{saved}");
    let info = stdout(ironclad().args(["snapshot", "info", &file]));
    assert!(info.contains("Engine:    etcd"), "{info}");
    for command in ["store status", "store defrag"] {
        let status: serde_json::Value =
            serde_json::from_str(&run(cluster, command)).expect("a status is JSON");
        assert_eq!(status["engine"], "etcd", "{status}");
        assert_eq!(status["alarms"], serde_json::json!([]), "{status}");
    }
    insist(cluster, &own("create configmap after"));
    insist(cluster, &own("delete configmap before"));
    let restored = run(cluster, &format!("snapshot restore {file}"));
    assert!(restored.contains("the store goes on from revision"), "{restored}");
    insist(cluster, &own("get configmap before"));
    eventually("forgotten", || match ask(cluster, &own("get configmap after")) {
        Err(error) if error.contains("NotFound") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for node in MASTERS {
        eventually("serves again", || ready(cluster, &format!("kube-apiserver-{node}")));
    }
    insist(cluster, &own("wait deployment/web --for=condition=Available"));
}
