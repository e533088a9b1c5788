//! What is wrong with addresses and ports, and what is to be done about it.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use machinery::time::Timestamp;
use machinery::{Value, meta, time};

use crate::registry::allocate::network::{Network, PortRange};
use crate::registry::allocate::{
    FAMILY, MANAGED_BY, MANAGER, family_name, parent_service, refers_to,
};

/// An address without Service may belong to one that is still being created.
const GRACE_SECONDS: i64 = 60;
/// How often a port must be found unused before it is given back.
const LEAK_LOOKS: u8 = 3;

/// A change that puts something right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Make the IPAddress of a Service.
    Create(IpAddr),
    /// Make it anew.
    Recreate(IpAddr),
    /// Remove an IPAddress.
    Delete,
}

/// What is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What to do; nothing where a person has to.
    pub(super) step: Option<Step>,
    /// Reason and message of the event.
    pub(super) event: Option<(&'static str, String)>,
}

fn finding(step: Option<Step>, reason: &'static str, note: String) -> Finding {
    Finding { step, event: Some((reason, note)) }
}

/// What a plan may look up.
pub(super) struct View<'a> {
    pub(super) networks: &'a [Network],
    pub(super) address: &'a dyn Fn(&str) -> Option<Value>,
    pub(super) service: &'a dyn Fn(&str, &str) -> Option<Value>,
}

fn cluster_ips(service: &Value) -> impl Iterator<Item = &str> {
    let ips = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
    ips.into_iter().flatten().filter_map(Value::as_str)
}

/// Every cluster IP of a Service has its IPAddress.
pub(super) fn service(service: &Value, view: &View<'_>) -> Vec<Finding> {
    if service.pointer("/spec/type").and_then(Value::as_str) == Some("ExternalName") {
        return Vec::new();
    }
    let set = cluster_ips(service).filter(|ip| !ip.is_empty() && *ip != "None");
    set.filter_map(|text| {
        let Ok(ip) = text.parse::<IpAddr>() else {
            let note = format!("Cluster IP {text} is not a valid IP; please recreate Service");
            return Some(finding(None, "ClusterIPNotValid", note));
        };
        cluster_ip(service, ip, view)
    })
    .collect()
}

fn cluster_ip(service: &Value, ip: IpAddr, view: &View<'_>) -> Option<Finding> {
    let family = family_name(ip);
    if !view.networks.iter().any(|network| network.contains(ip)) {
        let note = format!(
            "Cluster IP [{family}]: {ip} is not within any configured Service CIDR; please recreate service"
        );
        return Some(finding(None, "ClusterIPOutOfRange", note));
    }
    let Some(address) = (view.address)(&ip.to_string()) else {
        let note = format!("Cluster IP [{family}]: {ip} is not allocated; repairing");
        return Some(finding(Some(Step::Create(ip)), "ClusterIPNotAllocated", note));
    };
    if !refers_to(&address, service) {
        let owner = parent_service(&address).and_then(|(ns, name)| (view.service)(ns, name));
        let Some(owner) = owner else {
            let note = format!(
                "the ClusterIP [{family}]: {ip} for Service {}/{} has a wrong reference; repairing",
                meta::namespace(service),
                meta::name(service)
            );
            return Some(finding(Some(Step::Recreate(ip)), "ClusterIPNotAllocated", note));
        };
        if cluster_ips(&owner).any(|other| other.parse() == Ok(ip)) {
            let note = format!(
                "Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service"
            );
            return Some(finding(None, "ClusterIPAlreadyAllocated", note));
        }
    }
    let labelled = meta::label(&address, MANAGED_BY) == Some(MANAGER)
        && meta::label(&address, FAMILY) == Some(family);
    (!labelled).then_some(Finding { step: Some(Step::Recreate(ip)), event: None })
}

/// Every IPAddress that the allocator made has its Service.
pub(super) fn address(address: &Value, view: &View<'_>, now: Timestamp) -> Option<Finding> {
    if meta::label(address, MANAGED_BY) != Some(MANAGER) {
        return None;
    }
    let name = meta::name(address);
    let delete = |reason, note| Some(finding(Some(Step::Delete), reason, note));
    let Some((namespace, service)) = parent_service(address) else {
        let parent = &address["spec"]["parentRef"];
        let note = format!(
            "IPAddress {name} appears to have been modified, not referencing a Service {parent}: cleaning up"
        );
        return delete("IPAddressNotAllocated", note);
    };
    let Some(owner) = (view.service)(namespace, service) else {
        let created = meta::creation_timestamp(address).and_then(time::parse);
        if created.is_some_and(|created| now.as_second() - created.as_second() <= GRACE_SECONDS) {
            return None;
        }
        let note = format!(
            "IPAddress: {name} for Service {namespace}/{service} appears to have leaked: cleaning up"
        );
        return delete("IPAddressNotAllocated", note);
    };
    if cluster_ips(&owner).any(|ip| ip == name) {
        return None;
    }
    let note = format!(
        "IPAddress: {name} for Service {namespace}/{service} has a wrong reference; cleaning up"
    );
    delete("IPAddressWrongReference", note)
}

/// Ports that seem to belong to nobody, with how often they may still be found so.
pub(super) type Leaks = HashMap<u16, u8>;

/// The ports that the record should hold, and what is wrong with Services: their position in
/// `services`, reason and message.
pub(super) fn ports(
    stored: Option<&BTreeSet<u16>>,
    services: &[Value],
    range: &PortRange,
    leaks: &mut Leaks,
) -> (BTreeSet<u16>, Vec<(usize, &'static str, String)>) {
    let mut used = BTreeSet::new();
    let mut events = Vec::new();
    for (i, service) in services.iter().enumerate() {
        for port in node_ports(service) {
            if !range.contains(port) {
                let note = format!(
                    "Port {port} is not within the port range {range}; please recreate service"
                );
                events.push((i, "PortOutOfRange", note));
            } else if !used.insert(port) {
                let note = format!(
                    "Port {port} was assigned to multiple services; please recreate service"
                );
                events.push((i, "PortAlreadyAllocated", note));
            } else {
                // Without a record everything is taken over as it is.
                if stored.is_some_and(|stored| !stored.contains(&port)) {
                    let note = format!("Port {port} is not allocated; repairing");
                    events.push((i, "PortNotAllocated", note));
                }
                leaks.remove(&port);
            }
        }
    }
    for port in stored.into_iter().flatten() {
        if used.contains(port) || !range.contains(*port) {
            continue;
        }
        let looks = leaks.entry(*port).or_insert(LEAK_LOOKS - 1);
        if *looks > 0 {
            *looks -= 1;
            used.insert(*port);
        } else {
            leaks.remove(port);
        }
    }
    (used, events)
}

/// A port counts once for all protocols, and again when a protocol has it twice.
fn node_ports(service: &Value) -> Vec<u16> {
    let mut ports: Vec<u16> = Vec::new();
    let mut seen: Vec<(u16, &str)> = Vec::new();
    let number = |value: Option<&Value>| {
        value.and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok()).filter(|n| *n != 0)
    };
    let entries = service.pointer("/spec/ports").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let Some(port) = number(entry.get("nodePort")) else { continue };
        let protocol = entry.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        if seen.contains(&(port, protocol)) || !ports.contains(&port) {
            ports.push(port);
        }
        seen.push((port, protocol));
    }
    if let Some(port) = number(service.pointer("/spec/healthCheckNodePort"))
        && (!ports.contains(&port) || seen.contains(&(port, "TCP")))
    {
        ports.push(port);
    }
    ports
}

#[cfg(test)]
mod tests;
