//! From Services and slices, written as JSON, to the lines of the table.

use serde_json::{Value, json};

use super::*;

fn facts() -> NodeFacts {
    NodeFacts {
        name: "w1".to_owned(),
        zone: Some("a".to_owned()),
        cluster_cidrs: vec!["10.244.0.0/16".parse().unwrap()],
    }
}

fn service(spec: Value) -> Arc<Service> {
    let object = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "namespace": "default", "name": "web" },
        "spec": spec,
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn slice(endpoints: Value) -> Arc<EndpointSlice> {
    let object = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {
            "namespace": "default", "name": "web-1",
            "labels": { "kubernetes.io/service-name": "web" },
        },
        "ports": [{ "name": "http", "port": 8080, "protocol": "TCP" }],
        "endpoints": endpoints,
    });
    Arc::new(serde_json::from_value(object).unwrap())
}

fn two_endpoints() -> Value {
    json!([
        { "addresses": ["10.244.2.5"], "nodeName": "w2", "conditions": { "ready": true } },
        { "addresses": ["10.244.1.4"], "nodeName": "w1", "conditions": { "ready": true } },
        { "addresses": ["10.244.1.9"], "nodeName": "w1", "conditions": { "ready": false } },
    ])
}

/// What a Service adds to the frame, as lines `collection: key -> value` and `chain: rule`.
fn added(spec: Value, endpoints: Value) -> Vec<String> {
    let frame = build(Family::V4, &[], &[], &facts());
    let table = build(Family::V4, &[service(spec)], &[slice(endpoints)], &facts());
    let mut lines = Vec::new();
    for (name, collection) in &table.collections {
        for (key, element) in &collection.elements {
            let arrow = if element.value.is_empty() { "" } else { " -> " };
            lines.push(format!("{name}: {key}{arrow}{}", element.value));
        }
    }
    for (name, chain) in &table.chains {
        if !frame.chains.contains_key(name) {
            lines.extend(chain.rules.iter().map(|rule| format!("{name}: {rule}")));
        }
    }
    // The hash is the same in all names of this port.
    lines.into_iter().map(|l| l.replace("fd0489b829384414-", "")).collect()
}

fn cluster_ip(more: Value) -> Value {
    let mut spec = json!({
        "type": "ClusterIP", "clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"],
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080 }],
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn check(spec: Value, endpoints: Value, want: &[&str]) {
    assert_eq!(added(spec, endpoints), want);
}

#[test]
fn cluster_ip_goes_to_ready_endpoints() {
    check(
        cluster_ip(json!({})),
        two_endpoints(),
        &[
            "cluster-ips: 10.96.7.7",
            "hairpin: 10.244.1.4 . 10.244.1.4",
            "service-ips: 10.96.7.7 . tcp . 80 -> goto service-default/web/tcp/http",
            "service-default/web/tcp/http: meta l4proto tcp dnat ip to numgen random mod 2 map \
             { 0 : 10.244.1.4 . 8080, 1 : 10.244.2.5 . 8080 }",
        ],
    );
}

#[test]
fn one_endpoint_needs_no_dice() {
    check(
        cluster_ip(json!({})),
        json!([{ "addresses": ["10.244.2.5"], "nodeName": "w2", "conditions": {} }]),
        &[
            "cluster-ips: 10.96.7.7",
            "service-ips: 10.96.7.7 . tcp . 80 -> goto service-default/web/tcp/http",
            "service-default/web/tcp/http: meta l4proto tcp dnat to 10.244.2.5:8080",
        ],
    );
}

#[test]
fn without_endpoints_clients_are_told() {
    check(
        cluster_ip(json!({ "type": "NodePort", "ports": [
            { "name": "http", "port": 80, "nodePort": 30080 },
        ]})),
        json!([]),
        &[
            "cluster-ips: 10.96.7.7",
            "no-endpoint-nodeports: tcp . 30080 -> goto reject-chain",
            "no-endpoint-services: 10.96.7.7 . tcp . 80 -> goto reject-chain",
        ],
    );
}

#[test]
fn terminating_endpoints_serve_when_no_other_is_left() {
    check(
        cluster_ip(json!({})),
        json!([
            { "addresses": ["10.244.2.5"], "conditions":
                { "ready": false, "serving": true, "terminating": true } },
            { "addresses": ["10.244.2.6"], "conditions":
                { "ready": false, "serving": false, "terminating": true } },
        ]),
        &[
            "cluster-ips: 10.96.7.7",
            "service-ips: 10.96.7.7 . tcp . 80 -> goto service-default/web/tcp/http",
            "service-default/web/tcp/http: meta l4proto tcp dnat to 10.244.2.5:8080",
        ],
    );
}

#[test]
fn node_ports_and_external_addresses_are_masqueraded_under_policy_cluster() {
    check(
        cluster_ip(json!({
            "type": "NodePort", "externalIPs": ["198.51.100.7"],
            "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }],
        })),
        json!([{ "addresses": ["10.244.2.5"], "nodeName": "w2" }]),
        &[
            "cluster-ips: 10.96.7.7",
            "service-ips: 10.96.7.7 . tcp . 80 -> goto service-default/web/tcp/http",
            "service-ips: 198.51.100.7 . tcp . 80 -> goto external-default/web/tcp/http",
            "service-nodeports: tcp . 30080 -> goto external-default/web/tcp/http",
            "external-default/web/tcp/http: jump mark-for-masquerade",
            "external-default/web/tcp/http: goto service-default/web/tcp/http",
            "service-default/web/tcp/http: meta l4proto tcp dnat to 10.244.2.5:8080",
        ],
    );
}

#[test]
fn policy_local_keeps_outside_traffic_on_the_node() {
    check(
        cluster_ip(json!({
            "type": "NodePort", "externalTrafficPolicy": "Local",
            "ports": [{ "name": "http", "port": 80, "nodePort": 30080 }],
        })),
        two_endpoints(),
        &[
            "cluster-ips: 10.96.7.7",
            "hairpin: 10.244.1.4 . 10.244.1.4",
            "service-ips: 10.96.7.7 . tcp . 80 -> goto service-default/web/tcp/http",
            "service-nodeports: tcp . 30080 -> goto external-default/web/tcp/http",
            "external-default/web/tcp/http: ip saddr 10.244.0.0/16 goto service-default/web/tcp/http",
            "external-default/web/tcp/http: fib saddr type local jump mark-for-masquerade",
            "external-default/web/tcp/http: fib saddr type local goto service-default/web/tcp/http",
            "external-default/web/tcp/http: goto local-default/web/tcp/http",
            "local-default/web/tcp/http: meta l4proto tcp dnat to 10.244.1.4:8080",
            "service-default/web/tcp/http: meta l4proto tcp dnat ip to numgen random mod 2 map \
             { 0 : 10.244.1.4 . 8080, 1 : 10.244.2.5 . 8080 }",
        ],
    );
}

#[test]
fn internal_policy_local_without_local_endpoints_drops() {
    check(
        cluster_ip(json!({ "internalTrafficPolicy": "Local" })),
        json!([{ "addresses": ["10.244.2.5"], "nodeName": "w2" }]),
        &[
            "cluster-ips: 10.96.7.7",
            "no-endpoint-services: 10.96.7.7 . tcp . 80 -> drop",
            "service-default/web/tcp/http: meta l4proto tcp dnat to 10.244.2.5:8080",
        ],
    );
}

#[test]
fn affinity_remembers_clients_per_endpoint() {
    let lines = added(
        cluster_ip(json!({ "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 60 } } })),
        two_endpoints(),
    );
    let suffix = "default/web/tcp/http";
    assert_eq!(
        lines[3..],
        [
            format!(
                "endpoint-{suffix}-10.244.1.4/8080: update @affinity-{suffix}-10.244.1.4/8080 {{ ip saddr }}"
            ),
            format!("endpoint-{suffix}-10.244.1.4/8080: meta l4proto tcp dnat to 10.244.1.4:8080"),
            format!(
                "endpoint-{suffix}-10.244.2.5/8080: update @affinity-{suffix}-10.244.2.5/8080 {{ ip saddr }}"
            ),
            format!("endpoint-{suffix}-10.244.2.5/8080: meta l4proto tcp dnat to 10.244.2.5:8080"),
            format!(
                "service-{suffix}: ip saddr @affinity-{suffix}-10.244.1.4/8080 goto endpoint-{suffix}-10.244.1.4/8080"
            ),
            format!(
                "service-{suffix}: ip saddr @affinity-{suffix}-10.244.2.5/8080 goto endpoint-{suffix}-10.244.2.5/8080"
            ),
            format!(
                "service-{suffix}: numgen random mod 2 vmap {{ 0 : goto endpoint-{suffix}-10.244.1.4/8080, 1 : goto endpoint-{suffix}-10.244.2.5/8080 }}"
            ),
        ]
    );
}

#[test]
fn others_services_are_left_alone() {
    for spec in [
        json!({ "clusterIP": "None", "ports": [{ "port": 80 }] }),
        json!({ "type": "ExternalName", "externalName": "example.com" }),
        json!({ "clusterIP": "fd00::7", "clusterIPs": ["fd00::7"], "ports": [{ "port": 80 }] }),
    ] {
        check(spec, two_endpoints(), &[]);
    }
}

#[test]
fn hints_keep_traffic_in_the_zone_only_when_all_have_them() {
    let with = |second: Value| {
        json!([
            { "addresses": ["10.244.1.4"], "hints": { "forZones": [{ "name": "b" }] } },
            { "addresses": ["10.244.2.5"], "hints": second },
        ])
    };
    let rule = |endpoints| added(cluster_ip(json!({})), endpoints).pop().unwrap();
    assert!(
        rule(with(json!({ "forZones": [{ "name": "a" }] }))).ends_with("dnat to 10.244.2.5:8080")
    );
    assert!(rule(with(Value::Null)).contains("mod 2"));
}

#[test]
fn scaling_writes_one_chain() {
    let services = [service(cluster_ip(json!({})))];
    let one = json!([{ "addresses": ["10.244.2.5"], "nodeName": "w2" }]);
    let old = build(Family::V4, &services, &[slice(one)], &facts());
    let new = build(Family::V4, &services, &[slice(two_endpoints())], &facts());
    let script = new.diff_script(&old);
    let lines: Vec<&str> = script.lines().map(|l| l.split_once(" ip ").unwrap().0).collect();
    assert_eq!(lines, ["flush chain", "add rule", "add element"], "{script}");
}

#[test]
fn a_slice_pair_during_a_move_counts_once() {
    let services = [service(cluster_ip(json!({})))];
    let one = slice(json!([{ "addresses": ["10.244.2.5"], "conditions": { "ready": true } }]));
    let two = slice(json!([{ "addresses": ["10.244.2.5"], "conditions": { "ready": false } }]));
    let single = build(Family::V4, &services, std::slice::from_ref(&one), &facts());
    assert_eq!(build(Family::V4, &services, &[one.clone(), two.clone()], &facts()), single);
    assert_eq!(build(Family::V4, &services, &[two, one], &facts()), single);
}
