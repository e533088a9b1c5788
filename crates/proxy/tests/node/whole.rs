//! The whole proxy on a node, fed by a real API server that runs in the node's namespace.

use std::time::Duration;

use client::ConnectOptions;
use proxy::Config;
use serde_json::{Value, json};
use testkit::{ApiServer, send_json};
use tokio_util::sync::CancellationToken;

use crate::net::Net;

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

async fn send(client: &client::Client, method: &str, path: &str, object: Value) {
    let answer = send_json(client, method, path, &object).await.unwrap();
    assert!(answer.code < 300, "{method} {path}: {} {}", answer.code, answer.text);
}

fn slice(address: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": "web-1", "labels": { "kubernetes.io/service-name": "web" } },
        "ports": [{ "name": "", "port": 8080, "protocol": "TCP" }],
        "endpoints": [{ "addresses": [address], "nodeName": "w1", "conditions": { "ready": true } }],
    })
}

/// Waits for what the kernel shows; it tells nobody when it changes.
async fn eventually(what: &str, seen: impl Fn() -> bool) {
    for _ in 0..1000 {
        if seen() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not seen: {what}");
}

async fn run(net: &Net) {
    let server = ApiServer::start().await.unwrap();
    let admin = server.client().unwrap();
    for (name, cidr, address) in
        [("w1", "10.244.1.0/24", "192.0.2.1"), ("w2", "10.244.2.0/24", "192.0.2.9")]
    {
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
                           "spec": { "podCIDR": cidr, "podCIDRs": [cidr] } });
        send(&admin, "POST", "/api/v1/nodes", node.clone()).await;
        let status = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }] } });
        send(&admin, "PUT", &format!("/api/v1/nodes/{name}/status"), status).await;
    }
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" },
        "spec": { "type": "NodePort", "clusterIP": "10.96.0.80",
                  "ports": [{ "port": 80, "targetPort": 8080, "nodePort": 30080 }] } });
    send(&admin, "POST", "/api/v1/namespaces/default/services", service).await;
    send(&admin, "POST", SLICES, slice("10.244.1.2")).await;

    let kubeconfig = server.folder().join("proxy.conf");
    let text = server.kubeconfig_for("system:kube-proxy", &["system:node-proxier"]).unwrap();
    std::fs::write(&kubeconfig, text).unwrap();
    let cni = net.folder.path().join("cni");
    let config = Config {
        connect: ConnectOptions { kubeconfig: Some(kubeconfig), ..Default::default() },
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
        // As in its Pod: the programs are those of another root, here the same.
        host_root: Some("/".into()),
        cni_conf_dir: Some(cni.clone()),
        ..Config::new("w1")
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(proxy::run(config.clone(), shutdown.clone()));

    let answers = |pod: &'static str| move || net.ask("client", "192.0.2.1:30080").starts_with(pod);
    eventually("the first endpoint answers", answers("pod1")).await;
    eventually("the node's own address works", || {
        net.ask("node", "10.96.0.80:80").starts_with("pod1")
    })
    .await;
    let routes = || net.output("node", "ip route show proto 171").1;
    assert!(routes().contains("10.244.2.0/24 via 192.0.2.9"), "{}", routes());
    let conf = std::fs::read_to_string(cni.join(proxy::cni::FILE)).unwrap();
    assert!(conf.contains("10.244.1.0/24"), "{conf}");
    eventually("healthz", || {
        let ask = "busybox wget -qO- http://127.0.0.1:10256/healthz";
        net.output("node", ask).1.contains("lastUpdated")
    })
    .await;

    send(&admin, "PUT", &format!("{SLICES}/web-1"), slice("10.244.1.3")).await;
    eventually("the other endpoint answers", answers("pod2")).await;
    send(&admin, "DELETE", &format!("{SLICES}/web-1"), Value::Null).await;
    eventually("refused", || net.ask("client", "192.0.2.1:30080").contains("refused")).await;
    send(&admin, "DELETE", "/api/v1/nodes/w2", Value::Null).await;
    eventually("the route is gone", || !routes().contains("10.244.2.0/24")).await;

    // Stopping leaves the rules; cleaning up leaves nothing.
    shutdown.cancel();
    running.await.unwrap().unwrap();
    let tables = || net.output("node", "nft list tables").1;
    assert!(tables().contains("kube-proxy"));
    proxy::cleanup(&config).await.unwrap();
    assert!(!tables().contains("kube-proxy"), "{}", tables());
    assert!(!cni.join(proxy::cni::FILE).exists());
}

#[test]
fn services_and_nodes_of_the_api_become_traffic() {
    let Some(net) = Net::new() else { return };
    let net = std::sync::Arc::new(net);
    let inner = std::sync::Arc::clone(&net);
    // The thread, and those that it starts, are in the node's namespace.
    let work = net.inside("node", move || {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(run(&inner));
    });
    let done = work.join();
    drop(net);
    done.unwrap();
}
