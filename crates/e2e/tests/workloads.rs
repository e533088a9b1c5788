//! Deployments roll, stop, go back and scale; DaemonSets cover nodes; namespaces end.

use crate::cluster::{BUSYBOX, Cluster, Namespace, WEB, eventually, eventually_equal};

fn create(space: &Namespace, replicas: usize) {
    space.kubectl(&format!("create deployment web --image={} --replicas={replicas}", WEB[0]));
    space.kubectl("rollout status deployment/web --timeout=90s");
}

fn images(space: &Namespace) -> Vec<String> {
    let list = space.json("get pods -l app=web");
    let items = list["items"].as_array().unwrap();
    let mut images: Vec<String> = items
        .iter()
        .filter(|pod| pod["metadata"].get("deletionTimestamp").is_none())
        .map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap().to_owned())
        .collect();
    images.dedup();
    images
}

#[test]
fn a_rollout_goes_forth_and_back() {
    let space = Namespace::new("rollout");
    create(&space, 3);
    let set = space.kubectl(&format!("set image deployment/web web={}", WEB[1]));
    assert_eq!(set, "deployment.apps/web image updated\n");
    let status = space.kubectl("rollout status deployment/web --timeout=90s");
    assert!(status.contains("deployment \"web\" successfully rolled out"), "{status}");
    assert_eq!(images(&space), [WEB[1]]);
    let history = space.kubectl("rollout history deployment/web");
    assert!(
        history.contains("1         <none>") && history.contains("2         <none>"),
        "{history}"
    );
    let undone = space.kubectl("rollout undo deployment/web");
    assert_eq!(undone, "deployment.apps/web rolled back\n");
    space.kubectl("rollout status deployment/web --timeout=90s");
    assert_eq!(images(&space), [WEB[0]]);
    let history = space.kubectl("rollout history deployment/web");
    assert!(!history.contains("\n1 ") && history.contains("\n3 "), "{history}");
    space.kubectl("rollout restart deployment/web");
    space.kubectl("rollout status deployment/web --timeout=90s");
}

#[test]
fn a_paused_deployment_waits() {
    let space = Namespace::new("pause");
    create(&space, 2);
    assert_eq!(space.kubectl("rollout pause deployment/web"), "deployment.apps/web paused\n");
    space.kubectl(&format!("set image deployment/web web={}", WEB[1]));
    // The controller has seen the change when it has observed its generation.
    eventually("observed", || {
        let object = space.json("get deployment web");
        let (seen, now) =
            (&object["status"]["observedGeneration"], &object["metadata"]["generation"]);
        if seen == now { Ok(()) } else { Err(format!("{seen} of {now}")) }
    });
    assert_eq!(images(&space), [WEB[0]]);
    assert_eq!(space.kubectl("rollout resume deployment/web"), "deployment.apps/web resumed\n");
    space.kubectl("rollout status deployment/web --timeout=90s");
    assert_eq!(images(&space), [WEB[1]]);
}

#[test]
fn recreate_never_runs_two_versions() {
    let space = Namespace::new("recreate");
    create(&space, 2);
    space.pipe(
        "patch deployment web --type=merge --patch-file=/dev/stdin",
        r#"{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}"#,
    );
    space.kubectl(&format!("set image deployment/web web={}", WEB[1]));
    eventually("changed", || {
        let images = images(&space);
        assert!(images.len() < 2, "two versions at once: {images:?}");
        if images == [WEB[1]] { Ok(()) } else { Err(format!("{images:?}")) }
    });
    space.kubectl("rollout status deployment/web --timeout=90s");
}

#[test]
fn a_daemon_set_covers_the_nodes_that_it_tolerates() {
    let space = Namespace::new("daemon");
    let manifest = format!(
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: d}}\nspec:\n  selector: {{matchLabels: {{app: d}}}}\n  \
         template:\n    metadata: {{labels: {{app: d}}}}\n    spec:\n      terminationGracePeriodSeconds: 0\n      \
         containers: [{{name: c, image: {BUSYBOX}, command: [sleep, infinity]}}]\n"
    );
    space.pipe("create -f -", &manifest);
    space.kubectl("rollout status daemonset/d --timeout=90s");
    let nodes = || {
        let list = space.json("get pods -l app=d");
        let items = list["items"].as_array().unwrap();
        let mut nodes: Vec<String> = items
            .iter()
            .map(|pod| pod["spec"]["nodeName"].as_str().unwrap_or_default().to_owned())
            .collect();
        nodes.sort();
        nodes
    };
    assert_eq!(nodes(), ["w1", "w2"]);
    space.pipe(
        "patch daemonset d --type=merge --patch-file=/dev/stdin",
        r#"{"spec":{"template":{"spec":{"tolerations":[{"operator":"Exists"}]}}}}"#,
    );
    eventually_equal("on all", &["m1", "w1", "w2"].map(str::to_owned).to_vec(), nodes);
}

#[test]
fn a_deleted_namespace_takes_everything_with_it() {
    let cluster = Cluster::shared();
    let name = {
        let space = Namespace::new("ending");
        create(&space, 2);
        space.kubectl("create configmap c");
        space.name.clone()
    };
    eventually("gone", || {
        let left = cluster.kubectl(&format!("get namespace {name} --ignore-not-found"));
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
    let pods = cluster.kubectl(&format!("get pods -n {name} --ignore-not-found"));
    assert_eq!(pods, "");
}

#[test]
fn deletion_follows_the_propagation_policy() {
    let space = Namespace::new("cascade");
    create(&space, 1);
    space.kubectl("delete deployment web --cascade=orphan");
    let sets = space.kubectl("get rs -l app=web -o name");
    assert!(sets.starts_with("replicaset.apps/web-"), "{sets}");
    space.kubectl(&format!("delete {} --cascade=foreground", sets.trim()));
    assert_eq!(space.pods("app=web"), Vec::<String>::new());
}
