//! Rules for a Service.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::{meta, names};
use serde_json::json;

use super::{externally_accessible, needs_health_check_port};
use crate::cursor::At;
use crate::kinds::pod::handlers::port as check_port;
use crate::object_meta;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn check(service: &Value, errors: &mut ErrorList) {
    let spec = At::root(service).get("spec");
    let kind = spec.get("type");
    let ips = spec.get("clusterIPs");
    let headless = ips.items().first().is_some_and(|ip| ip.as_str() == Some("None"));
    let ports = spec.get("ports");
    if ports.is_empty() && !headless && kind.str() != "ExternalName" {
        ports.required(errors, "");
    }
    match kind.str() {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {} services", kind.str());
            errors.push(Error::invalid(&ips.path.index(0), "None", detail));
        }
        "ExternalName" => external_name(&spec, errors),
        _ => {}
    }
    self::ports(&ports, errors);
    object_meta::labels(&spec.get("selector"), errors);
    affinity(&spec, errors);
    addresses(&spec, errors);
    for ip in spec.get("externalIPs").list() {
        let before = errors.len();
        ip.form(errors, names::ip_address);
        if errors.len() == before {
            not_special(&ip, errors);
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
    load_balancer(service, &spec, errors);
    traffic(&spec, errors);
}

fn external_name(spec: &At<'_>, errors: &mut ErrorList) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let field = spec.get(field);
        if !field.is_empty() {
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

fn load_balancer(service: &Value, spec: &At<'_>, errors: &mut ErrorList) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    const ANNOTATION: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let balanced = spec.get("type").str() == "LoadBalancer";
    let ranges = spec.get("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        // Upstream spells the field like this.
        let path = spec.path.child("LoadBalancerSourceRanges");
        if !balanced {
            errors.push(Error::forbidden(&path, ONLY));
        }
        for (i, range) in ranges.list().enumerate() {
            let range = range.str().trim();
            for message in names::cidr(range) {
                errors.push(Error::invalid(&path.index(i), range, message));
            }
        }
    } else if let Some(ranges) = meta::annotation(service, ANNOTATION) {
        let path = Path::new("metadata").child("annotations").key(ANNOTATION);
        if !balanced {
            errors.push(Error::forbidden(&path, ONLY));
        }
        for range in ranges.split(',').map(str::trim).filter(|_| !ranges.trim().is_empty()) {
            for message in names::cidr(range) {
                errors.push(Error::invalid(&path, range, message));
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
    let class = spec.get("loadBalancerClass");
    if class.is_set() {
        if balanced {
            class.form(errors, names::qualified_name);
        } else {
            class.forbidden(errors, ONLY);
        }
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
        let target = port.get("targetPort");
        if target.is_set() {
            check_port(&target, errors);
        }
        port.get("appProtocol").may_form(errors, names::qualified_name);
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
            // Upstream shows the internal form of a port here.
            let shown = json!({"Name": "", "Protocol": protocol, "AppProtocol": null,
                "Port": number, "TargetPort": 0, "NodePort": 0});
            errors.push(Error::duplicate(&port.path, shown));
        }
    }
}

/// Addresses that never lead anywhere outside.
fn not_special(ip: &At<'_>, errors: &mut ErrorList) {
    let Ok(address) = ip.str().parse::<std::net::IpAddr>() else { return };
    let mut wrong = |detail: &str| ip.invalid(errors, detail);
    if address.is_unspecified() {
        wrong(&format!("may not be unspecified ({address})"));
    }
    if address.is_loopback() {
        wrong("may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let (link_local, link_local_multicast) = match address {
        std::net::IpAddr::V4(a) => (a.is_link_local(), a.octets()[..3] == [224, 0, 0]),
        std::net::IpAddr::V6(a) => {
            (a.segments()[0] & 0xffc0 == 0xfe80, a.segments()[0] & 0xff0f == 0xff02)
        }
    };
    if link_local {
        wrong("may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        wrong("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// Cluster IPs and families fit each other.
fn addresses(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.get("type").str() == "ExternalName" {
        return;
    }
    let (ip, ips) = (spec.get("clusterIP"), spec.get("clusterIPs"));
    let families = spec.get("ipFamilies");
    let first = ips.items().first().and_then(Value::as_str).unwrap_or_default();
    if !ip.is_empty() && ips.is_empty() {
        ips.required(errors, "");
    } else if first != ip.str() {
        errors.push(Error::invalid(
            &ips.path,
            ips.value.clone(),
            "first value must match `clusterIP`",
        ));
    }
    if ips.len() > 2 {
        ips.invalid(errors, "may only hold up to 2 values");
    }
    for item in ips.list() {
        if item.str() == "None" {
            if ips.len() > 1 {
                let detail = "'None' must be the first and only value";
                errors.push(Error::invalid(&item.path, "None", detail));
            }
        } else if !item.is_empty() {
            item.form(errors, names::ip_address);
        }
    }
    let mut taken = BTreeSet::new();
    for family in families.list() {
        family.may_be_one_of(errors, &["IPv4", "IPv6"]);
        if !taken.insert(family.str()) {
            family.duplicate(errors);
        }
    }
    spec.get("ipFamilyPolicy")
        .may_be_one_of(errors, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    for (item, family) in ips.list().zip(families.list()) {
        let address = item.str();
        if address.is_empty() || address == "None" {
            continue;
        }
        let found = super::Family::of(address).name();
        if found != family.str() {
            let detail =
                format!("expected an {} value as indicated by `ipFamilies[{}]`", family.str(), 0);
            errors.push(Error::invalid(&item.path, address, detail));
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
    if !health.is_empty() && !needs_health_check_port(spec.value) {
        let detail =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        health.invalid(errors, detail);
    }
    let internal = spec.get("internalTrafficPolicy");
    if matches!(spec.get("type").str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        internal.one_of(errors, &["Cluster", "Local"]);
    } else {
        internal.may_be_one_of(errors, &["Cluster", "Local"]);
    }
    spec.get("trafficDistribution")
        .may_be_one_of(errors, &["PreferClose", "PreferSameNode", "PreferSameZone"]);
}

/// Where a load balancer is reached.
pub(super) fn status(service: &Value, errors: &mut ErrorList) {
    let ingress = At::root(service).get("status").get("loadBalancer").get("ingress");
    let kind = At::root(service).get("spec").get("type");
    if !ingress.is_empty() && kind.str() != "LoadBalancer" {
        ingress.forbidden(errors, "may only be used when `spec.type` is \"LoadBalancer\"");
        return;
    }
    for entry in ingress.list() {
        let (ip, mode, host) = (entry.get("ip"), entry.get("ipMode"), entry.get("hostname"));
        ip.may_form(errors, names::ip_address);
        match (ip.is_empty(), mode.is_set()) {
            (false, false) => mode.required(errors, "must be specified when `ip` is set"),
            (true, true) => mode.forbidden(errors, "may not be specified when `ip` is not set"),
            _ => {}
        }
        if mode.is_set() && !matches!(mode.str(), "VIP" | "Proxy") {
            mode.unsupported(errors, &["Proxy", "VIP"]);
        }
        host.may_form(errors, names::dns1123_subdomain);
        if host.str().parse::<std::net::IpAddr>().is_ok() {
            host.invalid(errors, "must be a DNS name, not an IP address");
        }
    }
}
