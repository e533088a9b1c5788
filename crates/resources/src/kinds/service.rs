//! Services: defaults, rules, and which addresses and ports each needs.
//!
//! Handing out addresses and ports is the API server's work; what a Service needs and what it gives
//! back is decided here: [`init_families`], then [`allocation_needs`].

mod allocation;
mod changes;
mod rules;
#[cfg(test)]
mod tests;
pub(in crate::kinds) mod warnings;

use machinery::Value;
use machinery::field::ErrorList;
use serde_json::json;

pub use self::allocation::{
    Family, IpNeed, Needs, PortNeed, allocation_needs, init_families, set_cluster_ip,
    set_health_check_port, set_node_port,
};
use super::addresses;
use crate::cursor::{At, items_mut, remove, set_default, set_default_zero};
use crate::strategy::{Ctx, Strategy, label_name};

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
        label_name(name, prefix)
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, service: &mut Value) {
        service["status"] = json!({"loadBalancer": {}});
        changes::normalize_cluster_ips(service, None);
    }

    fn validate(&self, _ctx: &Ctx<'_>, service: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        rules::check(service, None, &mut errors);
        errors
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        changes::keep_allocated(new, old);
        changes::normalize_cluster_ips(new, Some(old));
        changes::drop_dependent(new, old);
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        changes::check(new, old, &mut errors);
        rules::check(new, Some(old), &mut errors);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        rules::status(new, old, &mut errors);
        errors
    }

    fn status_warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> Vec<String> {
        let ingress = At::root(new).get("status").get("loadBalancer").get("ingress");
        let addresses = ingress.list().map(|entry| entry.get("ip"));
        addresses.filter_map(|ip| addresses::odd_address(&ip)).collect()
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

/// Whether a Service can be reached by ports of nodes.
fn has_node_ports(spec: &Value) -> bool {
    matches!(kind(spec), "NodePort" | "LoadBalancer")
}

/// Whether a Service is given ports of nodes that it does not ask for.
fn needs_node_port(spec: &Value) -> bool {
    let allocates = spec.get("allocateLoadBalancerNodePorts").and_then(Value::as_bool);
    kind(spec) == "NodePort" || kind(spec) == "LoadBalancer" && allocates != Some(false)
}

fn needs_health_check_port(spec: &Value) -> bool {
    kind(spec) == "LoadBalancer"
        && spec.get("externalTrafficPolicy").and_then(Value::as_str) == Some("Local")
}

/// Whether a Service has names and no address.
fn is_headless(spec: &Value) -> bool {
    let ips = spec.get("clusterIPs").and_then(Value::as_array);
    ips.is_some_and(|ips| matches!(&ips[..], [ip] if ip == "None"))
}
