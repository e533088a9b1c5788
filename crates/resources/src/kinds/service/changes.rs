//! What may change about a Service once it has addresses and ports, and what follows from a
//! change.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use serde_json::json;

use super::rules::load_balancer_class;
use super::{has_node_ports, is_headless, kind, needs_cluster_ip, needs_health_check_port};
use crate::cursor::{At, copy_field, items_mut, remove, same, set_default_zero};

const FIXED: &str = "may not change once set";

/// `clusterIP` and `clusterIPs[0]` say the same; whichever the client wrote leads.
pub(super) fn normalize_cluster_ips(service: &mut Value, old: Option<&Value>) {
    let null = Value::Null;
    let Some(spec) = service.get_mut("spec").filter(|s| s.is_object()) else { return };
    let ip = spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_owned();
    let ips = spec.get("clusterIPs").cloned().unwrap_or_default();
    let no_ips = ips.as_array().is_none_or(Vec::is_empty);
    let Some(before) = old.and_then(|old| old.get("spec")) else {
        // Who writes the list writes both.
        if !ip.is_empty() && no_ips {
            spec["clusterIPs"] = json!([ip]);
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
pub(super) fn keep_allocated(new: &mut Value, old: &Value) {
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
    if has_node_ports(before) && has_node_ports(spec) {
        let number = |port: &Value| port.get("nodePort").and_then(Value::as_i64).unwrap_or(0);
        let old_ports = before.get("ports").and_then(Value::as_array).cloned().unwrap_or_default();
        let given = items_mut(spec, "ports").iter().map(number).collect::<BTreeSet<i64>>();
        let mut used: BTreeSet<i64> =
            old_ports.iter().map(number).filter(|n| given.contains(n)).collect();
        for port in items_mut(spec, "ports") {
            if number(port) != 0 {
                continue;
            }
            // Of several ports of one name the last counts, as in a map.
            let named = |old: &&Value| text(old, "name") == text(port, "name");
            let kept = old_ports.iter().rfind(named).map(number).unwrap_or(0);
            if kept != 0 && used.insert(kept) {
                port["nodePort"] = json!(kept);
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
pub(super) fn drop_dependent(new: &mut Value, old: &Value) {
    let Some(before) = old.get("spec") else { return };
    let Some(spec) = new.get_mut("spec").filter(|s| s.is_object()) else { return };
    let null = Value::Null;
    let kept = |spec: &Value, field: &str| {
        same(spec.get(field).unwrap_or(&null), before.get(field).unwrap_or(&null))
    };
    if needs_cluster_ip(before) && !needs_cluster_ip(spec) {
        if kept(spec, "clusterIP") && kept(spec, "clusterIPs") {
            remove(spec, "clusterIP");
            remove(spec, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if kept(spec, field) {
                remove(spec, field);
            }
        }
    }
    let node_ports = |spec: &Value| -> BTreeSet<i64> {
        let ports = spec.get("ports").and_then(Value::as_array);
        ports.into_iter().flatten().filter_map(|p| p.get("nodePort")?.as_i64()).collect()
    };
    let none_added = node_ports(before).is_superset(&node_ports(spec));
    if has_node_ports(before) && !has_node_ports(spec) && none_added {
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
    if has_node_ports(before) && !has_node_ports(spec) && kept(spec, "externalTrafficPolicy") {
        remove(spec, "externalTrafficPolicy");
    }
    // The load balancer is on its way out; nobody is to go there any more.
    if kind(spec) != "LoadBalancer" {
        new["status"]["loadBalancer"] = json!({});
    }
}

/// Checks a change, of what cannot change at all and of what can be added or given back.
pub(super) fn check(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    let external = [&spec, &before].iter().any(|spec| spec.get("type").str() == "ExternalName");
    let headless = [&spec, &before].map(|spec| is_headless(spec.value));
    if !external && headless != [true, true] {
        cluster_ips(&spec, &before, errors);
    }
    if !external && headless == [false, false] {
        families(&spec, &before, errors);
    }
    let class = spec.get("loadBalancerClass");
    let balanced = [&spec, &before].iter().all(|spec| spec.get("type").str() == "LoadBalancer");
    if balanced && class.value != before.get("loadBalancerClass").value {
        class.invalid(errors, FIXED);
    }
    load_balancer_class(&spec, errors);
    let port = spec.get("healthCheckNodePort");
    if needs_health_check_port(before.value)
        && needs_health_check_port(spec.value)
        && port.int_or_zero() != before.get("healthCheckNodePort").int_or_zero()
    {
        port.forbidden(errors, "field is immutable");
    }
}

fn invalid(list: &At<'_>, index: usize, shown: &At<'_>, detail: &str, errors: &mut ErrorList) {
    errors.push(Error::invalid(&list.path.index(index), shown.value.clone(), detail));
}

/// Giving a second of something back takes saying that one is enough.
fn released(spec: &At<'_>, what: &str, errors: &mut ErrorList) {
    let policy = spec.get("ipFamilyPolicy");
    if policy.str() != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {what}");
        policy.invalid(errors, detail);
    }
}

fn cluster_ips(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (now, then) = (spec.get("clusterIPs"), before.get("clusterIPs"));
    if now.len() == then.len() {
        for (i, ip) in then.items().iter().enumerate() {
            if now.items()[i] != *ip {
                invalid(&now, i, &now, FIXED, errors);
            }
        }
        return;
    }
    if now.is_empty() {
        invalid(&now, 0, &now, "primary clusterIP can not be unset", errors);
    } else if then.items().first().is_some_and(|ip| now.items()[0] != *ip) {
        invalid(&now, 0, &now, FIXED, errors);
    }
    if now.len() == 1 && then.len() > 1 {
        released(spec, "clusterIP", errors);
    }
}

fn families(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (now, then) = (spec.get("ipFamilies"), before.get("ipFamilies"));
    let ips = spec.get("clusterIPs");
    if now.len() == then.len() {
        for (i, family) in then.items().iter().enumerate() {
            if now.items()[i] != *family {
                invalid(&now, 0, &now, FIXED, errors);
            }
        }
        return;
    }
    let fewer = now.len() < then.len();
    if fewer && ips.is_empty() {
        invalid(&now, 0, &now, "primary ipFamily can not be unset", errors);
    }
    if let (Some(family), Some(old)) = (now.items().first(), then.items().first())
        && family != old
    {
        invalid(&now, 0, &ips, FIXED, errors);
    }
    if fewer && now.len() == 1 {
        released(spec, "ipFamily", errors);
    }
}
