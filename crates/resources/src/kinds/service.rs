//! Services: defaults, rules, and which addresses and ports each needs.
//!
//! Handing out addresses and ports is the API server's work; what a Service needs and what it gives
//! back is decided here: [`init_families`], then [`allocation_needs`].

mod allocation;
mod rules;
#[cfg(test)]
mod tests;
mod warnings;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use serde_json::json;

pub use self::allocation::{
    Family, IpNeed, Needs, PortNeed, allocation_needs, init_families, set_cluster_ip,
    set_health_check_port, set_node_port,
};
use crate::cursor::{At, copy_field, items_mut, remove, same, set_default, set_default_zero};
use crate::strategy::{Ctx, Strategy, label1035_name};

const CLIENT_IP_SECONDS: i64 = 10_800;

/// The rules of Services.
pub(crate) struct Service;

impl Strategy for Service {
    fn default(&self, service: &mut Value) {
        let Some(spec) = service.get_mut("spec").filter(|s| s.is_object()) else { return };
        set_default_zero(spec, "sessionAffinity", "None");
        match spec.get("sessionAffinity").and_then(Value::as_str) {
            Some("None") => remove(spec, "sessionAffinityConfig"),
            Some("ClientIP") => {
                let timeout = spec.pointer("/sessionAffinityConfig/clientIP/timeoutSeconds");
                if timeout.is_none_or(Value::is_null) {
                    spec["sessionAffinityConfig"] =
                        json!({"clientIP": {"timeoutSeconds": CLIENT_IP_SECONDS}});
                }
            }
            _ => {}
        }
        set_default_zero(spec, "type", "ClusterIP");
        for port in items_mut(spec, "ports") {
            set_default_zero(port, "protocol", "TCP");
            if let Some(number) = port.get("port").cloned() {
                set_default_zero(port, "targetPort", number);
            }
        }
        if externally_accessible(spec) {
            set_default_zero(spec, "externalTrafficPolicy", "Cluster");
        }
        let kind = spec.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
            set_default(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            set_default(spec, "allocateLoadBalancerNodePorts", true);
            let ingress =
                service.pointer_mut("/status/loadBalancer").map(|s| items_mut(s, "ingress"));
            for entry in ingress.into_iter().flatten() {
                if entry.get("ip").and_then(Value::as_str).is_some_and(|ip| !ip.is_empty()) {
                    set_default(entry, "ipMode", "VIP");
                }
            }
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        label1035_name(name, prefix)
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, service: &mut Value) {
        service["status"] = json!({"loadBalancer": {}});
        normalize_cluster_ips(service, None);
    }

    fn validate(&self, _ctx: &Ctx<'_>, service: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        rules::check(service, &mut errors);
        errors
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        normalize_cluster_ips(new, Some(old));
        keep_allocated(new, old);
        drop_dependent(new, old);
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        cluster_ips_kept(new, old, &mut errors);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        if spec.get("type").str() == "LoadBalancer" && before.get("type").str() == "LoadBalancer" {
            let (class, old_class) =
                (spec.get("loadBalancerClass"), before.get("loadBalancerClass"));
            if !same(class.value, old_class.value) {
                class.invalid(&mut errors, "may not change once set");
            }
        }
        errors.extend(self.validate(ctx, new));
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        rules::status(new, &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        warnings::of(new)
    }
}

fn kind(spec: &Value) -> &str {
    spec.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// Whether traffic from outside the cluster reaches the Service.
fn externally_accessible(spec: &Value) -> bool {
    let external_ips = spec.get("externalIPs").and_then(Value::as_array);
    matches!(kind(spec), "LoadBalancer" | "NodePort")
        || kind(spec) == "ClusterIP" && external_ips.is_some_and(|ips| !ips.is_empty())
}

fn needs_cluster_ip(spec: &Value) -> bool {
    matches!(kind(spec), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_port(spec: &Value) -> bool {
    let allocates = spec.get("allocateLoadBalancerNodePorts").and_then(Value::as_bool);
    kind(spec) == "NodePort" || kind(spec) == "LoadBalancer" && allocates != Some(false)
}

fn needs_health_check_port(spec: &Value) -> bool {
    kind(spec) == "LoadBalancer"
        && spec.get("externalTrafficPolicy").and_then(Value::as_str) == Some("Local")
}

/// `clusterIP` and `clusterIPs[0]` say the same; whichever the client wrote leads.
fn normalize_cluster_ips(service: &mut Value, old: Option<&Value>) {
    let null = Value::Null;
    let Some(spec) = service.get_mut("spec").filter(|s| s.is_object()) else { return };
    let ip = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let ips = spec.get("clusterIPs").cloned().unwrap_or_default();
    let no_ips = ips.as_array().is_none_or(Vec::is_empty);
    let Some(before) = old.and_then(|old| old.get("spec")) else {
        if !ip.is_empty() && no_ips {
            spec["clusterIPs"] = json!([ip]);
        } else if ip.is_empty() && !no_ips {
            spec["clusterIP"] = ips[0].clone();
        }
        return;
    };
    let old_ip = before.get("clusterIP").and_then(Value::as_str).unwrap_or_default();
    let ips_kept = same(&ips, before.get("clusterIPs").unwrap_or(&null));
    if !old_ip.is_empty() && ip.is_empty() {
        if ips_kept {
            remove(spec, "clusterIPs");
        }
    } else if old_ip != ip && ips_kept {
        spec["clusterIPs"] = json!([ip]);
    }
}

/// What was handed out stays when the client does not mention it.
fn keep_allocated(new: &mut Value, old: &Value) {
    let Some(before) = old.get("spec") else { return };
    let Some(spec) = new.get_mut("spec").filter(|s| s.is_object()) else { return };
    let text = |v: &Value, field: &str| {
        v.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    if needs_cluster_ip(before) && needs_cluster_ip(spec) {
        if text(spec, "clusterIP").is_empty() {
            copy_field(spec, before, "clusterIP");
        }
        let none = spec.get("clusterIPs").and_then(Value::as_array).is_none_or(Vec::is_empty);
        if none && text(spec, "clusterIP") == text(before, "clusterIP") {
            copy_field(spec, before, "clusterIPs");
        }
    }
    if needs_node_port(before) && needs_node_port(spec) {
        let key = |port: &Value| (text(port, "protocol"), port.get("port").and_then(Value::as_i64));
        let number = |port: &Value| port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
        let old_ports = before.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut used: Vec<i64> = items_mut(spec, "ports").iter().map(&number).collect();
        for port in items_mut(spec, "ports") {
            if number(port) != 0 {
                continue;
            }
            let kept = old_ports.iter().find(|old| key(old) == key(port)).map(number);
            if let Some(kept) = kept.filter(|n| *n != 0 && !used.contains(n)) {
                port["nodePort"] = json!(kept);
                used.push(kept);
            }
        }
    }
    if needs_health_check_port(before)
        && needs_health_check_port(spec)
        && let Some(port) = before.get("healthCheckNodePort").cloned()
    {
        set_default_zero(spec, "healthCheckNodePort", port);
    }
}

/// What no longer makes sense after a change of type goes, unless the client wrote it anew.
fn drop_dependent(new: &mut Value, old: &Value) {
    let Some(before) = old.get("spec") else { return };
    let Some(spec) = new.get_mut("spec").filter(|s| s.is_object()) else { return };
    let null = Value::Null;
    let kept = |spec: &Value, field: &str| {
        same(spec.get(field).unwrap_or(&null), before.get(field).unwrap_or(&null))
    };
    if needs_cluster_ip(before)
        && !needs_cluster_ip(spec)
        && kept(spec, "clusterIP")
        && kept(spec, "clusterIPs")
    {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            remove(spec, field);
        }
    }
    let node_ports = |spec: &Value| -> Vec<Value> {
        let ports = spec.get("ports").and_then(Value::as_array);
        ports.into_iter().flatten().filter_map(|p| p.get("nodePort").cloned()).collect()
    };
    let same_ports = node_ports(spec) == node_ports(before);
    if needs_node_port(before) && !needs_node_port(spec) && same_ports {
        for port in items_mut(spec, "ports") {
            remove(port, "nodePort");
        }
    }
    if needs_health_check_port(before)
        && !needs_health_check_port(spec)
        && kept(spec, "healthCheckNodePort")
    {
        remove(spec, "healthCheckNodePort");
    }
    if kind(before) == "LoadBalancer" && kind(spec) != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if kept(spec, field) {
                remove(spec, field);
            }
        }
    }
    if externally_accessible(before)
        && !externally_accessible(spec)
        && kept(spec, "externalTrafficPolicy")
    {
        remove(spec, "externalTrafficPolicy");
    }
    if needs_cluster_ip(before) && !needs_cluster_ip(spec) && kept(spec, "internalTrafficPolicy") {
        remove(spec, "internalTrafficPolicy");
    }
}

/// The first cluster IP stays for good, the second while the Service has two families.
fn cluster_ips_kept(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    if before.get("type").str() == "ExternalName" || spec.get("type").str() == "ExternalName" {
        return;
    }
    let (ips, old_ips) = (spec.get("clusterIPs"), before.get("clusterIPs"));
    let Some(first) = old_ips.items().first() else { return };
    match ips.items().first() {
        None => {
            errors.push(Error::invalid(
                &ips.path.index(0),
                ips.value.clone(),
                "primary clusterIP can not be unset",
            ));
        }
        Some(ip) if ip != first => {
            errors.push(Error::invalid(
                &ips.path.index(0),
                ips.value.clone(),
                "may not change once set",
            ));
        }
        Some(_) => {}
    }
    if let (Some(old_second), Some(second)) = (old_ips.items().get(1), ips.items().get(1))
        && old_second != second
    {
        errors.push(Error::invalid(
            &ips.path.index(1),
            ips.value.clone(),
            "may not change once set",
        ));
    }
    let (families, old_families) = (spec.get("ipFamilies"), before.get("ipFamilies"));
    match (old_families.items().first(), families.items().first()) {
        (Some(_), None) => {
            let detail = "primary ipFamily can not be unset";
            errors.push(Error::invalid(&families.path.index(0), families.value.clone(), detail));
        }
        (Some(a), Some(b)) if a != b => {
            let detail = "may not change once set";
            errors.push(Error::invalid(&families.path.index(0), families.value.clone(), detail));
        }
        _ => {}
    }
}
