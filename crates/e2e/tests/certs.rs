//! Authorities and keys are replaced, certificates are renewed by hand, and nothing is restarted. (That
//! they are renewed in time is a drill.)

use std::collections::BTreeMap;

use serde_json::Value;

use crate::chaos::{Own, processes};
use crate::cluster::{Cluster, Namespace, eventually, eventually_equal, ironclad, refused, stdout};

/// What `ironclad certs` prints; panics when it fails.
fn certs(cluster: &Cluster, arguments: &str) -> String {
    let mut command = ironclad();
    command.arg("certs").args(arguments.split_whitespace()).args(["--name", &cluster.name]);
    stdout(&mut command)
}

/// The end of every certificate by node and name, and what is wrong with any.
fn ends(cluster: &Cluster) -> Result<BTreeMap<String, String>, String> {
    let mut command = ironclad();
    command.args(["certs", "check", "--output", "json", "--name", &cluster.name]);
    let output = command.output().expect("ironclad runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        return Err(text);
    }
    let document: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let rows = document["certificates"].as_array().expect("there are certificates");
    let ends = rows.iter().filter(|row| row["name"] != "sa").map(|row| {
        let end = row["expirationDate"].as_str().ok_or_else(|| row.to_string())?;
        if !row["problem"].is_null() {
            return Err(row.to_string());
        }
        let field = |name: &str| row[name].as_str().unwrap_or_default();
        Ok((format!("{} {}", field("node"), field("name")), end.to_owned()))
    });
    ends.collect()
}

/// Every process that a restart would replace, and what the API says of restarts.
fn running(cluster: &Cluster) -> (Vec<Vec<i32>>, Vec<String>) {
    let words = ["kubelet", "/ironclad kube-", "/ironclad dns", "containerd --config", "sleep"];
    let nodes = ["m1", "w1", "w2"];
    let processes =
        nodes.iter().flat_map(|node| words.map(|words| processes(cluster, node, words))).collect();
    let pods = cluster.json("get pods --all-namespaces");
    let mut restarts: Vec<_> = pods["items"]
        .as_array()
        .expect("a list has items")
        .iter()
        .filter(|pod| pod["metadata"].get("deletionTimestamp").is_none())
        .map(|pod| {
            let container = &pod["status"]["containerStatuses"][0];
            let id = &container["containerID"];
            format!("{} {id} {}", pod["metadata"]["name"], container["restartCount"])
        })
        .collect();
    restarts.sort();
    (processes, restarts)
}

/// Whoever speaks to whom still can.
fn works(cluster: &Cluster, space: &Namespace, round: &str) {
    // Client to API server to kubelet.
    for pod in ["on-m1", "on-w1"] {
        eventually_equal("reachable", &Ok("well\n".to_owned()), || space.exec(pod, "echo well"));
    }
    // Controllers, scheduler, kubelets.
    let name = format!("web-{round}");
    let image = crate::cluster::WEB[0];
    space.kubectl(&format!("create deployment {name} --image={image} --replicas=2"));
    space.kubectl(&format!("rollout status deployment/{name} --timeout=90s"));
    space.kubectl(&format!("delete deployment {name} --wait=false"));
    eventually("gone", || {
        let pods = space.pods(&format!("app={name}"));
        if pods.is_empty() { Ok(()) } else { Err(format!("{pods:?}")) }
    });
    cluster.kubectl("wait --for=condition=Ready node --all --timeout=90s");
    // The cluster's DNS, which a Pod of its own serves with its service account.
    eventually("resolved", || space.exec("on-w1", "nslookup kubernetes.default.svc.cluster.local"));
}

#[test]
fn authority_and_token_keys_are_replaced_and_nothing_is_restarted() {
    let own = Own::up("e2e-rotation");
    let cluster = &own.0;
    let space = Namespace::on(cluster.clone(), "rotation");
    space.sleeper("on-m1", "m1");
    space.sleeper("on-w1", "w1");
    let first = eventually("whole", || ends(cluster));
    let before = running(cluster);

    let table = certs(cluster, "check");
    for part in ["m1     admin.conf", "CERTIFICATE AUTHORITY", "w2     kubelet-server", "364d"] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    let mut check = ironclad();
    check.args(["certs", "check", "--within", "8766h", "--name", &cluster.name]);
    assert_eq!(check.output().expect("ironclad runs").status.code(), Some(1));
    let renewed = certs(cluster, "renew apiserver --validity 10000h");
    assert!(
        renewed.contains("m1: certificate for serving the Kubernetes API renewed"),
        "{renewed}"
    );
    assert!(ends(cluster).unwrap()["m1 apiserver"] > first["m1 apiserver"]);

    let authority = |cluster: &Cluster| {
        let map = cluster.json("get configmap -n kube-system kube-root-ca.crt");
        map["data"]["ca.crt"].as_str().expect("it holds the authority").to_owned()
    };
    let old = authority(cluster);
    let said = certs(cluster, "rotate-ca --grace 5s --keep-old");
    assert!(said.contains("the old one is still trusted"), "{said}");
    let both = authority(cluster);
    assert!(both.ends_with(&old) && both.matches("BEGIN").count() == 2, "{both}");
    works(cluster, &space, "both");
    let said = certs(cluster, "rotate-ca --grace 5s");
    assert!(said.contains("The new authority has taken over"), "{said}");
    let new = authority(cluster);
    assert!(both.starts_with(&new) && new.matches("BEGIN").count() == 1, "{new}");
    eventually("whole", || ends(cluster));
    works(cluster, &space, "new");

    let said = certs(cluster, "rotate-ca --authority front-proxy-ca --grace 1s");
    assert!(said.contains("The new authority has taken over"), "{said}");
    let refusal = refused(cluster, "certs rotate-ca --authority etcd-ca");
    assert!(refusal.contains("this cluster has no etcd-ca of its own"), "{refusal}");
    eventually("whole", || ends(cluster));

    let token = |cluster: &Cluster| cluster.kubectl("create token default").trim().to_owned();
    let old = token(cluster);
    let said = certs(cluster, "rotate-sa-key");
    assert!(said.contains("The new key signs"), "{said}");
    let new = token(cluster);
    let refusal = refused(cluster, "certs rotate-sa-key --finish");
    assert!(refusal.contains("tokens that the old key signed may be in use"), "{refusal}");
    works(cluster, &space, "keys");
    for token in [&old, &new] {
        assert!(believed(&space, token), "both keys are trusted");
    }
    // Before Pods are locked out whose tokens are of the old key.
    assert_eq!(running(cluster), before);
    let said = certs(cluster, "rotate-sa-key --finish --force");
    assert!(said.contains("The old key is forgotten"), "{said}");
    eventually("the old token is refused", || {
        if believed(&space, &old) { Err("it is believed".to_owned()) } else { Ok(()) }
    });
    assert!(believed(&space, &new));
    let refusal = refused(cluster, "certs rotate-sa-key --finish");
    assert!(refusal.contains("no rotation is under way"), "{refusal}");
}

/// Whether the API server believes a token of a service account.
fn believed(space: &Namespace, token: &str) -> bool {
    let review = serde_json::json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token},
    });
    let said = space.pipe("create -f - -o json", &review.to_string());
    let review: Value = serde_json::from_str(&said).expect("a review is JSON");
    review["status"]["authenticated"] == true
}
