//! Rules for a Service.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use serde_json::json;

use super::{externally_accessible, needs_health_check_port};
use crate::cursor::At;
use crate::kinds::pod::containers::port as check_port;
use crate::object_meta;

const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];

pub(super) fn check(service: &Value, errors: &mut ErrorList) {
    let spec = At::root(service).get("spec");
    let kind = spec.get("type");
    let ips = spec.get("clusterIPs");
    let headless = ips.items().first().is_some_and(|ip| ip.as_str() == Some("None"));
    let ports = spec.get("ports");
    match kind.str() {
        "" => {}
        "LoadBalancer" => {
            for port in ports.list() {
                if port.get("port").int() == Some(10250) {
                    // The kubelet's own port on nodes whose load balancer is the node.
                    let number = port.get("port");
                    number.invalid(
                        errors,
                        "may not expose port 10250 externally since it is used by kubelet",
                    );
                }
            }
            if headless {
                ips_invalid(&ips, "may not be set to 'None' for LoadBalancer services", errors);
            }
        }
        "NodePort" if headless => {
            ips_invalid(&ips, "may not be set to 'None' for NodePort services", errors);
        }
        "ExternalName" => {
            if !spec.get("clusterIP").is_empty() || !ips.is_empty() {
                ips.forbidden(errors, "may not be set for ExternalName services");
            }
            for field in ["ipFamilies", "ipFamilyPolicy"] {
                if spec.get(field).is_set() {
                    spec.get(field).forbidden(errors, "may not be set for ExternalName services");
                }
            }
            let name = spec.get("externalName");
            let plain = name.str().strip_suffix('.').unwrap_or(name.str());
            if plain.is_empty() {
                name.required(errors, "");
            } else {
                for message in names::dns1123_subdomain(plain) {
                    name.invalid(errors, message);
                }
            }
        }
        _ => {}
    }
    self::ports(&ports, headless, kind.str(), errors);
    object_meta::labels(&spec.get("selector"), errors);
    spec.get("sessionAffinity").one_of(errors, &["ClientIP", "None"]);
    if spec.get("sessionAffinity").str() == "ClientIP" {
        let timeout = spec.get("sessionAffinityConfig").get("clientIP").get("timeoutSeconds");
        if !timeout.int().is_some_and(|n| n > 0 && n <= 86400) {
            timeout.invalid(errors, "must be greater than 0 and less than 86400");
        }
    }
    addresses(&spec, errors);
    kind.one_of(errors, &TYPES);
    for ip in spec.get("externalIPs").list() {
        let before = errors.len();
        ip.form(errors, names::ip_address);
        if errors.len() == before {
            not_special(&ip, errors);
        }
    }
    let node_port_kinds = ["NodePort", "LoadBalancer"];
    if !node_port_kinds.contains(&kind.str()) {
        for port in ports.list() {
            let number = port.get("nodePort");
            if !number.is_empty() {
                number
                    .forbidden(errors, format!("may not be used when `type` is '{}'", kind.str()));
            }
        }
    }
    duplicates(&ports, errors);
    let ranges = spec.get("loadBalancerSourceRanges");
    if !ranges.is_empty() {
        if kind.str() != "LoadBalancer" {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            ranges.forbidden(errors, detail);
        }
        for range in ranges.list() {
            for message in names::cidr(range.str().trim()) {
                range.invalid(errors, message);
            }
        }
    }
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if kind.str() == "LoadBalancer" {
        if !allocate.is_set() {
            allocate.required(errors, "");
        }
    } else if allocate.is_set() {
        allocate.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
    }
    let class = spec.get("loadBalancerClass");
    if class.is_set() {
        if kind.str() != "LoadBalancer" {
            class.forbidden(errors, "may only be used when `type` is 'LoadBalancer'");
        }
        class.form(errors, names::qualified_name);
    }
    traffic(&spec, errors);
}

fn ips_invalid(ips: &At<'_>, detail: &str, errors: &mut ErrorList) {
    errors.push(Error::invalid(&ips.path.index(0), "None", detail));
}

fn ports(ports: &At<'_>, headless: bool, kind: &str, errors: &mut ErrorList) {
    if ports.is_empty() && !headless && kind != "ExternalName" {
        ports.required(errors, "");
    }
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
    // Upstream shows the internal form of a port here.
    let shown = |protocol: &str, port: i64, node_port: i64| {
        json!({"Name": "", "Protocol": protocol, "AppProtocol": null, "Port": port,
            "TargetPort": 0, "NodePort": node_port})
    };
    let mut node_ports = BTreeSet::new();
    for port in ports.list() {
        let (protocol, number) = key(&port, "nodePort");
        if number != 0 && !node_ports.insert((protocol.clone(), number)) {
            let path = port.path.child("nodePort");
            errors.push(Error::duplicate(&path, shown(&protocol, 0, number)));
        }
    }
    let mut numbers = BTreeSet::new();
    for port in ports.list() {
        let (protocol, number) = key(&port, "port");
        if !numbers.insert((protocol.clone(), number)) {
            errors.push(Error::duplicate(&port.path, shown(&protocol, number, 0)));
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
        if policy.is_empty() {
            let detail = "ExternalTrafficPolicy must be set for externally-accessible services";
            policy.required(errors, detail);
        } else {
            policy.may_be_one_of(errors, &["Cluster", "Local"]);
        }
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
    }
    spec.get("trafficDistribution")
        .may_be_one_of(errors, &["PreferClose", "PreferSameNode", "PreferSameZone"]);
}
