//! What an administrator does to single nodes: services, power and network.

use std::collections::BTreeSet;

use crate::chaos::{Own, processes};
use crate::cluster::{
    BUSYBOX, Cluster, Namespace, eventually, eventually_equal, ironclad, refused, run,
};

/// The status of the node's condition `Ready`.
fn ready(cluster: &Cluster, node: &str) -> String {
    let node = cluster.json(&format!("get node {node}"));
    let conditions = node["status"]["conditions"].as_array().expect("a node has conditions");
    let ready = conditions.iter().find(|c| c["type"] == "Ready").expect("Ready is one of them");
    ready["status"].as_str().expect("a status is text").to_owned()
}

fn row(cluster: &Cluster, node: &str) -> String {
    let table = run(cluster, "status");
    let row = table.lines().find(|line| line.split_whitespace().nth(1) == Some(node));
    row.unwrap_or_else(|| panic!("{node} is not in {table}")).to_owned()
}

#[test]
fn a_node_is_stopped_pulled_cut_and_comes_back_every_time() {
    let own = Own::up("e2e-power");
    let cluster = &own.0;
    let space = Namespace::on(cluster.clone(), "power");
    space.sleeper("on-w1", "w1");
    space.sleeper("on-w2", "w2");

    services(cluster, &space);
    power(cluster, &space);
    graceful(cluster, &space);
    network(cluster);
    removal(cluster);
}

/// A stopped kubelet stays so and changes nothing for what runs; so does a runtime.
fn services(cluster: &Cluster, space: &Namespace) {
    let status = run(cluster, "service status --node w1");
    for unit in ["containerd", "kubelet"] {
        assert!(status.contains(&format!("{unit}.service - ")), "{status}");
    }
    assert_eq!(status.matches("Active: active (running) since ").count(), 2, "{status}");

    run(cluster, "service stop kubelet --node w1");
    assert!(processes(cluster, "w1", "kubelet").is_empty());
    assert!(row(cluster, "w1").contains("kubelet stopped"));
    let mut command = ironclad();
    command.args(["service", "status", "kubelet", "--node", "w1", "--name", &cluster.name]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let status = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(status.contains("Active: inactive (dead) since "), "{status}");
    assert!(status.contains("code=exited, status=0/SUCCESS"), "{status}");
    let sleepers = processes(cluster, "w1", "sleep");
    assert_eq!(sleepers.len(), 1);

    run(cluster, "service stop containerd --node w1");
    assert_eq!(processes(cluster, "w1", "sleep"), sleepers, "containers outlive the runtime");
    run(cluster, "service start containerd --node w1");
    run(cluster, "service start kubelet --node w1");
    run(cluster, "service restart kubelet --node w1");
    let kubelets = processes(cluster, "w1", "kubelet");
    assert_eq!(kubelets.len(), 1);
    eventually_equal("reachable", &Ok("well\n".to_owned()), || space.exec("on-w1", "echo well"));
    assert_eq!(processes(cluster, "w1", "sleep"), sleepers, "nothing was restarted");
    let error = refused(cluster, "service stop nothing --node w1");
    assert!(error.contains("Unit nothing.service could not be found."), "{error}");
    let error = refused(cluster, "service stop kubelet --node w9");
    assert!(error.contains("has no node \"w9\"; it has m1, w1, w2"), "{error}");
}

/// Pulling the plug leaves nothing that runs; booting brings the same node back.
fn power(cluster: &Cluster, space: &Namespace) {
    let before = cluster.json("get node w2");
    run(cluster, "node poweroff w2");
    assert!(processes(cluster, "w2", "").is_empty());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let own = format!("/clusters/{}/nodes/w2", cluster.name);
    assert!(!mounts.contains(&own), "{mounts}");
    assert!(row(cluster, "w2").contains("off"));
    for arguments in ["node poweroff w2", "node disconnect w2", "service stop kubelet --node w2"] {
        let error = refused(cluster, arguments);
        assert!(error.contains("node w2 is not running"), "{arguments}: {error}");
    }
    run(cluster, "node poweron w2");
    let error = refused(cluster, "node poweron w2");
    assert!(error.contains("node w2 is running"), "{error}");
    eventually("booted", || {
        let now = cluster.json("get node w2");
        let boot = |node: &serde_json::Value| node["status"]["nodeInfo"]["bootID"].clone();
        if boot(&now) == boot(&before) { Err(boot(&now).to_string()) } else { Ok(()) }
    });
    let after = cluster.json("get node w2");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
    assert_eq!(after["status"]["addresses"], before["status"]["addresses"]);
    cluster.kubectl("wait --for=condition=Ready node/w2 --timeout=90s");
    eventually_equal("running again", &Ok("well\n".to_owned()), || {
        space.exec("on-w2", "echo well")
    });
}

/// A node that is to stop takes no Pods any more, and ends those that it has.
fn graceful(cluster: &Cluster, space: &Namespace) {
    // It does not end by itself, so that there is something to see meanwhile.
    let pod = |name: &str, node: &str| {
        let manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  nodeName: {node}\n  \
             terminationGracePeriodSeconds: 300\n  containers:\n  - name: c\n    image: {BUSYBOX}\n    \
             command: [sh, -c, \"trap '' TERM; touch /ready; while true; do sleep 1; done\"]\n    \
             readinessProbe: {{exec: {{command: [cat, /ready]}}, periodSeconds: 1}}\n"
        );
        space.pipe("create -f -", &manifest);
    };
    pod("stubborn", "w2");
    space.kubectl("wait --for=condition=Ready pod/stubborn --timeout=90s");
    let mut command = ironclad();
    command.args(["node", "poweroff", "w2", "--graceful", "--name", &cluster.name]);
    let mut stopping = command.spawn().expect("ironclad runs");
    let condition = || {
        let node = cluster.json("get node w2");
        let conditions = node["status"]["conditions"].as_array().expect("it has conditions");
        let ready = conditions.iter().find(|c| c["type"] == "Ready").expect("one of them");
        format!("{} {} {}", ready["status"], ready["reason"], ready["message"])
    };
    let wanted = r#""False" "KubeletNotReady" "node is shutting down""#.to_owned();
    eventually_equal("told that it stops", &wanted, condition);
    pod("late", "w2");
    let verdict = |name: &str| {
        let status = space.json(&format!("get pod {name}"))["status"].clone();
        [&status["phase"], &status["reason"], &status["message"]].map(ToString::to_string)
    };
    let refused = [
        r#""Failed""#,
        r#""NodeShutdown""#,
        r#""Pod was rejected: Pod was rejected as the node is shutting down.""#,
    ];
    eventually_equal("refused", &refused.map(str::to_owned), || verdict("late"));

    assert!(stopping.wait().expect("it ends").success());
    assert!(row(cluster, "w2").contains("off"));
    let ended = [
        r#""Failed""#,
        r#""Terminated""#,
        r#""Pod was terminated in response to imminent node shutdown.""#,
    ];
    assert_eq!(verdict("stubborn"), ended);
    let status = space.json("get pod stubborn")["status"].clone();
    let conditions = status["conditions"].as_array().expect("it has conditions");
    let disrupted = conditions.iter().find(|c| c["type"] == "DisruptionTarget");
    assert_eq!(disrupted.expect("one of them")["reason"], "TerminationByKubelet");
    run(cluster, "node poweron w2");
    cluster.kubectl("wait --for=condition=Ready node/w2 --timeout=90s");
    assert_eq!(verdict("stubborn"), ended, "it does not come back");
}

/// A node that is cut off cannot be reached, keeps running what it runs, and heals.
fn network(cluster: &Cluster) {
    let address = |node: &str| {
        let node = cluster.json(&format!("get node {node}"));
        node["status"]["addresses"][0]["address"].as_str().expect("an address").to_owned()
    };
    let authority = cluster.kubeconfig.with_file_name("nodes/m1/etc/kubernetes/pki/ca.crt");
    let reaches = |address: &str| {
        let mut curl = std::process::Command::new("curl");
        curl.args(["-s", "--max-time", "2", "--cacert"]).arg(&authority);
        curl.arg(format!("https://{address}:10250/healthz"));
        curl.output().expect("curl runs").status.success()
    };
    let w1 = address("w1");
    assert!(reaches(&w1));
    run(cluster, "node disconnect w1");
    assert!(row(cluster, "w1").contains("disconnected"));
    assert!(!reaches(&w1));
    assert_eq!(processes(cluster, "w1", "sleep").len(), 1);
    run(cluster, "node connect w1");
    assert!(!row(cluster, "w1").contains("disconnected"));
    eventually("healed", || if reaches(&w1) { Ok(()) } else { Err(row(cluster, "w1")) });
    assert_eq!(ready(cluster, "w1"), "True");
}

/// A removed node is gone everywhere, and what it ran can run elsewhere.
fn removal(cluster: &Cluster) {
    let error = refused(cluster, "node remove m1");
    assert!(error.contains("node m1 runs the only control plane"), "{error}");
    run(cluster, "node remove w2");
    let names: BTreeSet<String> =
        cluster.kubectl("get nodes -o name").lines().map(str::to_owned).collect();
    assert_eq!(names, ["node/m1", "node/w1"].map(str::to_owned).into());
    assert!(!run(cluster, "status").contains("w2"));

    assert!(run(cluster, "node add").contains("Node w2 has joined."));
    assert_eq!(ready(cluster, "w2"), "True");
    // It asked for its certificates as the first ones did, and the tokens are gone.
    let requests = cluster.kubectl("get csr --no-headers");
    let asked = requests.lines().filter(|line| line.contains("system:node:w2"));
    assert!(asked.clone().count() > 0 && asked.clone().all(|l| l.contains("Approved,Issued")));
    let secrets = cluster.kubectl("get secrets -n kube-system -o name");
    assert!(!secrets.contains("bootstrap-token"), "{secrets}");
}
