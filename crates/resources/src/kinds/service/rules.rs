//! Rules for a Service.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::{meta, names};
use serde_json::json;

use super::{externally_accessible, is_headless, needs_health_check_port};
use crate::cursor::At;
use crate::kinds::forms::ordinary_address;
use crate::kinds::pod::handlers::port as check_port;
use crate::kinds::{addresses, internal};
use crate::object_meta;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";

/// The texts in a list of the spec that a Service had before.
fn texts<'a>(old: Option<&'a Value>, list: &'static str) -> Vec<&'a str> {
    let items = old.map(|old| At::root(old).get("spec").get(list).items()).unwrap_or_default();
    items.iter().filter_map(Value::as_str).collect()
}

/// Checks a Service, and what may stay of `old` although it would not be taken today.
pub(super) fn check(service: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let noted = |key| meta::annotation(service, key);
    if let (Some(mode), Some(hints)) = (noted(MODE), noted(HINTS))
        && mode != hints
    {
        let path = Path::new("metadata").child("annotations").key(MODE);
        let detail = format!("must match annotations[{HINTS}] when both are specified");
        errors.push(Error::invalid(&path, mode, detail));
    }
    let spec = At::root(service).get("spec");
    let kind = spec.get("type");
    let headless = is_headless(spec.value);
    let ports = spec.get("ports");
    if ports.is_empty() && !headless && kind.str() != "ExternalName" {
        ports.required(errors, "");
    }
    match kind.str() {
        "LoadBalancer" | "NodePort" if headless => {
            let path = spec.get("clusterIPs").path.index(0);
            let detail = format!("may not be set to 'None' for {} services", kind.str());
            errors.push(Error::invalid(&path, "None", detail));
        }
        "ExternalName" => external_name(&spec, errors),
        _ => {}
    }
    self::ports(&ports, errors);
    object_meta::labels(&spec.get("selector"), errors);
    affinity(&spec, errors);
    cluster_ips(service, old, errors);
    let external = texts(old, "externalIPs");
    for ip in spec.get("externalIPs").list() {
        if addresses::address(&ip, &external, errors) {
            ordinary_address(&ip, errors);
        }
    }
    kind.one_of(errors, &TYPES);
    if kind.str() == "ClusterIP" {
        for port in ports.list() {
            let number = port.get("nodePort");
            if !number.is_empty() {
                number.forbidden(errors, "may not be used when `type` is 'ClusterIP'");
            }
        }
    }
    duplicates(&ports, errors);
    load_balancer(service, old, &spec, errors);
    traffic(&spec, errors);
}

fn external_name(spec: &At<'_>, errors: &mut ErrorList) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let field = spec.get(field);
        if field.value.is_string() || !field.is_empty() {
            field.forbidden(errors, "may not be set for ExternalName services");
        }
    }
    let name = spec.get("externalName");
    let plain = name.str().strip_suffix('.').unwrap_or(name.str());
    if plain.is_empty() {
        name.required(errors, "");
    }
    for message in names::dns1123_subdomain(plain) {
        if !plain.is_empty() {
            errors.push(Error::invalid(&name.path, plain, message));
        }
    }
}

fn affinity(spec: &At<'_>, errors: &mut ErrorList) {
    let (affinity, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    affinity.one_of(errors, &["ClientIP", "None"]);
    match affinity.str() {
        "ClientIP" => {
            let when = "when session affinity type is ClientIP";
            let client = config.get("clientIP");
            let timeout = client.get("timeoutSeconds");
            match [&config, &client, &timeout].into_iter().find(|field| !field.is_set()) {
                Some(missing) => missing.required(errors, when),
                None if !(1..=86400).contains(&timeout.int_or_zero()) => {
                    timeout.invalid(errors, "must be greater than 0 and less than 86400");
                }
                None => {}
            }
        }
        "None" if config.is_set() => {
            config.forbidden(errors, "must not be set when session affinity is None");
        }
        _ => {}
    }
}

fn load_balancer(service: &Value, old: Option<&Value>, spec: &At<'_>, errors: &mut ErrorList) {
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let balanced = spec.get("type").str() == "LoadBalancer";
    let ranges = spec.get("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        // Upstream spells the field like this.
        let path = spec.path.child("LoadBalancerSourceRanges");
        if !balanced {
            errors.push(Error::forbidden(&path, ONLY));
        }
        let before: Vec<&str> =
            texts(old, "loadBalancerSourceRanges").into_iter().map(str::trim).collect();
        // Spaces around them are part of the API by now.
        for (i, range) in ranges.list().enumerate() {
            let at = At::new(range.value, path.index(i));
            addresses::range(&at, range.str().trim(), &before, errors);
        }
    } else if let Some(ranges) = meta::annotation(service, ANNOTATION) {
        let path = Path::new("metadata").child("annotations").key(ANNOTATION);
        if !balanced {
            errors.push(Error::forbidden(&path, ONLY));
        }
        let before = old.and_then(|old| meta::annotation(old, ANNOTATION));
        if !ranges.trim().is_empty() && before != Some(ranges) {
            let at = At::new(&Value::Null, path);
            for range in ranges.split(',') {
                addresses::range(&at, range.trim(), &[], errors);
            }
        }
    }
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if allocate.is_set() && !balanced {
        allocate.forbidden(errors, ONLY);
    }
    if balanced && !allocate.is_set() {
        errors.push(Error::required(&Path::new("allocateLoadBalancerNodePorts"), ""));
    }
    load_balancer_class(spec, errors);
}

/// Checks which load balancer is meant.
pub(super) fn load_balancer_class(spec: &At<'_>, errors: &mut ErrorList) {
    let class = spec.get("loadBalancerClass");
    if !class.is_set() {
        return;
    }
    if spec.get("type").str() == "LoadBalancer" {
        class.form(errors, names::qualified_name);
    } else {
        class.forbidden(errors, ONLY);
    }
}

fn ports(ports: &At<'_>, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    let several = ports.len() > 1;
    for port in ports.list() {
        let name = port.get("name");
        if several && name.is_empty() {
            name.required(errors, "");
        } else if !name.is_empty() {
            name.form(errors, names::dns1123_label);
            if !taken.insert(name.str()) {
                name.duplicate(errors);
            }
        }
        let number = port.get("port");
        for message in names::port_number(number.int_or_zero()) {
            errors.push(Error::invalid(&number.path, number.int_or_zero(), message));
        }
        port.get("protocol").one_of(errors, &PROTOCOLS);
        check_port(&port.get("targetPort"), errors);
        let application = port.get("appProtocol");
        if application.is_set() {
            application.form(errors, names::qualified_name);
        }
    }
}

/// No two ports with the same protocol and number, or the same protocol and node port.
fn duplicates(ports: &At<'_>, errors: &mut ErrorList) {
    let key = |port: &At<'_>, field: &'static str| {
        (port.get("protocol").str().to_owned(), port.get(field).int_or_zero())
    };
    let mut node_ports = BTreeSet::new();
    for port in ports.list() {
        let (protocol, number) = key(&port, "nodePort");
        if number != 0 && !node_ports.insert((protocol, number)) {
            port.get("nodePort").duplicate(errors);
        }
    }
    let mut numbers = BTreeSet::new();
    for port in ports.list() {
        let (protocol, number) = key(&port, "port");
        if !numbers.insert((protocol.clone(), number)) {
            let key = json!({"protocol": protocol, "port": number});
            errors.push(Error::duplicate(&port.path, internal::form(&key, "ServicePort")));
        }
    }
}

/// Checks that cluster IPs and families fit each other.
pub(super) fn cluster_ips(service: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let spec = At::root(service).get("spec");
    if spec.get("type").str() == "ExternalName" {
        return;
    }
    let (ip, ips) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    let families = spec.get("ipFamilies");
    let all_wrong = |detail: &str, errors: &mut ErrorList| {
        errors.push(Error::invalid(&ips.path, ips.value.clone(), detail));
    };
    let first = ips.items().first().and_then(Value::as_str);
    match (ip.is_empty(), first) {
        (false, None) => ips.required(errors, ""),
        (false, Some(first)) if first != ip.str() => {
            all_wrong("first value must match `clusterIP`", errors);
        }
        (true, Some(_)) => all_wrong("must be empty when `clusterIP` is not specified", errors),
        _ => {}
    }
    let mut taken = BTreeSet::new();
    for family in families.list() {
        if !["IPv4", "IPv6"].contains(&family.str()) {
            family.unsupported(errors, &["IPv4", "IPv6"]);
        }
        if !taken.insert(family.str()) {
            family.duplicate(errors);
        }
    }
    const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    let policy = spec.get("ipFamilyPolicy");
    if policy.is_set() && !POLICIES.contains(&policy.str()) {
        policy.unsupported(errors, &POLICIES);
    }
    let before = texts(old, "clusterIPs");
    let mut fine = true;
    for (i, item) in ips.list().enumerate() {
        if i == 0 && item.str() == "None" {
            if ips.len() > 1 {
                fine = false;
                all_wrong("'None' must be the first and only value", errors);
            }
        } else {
            fine &= addresses::address(&item, &before, errors);
        }
    }
    if ips.len() > 2 {
        all_wrong("may only hold up to 2 values", errors);
    }
    if !fine {
        return;
    }
    let list: Vec<&str> = ips.list().map(|ip| ip.str()).collect();
    if list.len() > 1 && !addresses::is_dual_stack(&list) {
        all_wrong("may specify no more than one IP for each IP family", errors);
    }
    if is_headless(spec.value) {
        return;
    }
    for (i, (item, family)) in ips.list().zip(families.list()).enumerate() {
        let is_six = addresses::is_ipv6(item.str());
        if family.str() == if is_six { "IPv4" } else { "IPv6" } {
            let detail =
                format!("expected an {} value as indicated by `ipFamilies[{i}]`", family.str());
            item.invalid(errors, detail);
        }
    }
}

fn traffic(spec: &At<'_>, errors: &mut ErrorList) {
    let policy = spec.get("externalTrafficPolicy");
    if externally_accessible(spec.value) {
        policy.one_of(errors, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        policy.invalid(errors, "may only be set for externally-accessible services");
    }
    let health = spec.get("healthCheckNodePort");
    if needs_health_check_port(spec.value) {
        if health.must(errors) {
            health.within(errors, 1, 65535);
        }
    } else if !health.is_empty() {
        let detail =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        health.invalid(errors, detail);
    }
    let internal = spec.get("internalTrafficPolicy");
    let needed = matches!(spec.get("type").str(), "NodePort" | "LoadBalancer" | "ClusterIP");
    if !internal.is_set() && needed {
        internal.required(errors, "");
    } else if internal.is_set() && !["Cluster", "Local"].contains(&internal.str()) {
        internal.unsupported(errors, &["Cluster", "Local"]);
    }
    const DISTRIBUTIONS: [&str; 3] = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    let distribution = spec.get("trafficDistribution");
    if distribution.is_set() && !DISTRIBUTIONS.contains(&distribution.str()) {
        distribution.unsupported(errors, &DISTRIBUTIONS);
    }
}

/// Checks where a load balancer is reached.
pub(super) fn status(new: &Value, old: &Value, errors: &mut ErrorList) {
    let ingress = |service| At::root(service).get("status").get("loadBalancer").get("ingress");
    let kind = At::root(new).get("spec").get("type");
    let (ingress, old_ingress) = (ingress(new), ingress(old));
    if !ingress.is_empty() && kind.str() != "LoadBalancer" {
        ingress.forbidden(errors, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    let before: Vec<String> =
        old_ingress.list().map(|entry| entry.get("ip").str().to_owned()).collect();
    let before: Vec<&str> = before.iter().map(String::as_str).filter(|ip| !ip.is_empty()).collect();
    for entry in ingress.list() {
        let (ip, mode, host) = (entry.get("ip"), entry.get("ipMode"), entry.get("hostname"));
        if !ip.is_empty() {
            addresses::address(&ip, &before, errors);
        }
        match (ip.is_empty(), mode.is_set()) {
            (false, false) => mode.required(errors, "must be specified when `ip` is set"),
            (true, true) => mode.forbidden(errors, "may not be specified when `ip` is not set"),
            (false, true) if !["Proxy", "VIP"].contains(&mode.str()) => {
                mode.unsupported(errors, &["Proxy", "VIP"]);
            }
            _ => {}
        }
        host.may_form(errors, names::dns1123_subdomain);
        if addresses::sloppy_address(host.str()).is_some() {
            host.invalid(errors, "must be a DNS name, not an IP address");
        }
    }
}
