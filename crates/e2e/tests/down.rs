//! `ironclad down` leaves nothing behind, however far `up` got.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::cluster::{eventually, images, ironclad, stdout};

/// Everything on the host that belongs to cluster `name`, in words.
fn left(name: &str, network: Option<&str>) -> BTreeSet<String> {
    let mut left = BTreeSet::new();
    for entry in fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if stat.contains(") Z ") {
            // Ended; its entry waits for the machine's init.
            continue;
        }
        let groups = fs::read_to_string(entry.path().join("cgroup")).unwrap_or_default();
        if groups.contains(&format!("/ironclad/{name}/"))
            || groups.contains(&format!("/ironclad/{name}\n"))
        {
            left.insert(format!("process {}", entry.file_name().display()));
        }
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    left.extend(
        mounts.lines().filter(|m| m.contains(&format!("/clusters/{name}/"))).map(str::to_owned),
    );
    let rules = stdout(Command::new("nft").args(["list", "tables"]));
    left.extend(
        rules.lines().filter(|t| t.ends_with(&format!("ironclad-{name}"))).map(str::to_owned),
    );
    let links = stdout(Command::new("ip").args(["-o", "link"]));
    if let Some(network) = network {
        left.extend(
            links.lines().filter(|l| l.contains(&format!("ic{network}"))).map(str::to_owned),
        );
    }
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups are mounted").flatten() {
        let group = hierarchy.path().join("ironclad").join(name);
        if group.exists() {
            left.insert(group.display().to_string());
        }
    }
    let folder = Path::new("/var/lib/ironclad/clusters").join(name);
    if folder.exists() {
        left.insert(folder.display().to_string());
    }
    left
}

/// The number in the names of the cluster's network interfaces.
fn network(name: &str) -> Option<String> {
    let path = Path::new("/var/lib/ironclad/clusters").join(name).join("cluster.json");
    let state: serde_json::Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(state["plan"]["network"].to_string())
}

fn down(name: &str) {
    stdout(ironclad().args(["down", "--name", name]));
}

#[test]
fn nothing_is_left_of_a_cluster_that_was_up() {
    let name = "e2e-down";
    ironclad().args(["down", "--name", name]).output().unwrap();
    let mut up = ironclad();
    up.args(["up", "--nodes", "1", "--name", name, "--images"]).arg(images());
    stdout(&mut up);
    let network = network(name).unwrap();
    assert!(left(name, Some(&network)).len() > 5, "the cluster is not seen at all");
    let again = ironclad().args(["up", "--name", name]).output().unwrap();
    assert!(String::from_utf8_lossy(&again.stderr).contains("exists already"), "{again:?}");
    down(name);
    assert_eq!(left(name, Some(&network)), BTreeSet::new());
    let twice = ironclad().args(["down", "--name", name]).output().unwrap();
    assert!(!twice.status.success());
    assert!(String::from_utf8_lossy(&twice.stderr).contains("no cluster named"), "{twice:?}");
}

#[test]
fn nothing_is_left_of_an_up_that_was_interrupted_or_killed() {
    for (signal, steps) in
        [("-INT", "Started"), ("-KILL", "Started"), ("-KILL", "API server answers")]
    {
        let name = "e2e-cut";
        ironclad().args(["down", "--name", name]).output().unwrap();
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut up = ironclad()
            .args(["up", "--nodes", "2", "--name", name])
            .stderr(log.reopen().unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("on its way", || {
            let text = fs::read_to_string(log.path()).unwrap();
            if text.contains(steps) { Ok(()) } else { Err(text) }
        });
        let network = network(name).unwrap();
        stdout(Command::new("kill").args([signal, &up.id().to_string()]));
        up.wait().unwrap();
        if signal == "-KILL" {
            assert!(!left(name, Some(&network)).is_empty());
            down(name);
        }
        eventually("clean", || {
            let left = left(name, Some(&network));
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
    }
}

#[test]
fn bad_requests_are_refused_before_anything_is_made() {
    for (arguments, wanted) in [
        (&["up", "--name", "Bad!"][..], "invalid cluster name"),
        (&["up", "--name", "e2e-none", "--nodes", "0"], "invalid number of nodes"),
        (&["down", "--name", "e2e-none"], "no cluster named"),
        (&["kubeconfig", "--name", "e2e-none"], "no cluster named"),
    ] {
        let output = ironclad().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(wanted), "{arguments:?}: {error}");
    }
    assert!(!Path::new("/var/lib/ironclad/clusters/e2e-none").exists());
}
