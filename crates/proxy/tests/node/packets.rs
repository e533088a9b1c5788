//! The rules in the kernel: what packets meet.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use proxy::model::Family;
use proxy::nft::Outcome;
use proxy::rules::{NodeFacts, build};
use serde_json::{Value, json};

use crate::net::Net;

fn service(name: &str, spec: Value) -> Arc<Service> {
    let object = json!({ "metadata": { "namespace": "default", "name": name }, "spec": spec });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn slice(service: &str, addresses: &[&str]) -> Arc<EndpointSlice> {
    let endpoints: Vec<Value> =
        addresses.iter().map(|a| json!({ "addresses": [a], "nodeName": "w1" })).collect();
    let object = json!({
        "addressType": "IPv4",
        "metadata": {
            "namespace": "default", "name": service,
            "labels": { "kubernetes.io/service-name": service },
        },
        "ports": [{ "port": 8080 }],
        "endpoints": endpoints,
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

#[tokio::test]
async fn packets_reach_what_the_services_say() {
    let Some(net) = Net::new() else { return };
    let facts = NodeFacts {
        name: "w1".to_owned(),
        zone: None,
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
    };
    let services = [
        service(
            "web",
            json!({ "clusterIP": "10.96.0.80", "type": "NodePort",
                    "ports": [{ "port": 80, "nodePort": 30080 }] }),
        ),
        service("one", json!({ "clusterIP": "10.96.0.81", "ports": [{ "port": 80 }] })),
        service(
            "sticky",
            json!({ "clusterIP": "10.96.0.82", "sessionAffinity": "ClientIP",
                    "ports": [{ "port": 80 }] }),
        ),
        service(
            "none",
            json!({ "clusterIP": "10.96.0.83", "type": "NodePort",
                    "ports": [{ "port": 80, "nodePort": 30083 }] }),
        ),
    ];
    let both = ["10.244.1.2", "10.244.1.3"];
    let slices =
        |web: &[&str]| vec![slice("web", web), slice("one", &both[..1]), slice("sticky", &both)];
    let table = |web: &[&str]| build(Family::V4, &services, &slices(web), &facts);
    let mut writer = net.writer();
    assert_eq!(writer.write(table(&both)).await.unwrap(), Outcome::Replaced);

    // From the node itself and from outside, both endpoints answer in the long run.
    for (from, to) in [("node", "10.96.0.80:80"), ("client", "192.0.2.1:30080")] {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            let answer = net.ask(from, to);
            let (pod, client) = answer.split_once(' ').unwrap_or((&answer, ""));
            assert!(pod.starts_with("pod"), "{from} → {to}: {answer}");
            // Masqueraded: the Pod sees its own gateway.
            assert!(client.starts_with("10.244.1.1:"), "{from} → {to}: {answer}");
            seen.insert(pod.to_owned());
            if seen.len() == 2 {
                break;
            }
        }
        assert_eq!(seen.len(), 2, "{from} → {to}: {seen:?}");
    }
    // From Pod to Pod the address is kept, and a Pod reaches itself.
    assert!(net.ask("pod2", "10.96.0.81:80").starts_with("pod1 10.244.1.3:"));
    assert!(net.ask("pod1", "10.96.0.81:80").starts_with("pod1 10.244.1.1:"));
    // Affinity: once chosen, always chosen.
    let first = net.ask("client", "10.96.0.82:80");
    let pod = first.split(' ').next().unwrap();
    for _ in 0..10 {
        let next = net.ask("client", "10.96.0.82:80");
        assert!(next.starts_with(pod), "{first} then {next}");
    }
    // Nothing behind it, or no such port: refused at once rather than timed out.
    for (from, to) in [
        ("node", "10.96.0.83:80"),
        ("pod1", "10.96.0.83:80"),
        ("client", "192.0.2.1:30083"),
        ("pod1", "10.96.0.80:81"),
    ] {
        let answer = net.ask(from, to);
        assert!(answer.contains("refused"), "{from} → {to}: {answer}");
    }

    // Scaling down changes the answer, in place.
    assert_eq!(writer.write(table(&both[1..])).await.unwrap(), Outcome::Changed);
    for _ in 0..8 {
        assert!(net.ask("client", "192.0.2.1:30080").starts_with("pod2"));
    }
    assert_eq!(writer.write(table(&both[1..])).await.unwrap(), Outcome::Unchanged);
    assert_eq!(writer.verify().await.unwrap(), 0);

    // A table that somebody removed or changed comes back.
    net.on("node", "nft delete table ip kube-proxy");
    assert_eq!(writer.verify().await.unwrap(), 1);
    assert!(net.ask("node", "10.96.0.80:80").starts_with("pod2"));
    assert_eq!(writer.verify().await.unwrap(), 0);
    net.on("node", "nft flush chain ip kube-proxy services");
    assert_eq!(writer.verify().await.unwrap(), 1);
    assert!(net.ask("node", "10.96.0.80:80").starts_with("pod2"));

    // A difference that the kernel refuses is mended by writing the table anew.
    net.on("node", "nft delete table ip kube-proxy");
    assert_eq!(writer.write(table(&both)).await.unwrap(), Outcome::Replaced);

    // Services go, chains go with them.
    let frame = build(Family::V4, &[], &[], &facts);
    assert_eq!(writer.write(frame).await.unwrap(), Outcome::Changed);
    let (_, listing) = net.output("node", "nft list ruleset");
    assert!(!listing.contains("default/web"), "{listing}");
}
