//! Back to a snapshot: the whole cluster converges to what it holds.

use std::path::Path;
use std::process::Command;

use crate::chaos::{Own, processes};
use crate::cluster::{
    BUSYBOX, Cluster, Namespace, WEB, environment, eventually, eventually_equal, run,
};

/// A Pod without a controller on w1, whose process is told by how long it sleeps.
fn bare(space: &Namespace, name: &str, seconds: u32) {
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  \
         nodeSelector: {{kubernetes.io/hostname: w1}}\n  terminationGracePeriodSeconds: 0\n  \
         containers:\n  - {{name: c, image: {BUSYBOX}, command: [sleep, '{seconds}']}}\n"
    );
    space.pipe("create -f -", &manifest);
    space.kubectl(&format!("wait --for=condition=Ready pod/{name} --timeout=90s"));
}

fn revision(space: &Namespace) -> u64 {
    let path = format!("get --raw /api/v1/namespaces/{}/configmaps", space.name);
    let list: serde_json::Value = serde_json::from_str(&space.kubectl(&path)).unwrap();
    list["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// What `ironclad snapshot list` shows first.
fn scheduled(cluster: &Cluster) -> Result<String, String> {
    let list = run(cluster, "snapshot list");
    let row = list.lines().find(|line| line.contains("scheduled")).ok_or_else(|| list.clone())?;
    Ok(row.split_whitespace().next().unwrap_or_default().to_owned())
}

#[test]
fn the_cluster_converges_to_a_snapshot_that_is_restored() {
    let own = Own::with(
        "e2e-snapshot",
        &["--nodes", "2", "--snapshot-every", "1h", "--snapshot-keep", "2"],
    );
    let cluster = &own.0;
    // The first one is taken at once, and readable where the list says.
    let file = eventually("taken by schedule", || scheduled(cluster));
    assert!(!file.starts_with("/proc") && Path::new(&file).is_file(), "{file}");
    closed_pipe(&file);

    let space = Namespace::on(cluster.clone(), "restore");
    space.kubectl(&format!("create deployment web --image={} --replicas=3", WEB[0]));
    space.kubectl("rollout status deployment/web --timeout=90s");
    bare(&space, "kept", 100_001);
    space.kubectl("create configmap state --from-literal=phase=old");
    let before: Vec<String> = space.pods("app=web");

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("snapshot").display().to_string();
    run(cluster, &format!("snapshot save {file}"));

    space.kubectl("delete pod kept --wait=true");
    eventually("ended", || {
        let left = processes(cluster, "w1", "sleep 100001");
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    bare(&space, "late", 100_002);
    space.kubectl(&format!("delete pod {}", before[0]));
    space.kubectl(&format!("create deployment later --image={} --replicas=2", WEB[0]));
    space.kubectl("rollout status deployment/later --timeout=90s");
    space.kubectl("rollout status deployment/web --timeout=90s");
    space.kubectl(r#"patch configmap state -p {"data":{"phase":"new"}}"#);
    let newest = revision(&space);

    let restored = run(cluster, &format!("snapshot restore {file}"));
    let kept = restored.lines().find_map(|line| line.split_once("is kept in "));
    let kept = kept.unwrap_or_else(|| panic!("no file is named in {restored}")).1;
    assert!(!kept.starts_with("/proc") && Path::new(kept).is_file(), "{restored}");

    assert!(revision(&space) > newest, "revisions went back");
    // Who watched goes on from what it saw last, and is told to list again.
    let path = format!(
        "/api/v1/namespaces/{}/configmaps?watch=1&timeoutSeconds=20&resourceVersion={newest}",
        space.name
    );
    let told = space.command(&format!("get --raw {path}")).output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains(r#""code":410"#), "{told}");
    // What was made since is gone from the API and from the node.
    eventually_equal("gone", &Vec::<i32>::new(), || processes(cluster, "w1", "sleep 100002"));
    let later = space.command("get deployment later").output().unwrap();
    assert!(!later.status.success(), "{later:?}");
    eventually_equal("no Pods of it", &Vec::<String>::new(), || space.pods("app=later"));
    // What was deleted since runs again, each Pod where there is one container of it.
    eventually("runs again", || {
        let now = processes(cluster, "w1", "sleep 100001");
        if now.len() == 1 { Ok(()) } else { Err(format!("{now:?}")) }
    });
    space.kubectl("wait --for=condition=Ready pod/kept --timeout=90s");
    eventually("three of three", || {
        let set = space.json("get deployment web");
        let ready = &set["status"]["readyReplicas"];
        if *ready == 3 && space.pods("app=web").len() == 3 {
            Ok(())
        } else {
            Err(set["status"].to_string())
        }
    });
    // And all goes on from there.
    space.kubectl("scale deployment web --replicas=4");
    space.kubectl("rollout status deployment/web --timeout=90s");
}

/// Who reads only the first line gets it, and nobody complains.
fn closed_pipe(file: &str) {
    let script = r#""$1" snapshot info "$2" | true; "$1" snapshot info "$2" | head -n 1"#;
    let output = Command::new("bash")
        .args(["-c", script, "bash", &environment("IRONCLAD_BIN"), file])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.is_empty(), "{error}");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("File: "), "{output:?}");
}
