//! What a Service needs, in upstream's order and words.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use serde_json::json;

use super::Unit;
use super::pool::Pools;

fn kind(service: &Value) -> &str {
    service["spec"]["type"].as_str().unwrap_or("ClusterIP")
}

fn text<'a>(service: &'a Value, field: &str) -> &'a str {
    service["spec"].get(field).and_then(Value::as_str).unwrap_or_default()
}

fn needs_ip(service: &Value) -> bool {
    service.is_object() && kind(service) != "ExternalName"
}

fn needs_node_ports(service: &Value) -> bool {
    match kind(service) {
        "NodePort" => true,
        "LoadBalancer" => {
            service["spec"].get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false))
        }
        _ => false,
    }
}

fn needs_health_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && text(service, "externalTrafficPolicy") == "Local"
}

fn is_headless(service: &Value) -> bool {
    text(service, "clusterIP") == "None"
}

fn port(value: Option<&Value>) -> Option<u16> {
    value?.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// What a Service has, as far as it could have been allocated.
pub(super) fn units(service: &Value) -> impl Iterator<Item = Unit> {
    let mut units = HashSet::new();
    if needs_ip(service) {
        let spec = &service["spec"];
        let listed = spec.get("clusterIPs").and_then(Value::as_array).into_iter().flatten();
        let ips = listed.chain(spec.get("clusterIP")).filter_map(Value::as_str);
        units.extend(ips.filter_map(|ip| ip.parse().ok()).map(Unit::Ip));
        let ports = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
        let node_ports =
            ports.map(|port| port.get("nodePort")).chain([spec.get("healthCheckNodePort")]);
        units.extend(node_ports.filter_map(port).map(Unit::Port));
    }
    units.into_iter()
}

/// An update that leaves out what was allocated means to keep it.
pub(super) fn carry_over(new: &mut Value, old: &Value) {
    if !needs_ip(old) || !needs_ip(new) {
        return drop_unneeded(new, old);
    }
    let unset = |service: &Value, field: &str| match service["spec"].get(field) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    if unset(new, "clusterIP") && unset(new, "clusterIPs") {
        for field in ["clusterIP", "clusterIPs"] {
            if let Some(value) = old["spec"].get(field) {
                new["spec"][field] = value.clone();
            }
        }
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        if let (true, Some(value)) = (unset(new, field), old["spec"].get(field)) {
            new["spec"][field] = value.clone();
        }
    }
    drop_unneeded(new, old);
    if needs_node_ports(old) && needs_node_ports(new) {
        carry_ports(new, old);
    }
    if needs_health_port(old)
        && needs_health_port(new)
        && port(new["spec"].get("healthCheckNodePort")).is_none()
        && let Some(value) = old["spec"].get("healthCheckNodePort")
    {
        new["spec"]["healthCheckNodePort"] = value.clone();
    }
}

fn port_key(port: &Value) -> (String, u64) {
    let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
    (protocol.to_owned(), port.get("port").and_then(Value::as_u64).unwrap_or(0))
}

fn carry_ports(new: &mut Value, old: &Value) {
    let Some(old_ports) = old["spec"]["ports"].as_array() else { return };
    let Some(ports) = new["spec"]["ports"].as_array_mut() else { return };
    let mut used: HashSet<u16> =
        ports.iter().filter_map(|entry| port(entry.get("nodePort"))).collect();
    for entry in ports {
        if port(entry.get("nodePort")).is_some() {
            continue;
        }
        let before = old_ports.iter().find(|old| port_key(old) == port_key(entry));
        if let Some(before) = before.and_then(|before| port(before.get("nodePort")))
            && used.insert(before)
        {
            entry["nodePort"] = before.into();
        }
    }
}

/// A change of type gives up what only the old type has, where the client did not say otherwise.
fn drop_unneeded(new: &mut Value, old: &Value) {
    if needs_ip(old) && !needs_ip(new) {
        for field in ["clusterIP", "clusterIPs"] {
            if new["spec"].get(field) == old["spec"].get(field)
                && let Some(spec) = new["spec"].as_object_mut()
            {
                spec.shift_remove(field);
            }
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if let Some(spec) = new["spec"].as_object_mut() {
                spec.shift_remove(field);
            }
        }
    }
    if needs_node_ports(old) && matches!(kind(new), "ClusterIP" | "ExternalName") {
        let had: HashSet<Unit> = units(old).collect();
        for entry in new["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if let Some(number) = port(entry.get("nodePort"))
                && had.contains(&Unit::Port(number))
                && let Some(entry) = entry.as_object_mut()
            {
                entry.shift_remove("nodePort");
            }
        }
    }
    if needs_health_port(old)
        && !needs_health_port(new)
        && new["spec"].get("healthCheckNodePort") == old["spec"].get("healthCheckNodePort")
        && let Some(spec) = new["spec"].as_object_mut()
    {
        spec.shift_remove("healthCheckNodePort");
    }
}

/// Allocates what is open and takes what is asked for. `owned` is what the Service has already.
pub(super) fn fill_in(
    service: &mut Value,
    owned: &HashSet<Unit>,
    pools: &mut Pools,
    errors: &mut ErrorList,
) {
    if !needs_ip(service) {
        return;
    }
    fill_families(service);
    if !is_headless(service) {
        fill_ip(service, owned, pools, errors);
    }
    if needs_node_ports(service) {
        fill_ports(service, owned, pools, errors);
    }
    if needs_health_port(service) {
        fill_health_port(service, owned, pools, errors);
    }
}

/// `clusterIP` and `clusterIPs` say the same; families are those of a cluster with IPv4 only.
fn fill_families(service: &mut Value) {
    let first = service["spec"].get("clusterIPs").and_then(|ips| ips.get(0)).cloned();
    let single = text(service, "clusterIP").to_owned();
    let has_selector =
        service["spec"].get("selector").and_then(Value::as_object).is_some_and(|s| !s.is_empty());
    let spec = &mut service["spec"];
    match (single.is_empty(), first) {
        (false, None) => spec["clusterIPs"] = json!([single]),
        (true, Some(first)) => spec["clusterIP"] = first,
        _ => {}
    }
    let headless = spec["clusterIP"] == "None";
    let selectorless = headless && !has_selector;
    let empty = |value: Option<&Value>| value.and_then(Value::as_array).is_none_or(Vec::is_empty);
    if spec.get("ipFamilyPolicy").and_then(Value::as_str).is_none_or(str::is_empty) {
        // Whoever maintains the endpoints of such a Service decides about families.
        let policy = if selectorless { "RequireDualStack" } else { "SingleStack" };
        spec["ipFamilyPolicy"] = policy.into();
    }
    if empty(spec.get("ipFamilies")) {
        let dual = selectorless && spec["ipFamilyPolicy"] != "SingleStack";
        spec["ipFamilies"] = if dual { json!(["IPv4", "IPv6"]) } else { json!(["IPv4"]) };
    }
}

fn fill_ip(service: &mut Value, owned: &HashSet<Unit>, pools: &mut Pools, errors: &mut ErrorList) {
    let path = Path::new("spec").child("clusterIPs");
    let wanted = text(service, "clusterIP").to_owned();
    if wanted.is_empty() {
        match pools.any_ip() {
            Ok(ip) => {
                service["spec"]["clusterIP"] = ip.to_string().into();
                service["spec"]["clusterIPs"] = json!([ip.to_string()]);
            }
            Err(refusal) => {
                let detail = format!("failed to allocate a serviceIP: {refusal}");
                errors.push(Error::internal(&path, detail));
            }
        }
        return;
    }
    // What is no address is left to validation.
    let Ok(ip) = wanted.parse::<Ipv4Addr>() else { return };
    if owned.contains(&Unit::Ip(ip)) {
        return;
    }
    if let Err(refusal) = pools.take_ip(ip) {
        let detail = format!("failed to allocate IP {ip}: {refusal}");
        errors.push(Error::invalid(&path, json!([wanted]), detail));
    }
}

fn fill_ports(
    service: &mut Value,
    owned: &HashSet<Unit>,
    pools: &mut Pools,
    errors: &mut ErrorList,
) {
    let Some(ports) = service["spec"].get_mut("ports").and_then(Value::as_array_mut) else {
        return;
    };
    let path = Path::new("spec").child("ports");
    // One number can serve several protocols of the same Service.
    let mut ours: HashSet<(u16, String)> = HashSet::new();
    let mut taken: HashSet<u16> = HashSet::new();
    for (index, entry) in ports.iter().enumerate() {
        let Some(number) = port(entry.get("nodePort")) else { continue };
        let (protocol, _) = port_key(entry);
        let shared = taken.contains(&number) && ours.insert((number, protocol.clone()));
        if shared || owned.contains(&Unit::Port(number)) {
            taken.insert(number);
            continue;
        }
        match pools.take_port(number) {
            Ok(()) => {
                taken.insert(number);
                ours.insert((number, protocol));
            }
            Err(refusal) => {
                let path = path.index(index).child("nodePort");
                errors.push(Error::invalid(&path, number, refusal.to_string()));
            }
        }
    }
    for index in 0..ports.len() {
        if port(ports[index].get("nodePort")).is_some() {
            continue;
        }
        let (protocol, number) = port_key(&ports[index]);
        // The same port under another protocol gets the same node port.
        let twin = ports.iter().find_map(|other| {
            let (other_protocol, other_number) = port_key(other);
            let node_port = port(other.get("nodePort"))?;
            (other_number == number && other_protocol != protocol).then_some(node_port)
        });
        match twin.map_or_else(|| pools.any_port(), Ok) {
            Ok(given) => ports[index]["nodePort"] = given.into(),
            Err(refusal) => {
                let path = path.index(index).child("nodePort");
                errors.push(Error::internal(
                    &path,
                    format!("failed to allocate a nodePort: {refusal}"),
                ));
            }
        }
    }
}

fn fill_health_port(
    service: &mut Value,
    owned: &HashSet<Unit>,
    pools: &mut Pools,
    errors: &mut ErrorList,
) {
    let path = Path::new("spec").child("healthCheckNodePort");
    match port(service["spec"].get("healthCheckNodePort")) {
        Some(number) if owned.contains(&Unit::Port(number)) => {}
        Some(number) => {
            if let Err(refusal) = pools.take_port(number) {
                let detail = format!(
                    "failed to allocate requested HealthCheck NodePort {number}: {refusal}"
                );
                errors.push(Error::internal(&path, detail));
            }
        }
        None => match pools.any_port() {
            Ok(number) => service["spec"]["healthCheckNodePort"] = number.into(),
            Err(refusal) => {
                let detail = format!("failed to allocate a HealthCheck NodePort: {refusal}");
                errors.push(Error::internal(&path, detail));
            }
        },
    }
}
