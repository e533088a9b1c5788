//! Pods whose resources change while they run, with kubectl.

use std::fs;

use serde_json::{Value, json};

use crate::cluster::{BUSYBOX, Namespace, eventually};

/// `cpu/memory` in m and Mi, for requests and limits alike.
fn resources(size: &str) -> Value {
    let (cpu, memory) = size.split_once('/').unwrap();
    let list = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")});
    json!({"requests": list, "limits": list})
}

fn containers(sizes: [&str; 3]) -> Value {
    let container = |(name, size)| json!({"name": name, "resources": resources(size)});
    let all: Vec<Value> = ["a", "b", "c"].into_iter().zip(sizes).map(container).collect();
    json!({"spec": {"containers": all}})
}

/// IDs and restart counts, once the containers have what they should and nothing is under way.
fn resized(space: &Namespace, sizes: [&str; 3]) -> Vec<(String, i64)> {
    let status = eventually(&format!("resized to {sizes:?}"), || {
        let pod = space.json("get pod p");
        let status = &pod["status"];
        let all = status["containerStatuses"].as_array().cloned().unwrap_or_default();
        let have = all.iter().map(|status| status["resources"].clone());
        let told = status["conditions"].to_string().contains("PodResize");
        let running = all.iter().all(|status| status["state"]["running"].is_object());
        if !told && running && have.eq(sizes.map(resources)) {
            Ok(status.clone())
        } else {
            Err(status.to_string())
        }
    });
    for (name, size) in ["a", "b", "c"].into_iter().zip(sizes) {
        let (cpu, memory) = size.split_once('/').unwrap();
        let (cpu, memory): (i64, i64) = (cpu.parse().unwrap(), memory.parse().unwrap());
        let quota = if unified() {
            space.read(name, "cpu.max").split(' ').next().unwrap().to_owned()
        } else {
            let shares = space.read(name, "cpu/cpu.shares");
            assert_eq!(shares, (cpu * 1024 / 1000).to_string(), "{name} {size}");
            space.read(name, "cpu/cpu.cfs_quota_us")
        };
        assert_eq!(quota, (cpu * 100).to_string(), "{name} {size}");
        let limit = if unified() { "memory.max" } else { "memory/memory.limit_in_bytes" };
        assert_eq!(space.read(name, limit), (memory << 20).to_string(), "{name} {size}");
    }
    let all = status["containerStatuses"].as_array().unwrap().iter();
    all.map(|c| (c["containerID"].to_string(), c["restartCount"].as_i64().unwrap())).collect()
}

fn unified() -> bool {
    fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap()
}

impl Namespace {
    fn read(&self, container: &str, file: &str) -> String {
        self.kubectl(&format!("exec p -c {container} -- cat /sys/fs/cgroup/{file}"))
            .trim()
            .to_owned()
    }

    fn resize(&self, patch: &Value) {
        self.kubectl(&format!("patch pod p --subresource resize --patch {patch}"));
    }
}

#[test]
fn containers_grow_and_shrink_without_a_restart() {
    let space = Namespace::new("resize");
    let first = ["20/32", "20/32", "20/32"];
    let mut pod = containers(first);
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"] = json!({"name": "p"});
    for container in pod["spec"]["containers"].as_array_mut().unwrap() {
        container["image"] = BUSYBOX.into();
        container["command"] = json!(["sleep", "100000"]);
    }
    space.pipe("create -f -", &pod.to_string());
    let before = resized(&space, first);
    for sizes in [["40/64", "30/48", "10/24"], ["30/48", "10/24", "10/24"], first] {
        space.resize(&containers(sizes));
        assert_eq!(resized(&space, sizes), before);
    }

    // The whole object, as `kubectl replace` sends it.
    let mut whole = space.json("get pod p");
    for container in whole["spec"]["containers"].as_array_mut().unwrap() {
        container["resources"] = resources("25/40");
    }
    space.pipe("replace --subresource resize -f -", &whole.to_string());
    assert_eq!(resized(&space, ["25/40"; 3]), before);

    let error = space.refused(
        r#"patch pod p --subresource resize --patch {"spec":{"containers":[{"name":"a","resources":{"requests":{"cpu":"10m"}}}]}}"#,
    );
    assert!(error.contains("Pod QOS Class may not change as a result of resizing"), "{error}");
    let events = space.kubectl("get events");
    for reason in ["ResizeStarted", "ResizeCompleted"] {
        assert!(events.contains(reason), "no {reason} in {events}");
    }
}
