//! Which IP families, addresses and ports a Service needs.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use serde_json::json;

use super::{
    has_node_ports, kind, needs_cluster_ip, needs_health_check_port, needs_node_port, rules,
};
use crate::cursor::{At, same};

/// A version of the Internet Protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What is to be handed out to a Service, and what it gives back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Addresses to hand out, in the order of `spec.clusterIPs`.
    pub cluster_ips: Vec<IpNeed>,
    /// Node ports to hand out.
    pub node_ports: Vec<PortNeed>,
    /// Whether a health check node port is needed, and which one is asked for.
    pub health_check_port: Option<Option<u16>>,
    /// Addresses that are given back.
    pub release_cluster_ips: Vec<String>,
    /// Node ports that are given back, with their protocols.
    pub release_node_ports: Vec<(String, u16)>,
}

/// An address to hand out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpNeed {
    /// Position in `spec.clusterIPs`.
    pub index: usize,
    /// Its family.
    pub family: Family,
    /// The address that the client asks for.
    pub wanted: Option<String>,
}

/// A node port to hand out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortNeed {
    /// Position in `spec.ports`.
    pub index: usize,
    /// Its protocol; ports of different protocols do not conflict.
    pub protocol: String,
    /// The port that the client asks for.
    pub wanted: Option<u16>,
}

// === impl Family ===

impl Family {
    /// As in `spec.ipFamilies`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// From `spec.ipFamilies`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "IPv4" => Some(Self::V4),
            "IPv6" => Some(Self::V6),
            _ => None,
        }
    }

    /// The family of an address.
    pub fn of(address: &str) -> Self {
        if address.contains(':') { Self::V6 } else { Self::V4 }
    }

    const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// Fills in `ipFamilyPolicy` and `ipFamilies` for a cluster with the given families, the main one
/// first, and says what cannot be had there.
pub fn init_families(service: &mut Value, old: Option<&Value>, cluster: &[Family]) -> ErrorList {
    let mut errors = ErrorList::new();
    // What follows counts on addresses and families that fit each other.
    rules::cluster_ips(service, old, &mut errors);
    if !errors.is_empty() {
        return errors;
    }
    let null = Value::Null;
    let before = old.and_then(|o| o.get("spec")).unwrap_or(&null);
    let Some(spec) = service.get_mut("spec").filter(|s| s.is_object()) else { return errors };
    if kind(spec) == "ExternalName" {
        return errors;
    }
    if prefers_as_before(spec, before) {
        return errors;
    }
    let headless = spec.get("clusterIP").and_then(Value::as_str) == Some("None");
    let selects = spec.get("selector").and_then(Value::as_object).is_some_and(|s| !s.is_empty());
    let loose = headless && !selects;
    if spec.get("ipFamilyPolicy").is_none_or(Value::is_null) {
        let policy = match before.get("ipFamilyPolicy").filter(|p| !p.is_null()) {
            Some(policy) => policy.clone(),
            None if loose => json!("RequireDualStack"),
            None => json!("SingleStack"),
        };
        spec["ipFamilyPolicy"] = policy;
    }
    let policy = spec["ipFamilyPolicy"].as_str().unwrap_or_default().to_owned();
    let list = |spec: &Value, field: &str| {
        spec.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let path = machinery::field::Path::new("spec");
    let policy_wrong = |errors: &mut ErrorList, detail: &str| {
        errors.push(Error::invalid(&path.child("ipFamilyPolicy"), policy.as_str(), detail));
    };
    if before.is_object() {
        for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
            let (mut now, then) = (list(spec, field), list(before, field));
            if policy == "SingleStack" {
                if now == then && now.len() > 1 {
                    now.truncate(1);
                    spec[field] = Value::Array(now);
                }
            } else if !now.is_empty() && now.len() == 1 && then.len() == 2 && now[0] == then[0] {
                let detail = format!("must be 'SingleStack' to release the secondary {what}");
                policy_wrong(&mut errors, &detail);
            }
        }
    }
    let ips = list(spec, "clusterIPs");
    let mut families: Vec<String> =
        list(spec, "ipFamilies").iter().filter_map(|f| f.as_str().map(str::to_owned)).collect();
    if policy == "SingleStack" {
        let rule = "must be 'RequireDualStack' or 'PreferDualStack' when multiple";
        if ips.len() == 2 {
            policy_wrong(&mut errors, &format!("{rule} cluster IPs are specified"));
        }
        if families.len() == 2 {
            policy_wrong(&mut errors, &format!("{rule} IP families are specified"));
        }
    }
    for (i, ip) in ips.iter().enumerate() {
        let ip = ip.as_str().unwrap_or_default();
        if ip == "None" || ip.is_empty() {
            break;
        }
        if i >= families.len() {
            let family = Family::of(ip);
            if cluster.contains(&family) {
                families.push(family.name().to_owned());
            } else {
                let detail = format!("{} is not configured on this cluster", family.name());
                let path = path.child("clusterIPs").index(i);
                errors.push(Error::invalid(&path, Value::Array(ips.clone()), detail));
            }
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    let Some(main) = cluster.first() else { return errors };
    if !loose {
        if policy == "RequireDualStack" && cluster.len() < 2 {
            policy_wrong(&mut errors, "this cluster is not configured for dual-stack services");
        }
        for (i, family) in families.iter().enumerate() {
            if !Family::from_name(family).is_some_and(|f| cluster.contains(&f)) {
                let path = path.child("ipFamilies").index(i);
                let detail = "not configured on this cluster";
                errors.push(Error::invalid(&path, family.as_str(), detail));
            }
        }
        if !errors.is_empty() {
            return errors;
        }
    }
    if families.is_empty() {
        families.push(main.name().to_owned());
    }
    if policy != "SingleStack" && families.len() == 1 && (loose || cluster.len() == 2) {
        let other = Family::from_name(&families[0]).unwrap_or(*main).other();
        families.push(other.name().to_owned());
    }
    spec["ipFamilies"] = json!(families);
    errors
}

/// Services that prefer two families are neither upgraded nor downgraded behind the user's back.
fn prefers_as_before(spec: &Value, before: &Value) -> bool {
    let null = Value::Null;
    let prefers =
        |v: &Value| v.get("ipFamilyPolicy").and_then(Value::as_str) == Some("PreferDualStack");
    let kept =
        |field: &str| same(spec.get(field).unwrap_or(&null), before.get(field).unwrap_or(&null));
    prefers(spec) && prefers(before) && kept("clusterIPs") && kept("ipFamilies") && {
        let ips = spec.get("clusterIPs").and_then(Value::as_array);
        ips.is_some_and(|ips| !ips.is_empty())
    }
}

/// What a new or changed Service needs. Families must be settled before.
pub fn allocation_needs(new: &Value, old: Option<&Value>) -> Needs {
    let null = Value::Null;
    let spec = new.get("spec").unwrap_or(&null);
    let before = old.and_then(|o| o.get("spec")).unwrap_or(&null);
    let mut needs = Needs::default();
    cluster_ips(spec, before, &mut needs);
    node_ports(spec, before, &mut needs);
    let number = |v: &Value| {
        let port = v.get("healthCheckNodePort").and_then(Value::as_u64).unwrap_or(0);
        u16::try_from(port).ok().filter(|p| *p != 0)
    };
    let had = number(before).filter(|_| needs_health_check_port(before));
    if needs_health_check_port(spec) {
        let wanted = number(spec);
        if wanted.is_none() || wanted != had {
            needs.health_check_port = Some(wanted);
        }
    }
    if let Some(port) = had.filter(|p| !needs_health_check_port(spec) || number(spec) != Some(*p)) {
        needs.release_node_ports.push(("TCP".to_owned(), port));
    }
    needs
}

fn texts(spec: &Value, field: &str) -> Vec<String> {
    let items = spec.get(field).and_then(Value::as_array);
    items.into_iter().flatten().filter_map(|t| t.as_str().map(str::to_owned)).collect()
}

fn cluster_ips(spec: &Value, before: &Value, needs: &mut Needs) {
    let real = |spec: &Value| -> Vec<String> {
        if !needs_cluster_ip(spec) {
            return Vec::new();
        }
        texts(spec, "clusterIPs").into_iter().filter(|ip| ip != "None" && !ip.is_empty()).collect()
    };
    let (had, has) = (real(before), real(spec));
    let headless = texts(spec, "clusterIPs").first().is_some_and(|ip| ip == "None");
    if needs_cluster_ip(spec) && !headless {
        for (index, family) in texts(spec, "ipFamilies").iter().enumerate() {
            let Some(family) = Family::from_name(family) else { continue };
            let wanted = has.get(index).cloned();
            if wanted.as_ref().is_some_and(|ip| had.contains(ip)) {
                continue;
            }
            needs.cluster_ips.push(IpNeed { index, family, wanted });
        }
    }
    needs.release_cluster_ips = had.into_iter().filter(|ip| !has.contains(ip)).collect();
}

fn node_ports(spec: &Value, before: &Value, needs: &mut Needs) {
    let ports = |spec: &Value| -> Vec<(usize, String, Option<u16>)> {
        let list = At::root(spec).get("ports");
        list.list()
            .enumerate()
            .map(|(i, port)| {
                let number = u16::try_from(port.get("nodePort").int_or_zero()).ok();
                (i, port.get("protocol").str().to_owned(), number.filter(|n| *n != 0))
            })
            .collect()
    };
    let mut had: Vec<(String, u16)> = Vec::new();
    if has_node_ports(before) {
        had.extend(ports(before).into_iter().filter_map(|(_, protocol, n)| Some((protocol, n?))));
    }
    let mut kept = Vec::new();
    // A load balancer without automatic ports may still name some.
    if has_node_ports(spec) {
        for (index, protocol, wanted) in ports(spec) {
            match wanted {
                Some(n) if had.contains(&(protocol.clone(), n)) => kept.push((protocol, n)),
                Some(_) => needs.node_ports.push(PortNeed { index, protocol, wanted }),
                None if needs_node_port(spec) => {
                    needs.node_ports.push(PortNeed { index, protocol, wanted });
                }
                None => {}
            }
        }
    }
    had.retain(|port| !kept.contains(port));
    needs.release_node_ports = had;
}

/// Writes an address that was handed out.
pub fn set_cluster_ip(service: &mut Value, index: usize, address: &str) {
    let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if index == 0 {
        spec.insert("clusterIP".to_owned(), json!(address));
    }
    let ips = spec.entry("clusterIPs").or_insert_with(|| json!([]));
    if !ips.is_array() {
        *ips = json!([]);
    }
    if let Some(ips) = ips.as_array_mut() {
        if ips.len() <= index {
            ips.resize(index + 1, json!(""));
        }
        ips[index] = json!(address);
    }
}

/// Writes a node port that was handed out.
pub fn set_node_port(service: &mut Value, index: usize, port: u16) {
    if let Some(entry) = service.pointer_mut(&format!("/spec/ports/{index}")) {
        entry["nodePort"] = json!(port);
    }
}

/// Writes a health check node port that was handed out.
pub fn set_health_check_port(service: &mut Value, port: u16) {
    if let Some(spec) = service.get_mut("spec").filter(|s| s.is_object()) {
        spec["healthCheckNodePort"] = json!(port);
    }
}
