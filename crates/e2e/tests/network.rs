//! Pods, Services and names reach each other from everywhere.

use std::collections::BTreeSet;

use crate::cluster::{Namespace, WEB, eventually, eventually_equal, fetch};

const NODES: [&str; 3] = ["m1", "w1", "w2"];

fn web(space: &Namespace, replicas: usize) {
    space.kubectl(&format!("create deployment web --image={} --replicas={replicas}", WEB[0]));
    space.kubectl("expose deployment web --port=80 --target-port=8080 --type=NodePort");
    space.kubectl("rollout status deployment/web --timeout=90s");
}

#[test]
fn a_service_answers_by_name_address_and_node_port() {
    let space = Namespace::new("service");
    web(&space, 3);
    let service = space.json("get service web");
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let pods: BTreeSet<String> = space.pods("app=web").into_iter().collect();
    for node in NODES {
        space.sleeper(&format!("on-{node}"), node);
        let domain = format!("web.{}.svc.cluster.local", space.name);
        for target in ["web", &domain, address] {
            let answer = eventually(&format!("{target} answers on {node}"), || {
                space.exec(&format!("on-{node}"), &format!("timeout 5 wget -qO- http://{target}/"))
            });
            assert!(pods.contains(answer.trim()), "{answer} is none of {pods:?}");
        }
    }
    for address in space.cluster.addresses() {
        let answer = eventually("the node port answers", || fetch(&format!("{address}:{port}")));
        assert!(pods.contains(&answer), "{answer} is none of {pods:?}");
    }
}

#[test]
fn pods_on_different_nodes_reach_each_other() {
    let space = Namespace::new("pods");
    for node in NODES {
        space.sleeper(&format!("on-{node}"), node);
    }
    for from in NODES {
        for to in NODES {
            let pod = space.json(&format!("get pod on-{to}"));
            let address = pod["status"]["podIP"].as_str().unwrap();
            let ping = format!("ping -c 1 -W 5 {address}");
            space
                .exec(&format!("on-{from}"), &ping)
                .unwrap_or_else(|e| panic!("{from} to {to}: {e}"));
        }
    }
}

#[test]
fn scaling_changes_who_answers() {
    let space = Namespace::new("scaling");
    web(&space, 1);
    let service = space.json("get service web");
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    let node = space.cluster.addresses().remove(0);
    let answers = || -> BTreeSet<String> {
        (0..20).filter_map(|_| fetch(&format!("{node}:{port}")).ok()).collect()
    };
    let pods = || -> BTreeSet<String> { space.pods("app=web").into_iter().collect() };
    eventually_equal("the first answers", &pods(), answers);
    space.kubectl("scale deployment web --replicas=3");
    space.kubectl("rollout status deployment/web --timeout=90s");
    assert_eq!(pods().len(), 3);
    eventually_equal("all three answer", &pods(), answers);
    space.kubectl("scale deployment web --replicas=0");
    eventually("refused", || match fetch(&format!("{node}:{port}")) {
        // curl's word for a connection that was refused, not one that got no answer.
        Err(error) if error.starts_with("curl: (7)") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[test]
fn dns_knows_services_pods_and_their_absence() {
    let space = Namespace::new("dns");
    web(&space, 1);
    space.kubectl("create service clusterip headless --clusterip=None --tcp=8080:8080");
    space.kubectl("label deployment web app=web --overwrite");
    space.pipe(
        "patch service headless --type=merge --patch-file=/dev/stdin",
        r#"{"spec": {"selector": {"app": "web"}}}"#,
    );
    space.sleeper("asker", "w1");
    let lookup = |name: &str| space.exec("asker", &format!("nslookup {name}"));
    let address = space.json("get service web")["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let domain = format!("{}.svc.cluster.local", space.name);
    let answer = lookup(&format!("web.{domain}.")).unwrap();
    assert!(answer.contains(&address), "{answer}");
    let pod = space.json(&format!("get pod {}", space.pods("app=web")[0]));
    let pod_address = pod["status"]["podIP"].as_str().unwrap();
    eventually("headless", || {
        let answer = lookup(&format!("headless.{domain}."))?;
        if answer.contains(pod_address) { Ok(()) } else { Err(answer) }
    });
    let answer = lookup(&address).unwrap();
    assert!(answer.contains(&format!("web.{domain}")), "{answer}");
    assert!(lookup(&format!("nothing.{domain}.")).is_err());
    assert!(lookup("kubernetes.default.svc.cluster.local.").unwrap().contains("10.96.0.1"));
}
