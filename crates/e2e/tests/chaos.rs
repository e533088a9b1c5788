//! Every process is killed in turn under a running rollout; all comes back and converges.

use std::fs;
use std::process::Command;

use crate::cluster::{Cluster, Namespace, WEB, eventually, images, ironclad, stdout};

/// A cluster that ends with its test.
pub(crate) struct Own(pub(crate) Cluster);

impl Own {
    pub(crate) fn up(name: &str) -> Self {
        Self::up_with(name, &[])
    }

    pub(crate) fn up_with(name: &str, arguments: &[&str]) -> Self {
        // What an earlier run may have left behind.
        ironclad().args(["down", "--name", name]).output().expect("ironclad runs");
        let mut up = ironclad();
        up.args(["up", "--nodes", "3", "--name", name, "--images"]).arg(images()).args(arguments);
        stdout(&mut up);
        Self(Cluster::named(name))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let down = ironclad().args(["down", "--name", &self.0.name]).status();
        if !down.is_ok_and(|status| status.success()) {
            eprintln!("cluster {} is left", self.0.name);
        }
    }
}

/// The processes of the cluster whose command line holds `words`, oldest first.
pub(crate) fn processes(cluster: &Cluster, node: &str, words: &str) -> Vec<i32> {
    let group = format!("/ironclad/{}/{node}", cluster.name);
    let mut found: Vec<i32> = fs::read_dir("/proc")
        .expect("/proc is mounted")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            // What has ended and is not reaped yet has no command line.
            !line.is_empty() && line.trim().starts_with(words) && groups.contains(&group)
        })
        .collect();
    found.sort_unstable();
    found
}

fn kill(cluster: &Cluster, node: &str, words: &str) {
    let victims = processes(cluster, node, words);
    assert!(!victims.is_empty(), "no {words:?} runs on {node}");
    for pid in &victims {
        let status = Command::new("kill").args(["-9", &pid.to_string()]).status();
        assert!(status.expect("kill runs").success());
    }
    eventually(&format!("{words:?} back on {node}"), || {
        let now = processes(cluster, node, words);
        let back = !now.is_empty() && now.iter().all(|pid| !victims.contains(pid));
        if back { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

#[test]
fn everything_that_is_killed_comes_back_and_the_rollout_ends() {
    let own = Own::up("e2e-chaos");
    let cluster = &own.0;
    let space = Namespace::on(cluster.clone(), "chaos");
    space.kubectl(&format!("create deployment web --image={} --replicas=4", WEB[0]));
    space.kubectl("rollout status deployment/web --timeout=90s");
    let victims = [
        ("m1", "/ironclad kube-apiserver"),
        ("m1", "/ironclad kube-controller-manager"),
        ("m1", "/ironclad kube-scheduler"),
        ("w1", "kubelet"),
        ("w2", "containerd --config"),
        ("m1", "kubelet"),
    ];
    for (turn, (node, words)) in victims.into_iter().enumerate() {
        let marker = format!("acknowledged-{turn}");
        space.kubectl(&format!("create configmap {marker}"));
        let image = WEB[(turn + 1) % 2];
        space.kubectl(&format!("set image deployment/web web={image}"));
        kill(cluster, node, words);
        eventually(&format!("{words} was killed and the rollout went on"), || {
            let output = space
                .command("rollout status deployment/web --timeout=60s")
                .output()
                .expect("kubectl runs");
            if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
        });
        let pods = space.json("get pods -l app=web");
        let running = pods["items"]
            .as_array()
            .expect("a list has items")
            .iter()
            .filter(|pod| pod["metadata"].get("deletionTimestamp").is_none())
            .filter(|pod| pod["spec"]["containers"][0]["image"] == image)
            .count();
        assert_eq!(running, 4, "{pods}");
        space.kubectl(&format!("get configmap {marker}"));
    }
    cluster.kubectl("wait --for=condition=Ready node --all --timeout=90s");
}
