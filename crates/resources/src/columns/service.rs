//! Rows of Services and of what hangs on them: Endpoints, EndpointSlices, Ingresses.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::time::Timestamp;
use serde_json::json;

use super::cell::{
    age, count, first_three, int, items, joined_or, labels, name, scalar, text, text_or, texts,
};

pub(super) fn cells(service: &Value, now: Timestamp) -> Vec<Value> {
    let cluster_ip = match items(service, "/spec/clusterIPs").first() {
        Some(ip) => ip.as_str().unwrap_or_default(),
        None => text_or(service, "/spec/clusterIP", "<none>"),
    };
    let selector = service.pointer("/spec/selector").and_then(Value::as_object);
    vec![
        name(service),
        json!(text(service, "/spec/type")),
        json!(cluster_ip),
        json!(external_ip(service)),
        json!(ports(service)),
        age(service, now),
        json!(labels(selector, "<none>")),
    ]
}

fn external_ip(service: &Value) -> String {
    let external = texts(service, "/spec/externalIPs", "");
    match text(service, "/spec/type") {
        "ClusterIP" | "NodePort" => joined_or(&external, "<none>"),
        "LoadBalancer" => {
            let addresses = load_balancer(service);
            match (addresses.is_empty(), external.is_empty()) {
                (true, true) => "<pending>".to_owned(),
                (true, false) => external.join(","),
                (false, true) => addresses,
                (false, false) => format!("{addresses},{}", external.join(",")),
            }
        }
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

/// Addresses of a load balancer, sorted. The server always answers for wide output, so nothing is
/// cut here.
fn load_balancer(object: &Value) -> String {
    let ingress = items(object, "/status/loadBalancer/ingress");
    let addresses: BTreeSet<&str> = ingress
        .iter()
        .map(|i| text_or(i, "/ip", text(i, "/hostname")))
        .filter(|a| !a.is_empty())
        .collect();
    addresses.into_iter().collect::<Vec<_>>().join(",")
}

fn ports(service: &Value) -> String {
    let ports: Vec<String> = items(service, "/spec/ports")
        .iter()
        .map(|port| {
            let protocol = text(port, "/protocol");
            match int(port, "/nodePort") {
                0 => format!("{}/{protocol}", int(port, "/port")),
                node_port => format!("{}:{node_port}/{protocol}", int(port, "/port")),
            }
        })
        .collect();
    if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
}

pub(super) fn endpoints(endpoints: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(endpoints), json!(endpoint_list(endpoints)), age(endpoints, now)]
}

/// At most three addresses of ready endpoints.
fn endpoint_list(endpoints: &Value) -> String {
    let subsets = items(endpoints, "/subsets");
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut shown = Vec::new();
    let mut total = 0;
    for subset in subsets {
        let ports = items(subset, "/ports");
        for address in items(subset, "/addresses") {
            let ip = text(address, "/ip");
            if ports.is_empty() {
                total += 1;
                shown.push(ip.to_owned());
            }
            for port in ports {
                total += 1;
                let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
                shown.push(format!("{host}:{}", int(port, "/port")));
            }
        }
    }
    shown.truncate(3);
    let list = shown.join(",");
    if total > 3 { format!("{list} + {} more...", total - 3) } else { list }
}

pub(super) fn endpoint_slice(slice: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = items(slice, "/ports")
        .iter()
        .map(|port| match (scalar(port.get("port")), text(port, "/name")) {
            (Some(number), _) => number,
            (None, "") => "*".to_owned(),
            (None, name) => name.to_owned(),
        })
        .collect();
    let addresses: Vec<&str> = items(slice, "/endpoints")
        .iter()
        .flat_map(|endpoint| texts(endpoint, "/addresses", ""))
        .collect();
    vec![
        name(slice),
        json!(text(slice, "/addressType")),
        json!(first_three(&ports, "<unset>")),
        json!(first_three(&addresses, "<unset>")),
        age(slice, now),
    ]
}

pub(super) fn ingress(ingress: &Value, now: Timestamp) -> Vec<Value> {
    let hosts: Vec<&str> =
        texts(ingress, "/spec/rules", "host").into_iter().filter(|host| !host.is_empty()).collect();
    let ports = if count(ingress, "/spec/tls") > 0 { "80, 443" } else { "80" };
    vec![
        name(ingress),
        json!(text_or(ingress, "/spec/ingressClassName", "<none>")),
        json!(first_three(&hosts, "*")),
        json!(load_balancer(ingress)),
        json!(ports),
        age(ingress, now),
    ]
}
