//! A cluster is upgraded while its users' containers run on.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chaos::{Own, processes};
use crate::cluster::{Cluster, Namespace, WEB, environment, eventually_equal, stdout};

/// What a release begins with in the program.
const MARK: &[u8] = b"ironclad-release:";

/// A copy of the program that is another release: only the text that says so is changed.
fn released(folder: &Path, release: &str) -> PathBuf {
    let mut program = std::fs::read(environment("IRONCLAD_BIN")).unwrap();
    let found = |at: &usize| {
        let rest = &program[at + MARK.len()..];
        program[*at..].starts_with(MARK) && rest.starts_with(b"v1.")
    };
    let places: Vec<_> = (0..program.len() - 64).filter(found).collect();
    assert_eq!(places.len(), 1, "{places:?}");
    let start = places[0] + MARK.len();
    program[start..start + 16].fill(0);
    program[start..start + release.len()].copy_from_slice(release.as_bytes());
    let path = folder.join(format!("ironclad-{release}"));
    std::fs::write(&path, program).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn upgrade(program: &Path, verb: &str, cluster: &Cluster) -> Command {
    let mut command = Command::new(program);
    command.args(["upgrade", verb, "--name", &cluster.name]);
    command
}

/// The containers of users, and how often they were restarted.
fn containers(space: &Namespace) -> Vec<String> {
    let pods = space.json("get pods");
    let items = pods["items"].as_array().expect("a list has items");
    let mut all: Vec<_> = items
        .iter()
        .map(|pod| {
            let status = &pod["status"]["containerStatuses"][0];
            let name = &pod["metadata"]["name"];
            format!("{name} {} {}", status["containerID"], status["restartCount"])
        })
        .collect();
    all.sort();
    all
}

fn versions(cluster: &Cluster) -> Vec<String> {
    let nodes = cluster.json("get nodes");
    let items = nodes["items"].as_array().expect("a list has items").clone();
    let mut all: Vec<_> = items
        .iter()
        .map(|node| node["status"]["nodeInfo"]["kubeletVersion"].as_str().unwrap().to_owned())
        .collect();
    let version: serde_json::Value =
        serde_json::from_str(&cluster.kubectl("get --raw /version")).unwrap();
    all.push(version["gitVersion"].as_str().unwrap().to_owned());
    all
}

#[test]
fn a_cluster_is_upgraded_under_running_containers() {
    let folder = std::env::temp_dir().join(format!("ironclad-upgrade-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let own = Own::up("e2e-upgrade");
    let cluster = &own.0;
    let space = Namespace::on(cluster.clone(), "upgrade");
    space.kubectl(&format!("create deployment web --image={} --replicas=4", WEB[0]));
    space.kubectl("rollout status deployment/web --timeout=90s");
    space.sleeper("on-m1", "m1");
    let before = containers(&space);
    let sleepers: Vec<_> = ["m1", "w1", "w2"].map(|node| processes(cluster, node, "sleep")).into();
    let old = versions(cluster);
    assert_eq!(old.len(), 4);

    let far = released(&folder, "v1.38.0");
    let output = upgrade(&far, "apply", cluster).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("\"v1.38.0\" is too high"), "{error}");
    assert_eq!(versions(cluster), old);

    let next = released(&folder, "v1.37.0");
    let plan = stdout(&mut upgrade(&next, "plan", cluster));
    assert!(plan.contains("w2     v1.36.0   v1.37.0"), "{plan}");
    let said = stdout(&mut upgrade(&next, "apply", cluster));
    let at = |text: &str| said.find(text).unwrap_or_else(|| panic!("{text} is not in {said}"));
    assert!(at("m1: upgrading kube-apiserver") < at("m1: restarting the kubelet"));
    assert!(at("m1: restarting the kubelet") < at("w1: restarting the kubelet"));
    assert!(at("w1: restarting the kubelet") < at("w2: restarting the kubelet"));

    assert_eq!(versions(cluster), ["v1.37.0"; 4]);
    assert_eq!(containers(&space), before, "nothing of the user's was restarted");
    let now: Vec<_> = ["m1", "w1", "w2"].map(|node| processes(cluster, node, "sleep")).into();
    assert_eq!(now, sleepers);
    let images =
        cluster.kubectl("get pods -n kube-system -o jsonpath={.items[*].spec.containers[*].image}");
    assert!(images.split_whitespace().all(|image| image.ends_with(":v1.37.0")), "{images}");
    space.kubectl("scale deployment/web --replicas=6");
    space.kubectl("rollout status deployment/web --timeout=90s");
    eventually_equal("reachable", &Ok("well\n".to_owned()), || space.exec("on-m1", "echo well"));

    let again = stdout(&mut upgrade(&next, "plan", cluster));
    assert!(again.contains("Nothing is left to upgrade."), "{again}");
    let back = PathBuf::from(environment("IRONCLAD_BIN"));
    let output = upgrade(&back, "apply", cluster).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("Downgrades are not supported"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}
