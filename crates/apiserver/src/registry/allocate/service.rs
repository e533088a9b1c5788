//! Hands out to a Service what [`resources::service`] says that it needs.

use std::collections::HashSet;
use std::net::IpAddr;

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use resources::service::{
    IpNeed, PortNeed, allocation_needs, init_families, set_cluster_ip, set_health_check_port,
    set_node_port,
};

use super::Unit;
use super::pool::Pools;

fn port(value: Option<&Value>) -> Option<u16> {
    value?.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)
}

/// What a Service has of what can be had only once.
pub(super) fn units(service: &Value) -> impl Iterator<Item = Unit> {
    let mut units = HashSet::new();
    let spec = &service["spec"];
    if spec.is_object() && spec["type"] != "ExternalName" {
        let listed = spec.get("clusterIPs").and_then(Value::as_array).into_iter().flatten();
        let ips = listed.chain(spec.get("clusterIP")).filter_map(Value::as_str);
        units.extend(ips.filter_map(|ip| ip.parse().ok()).map(Unit::Ip));
        let ports = spec.get("ports").and_then(Value::as_array).into_iter().flatten();
        let node_ports = ports.map(|entry| entry.get("nodePort"));
        let health = [spec.get("healthCheckNodePort")];
        units.extend(node_ports.chain(health).filter_map(port).map(Unit::Port));
    }
    units.into_iter()
}

/// Why a Service does not get what it needs.
#[derive(Debug, PartialEq)]
pub(super) enum Problem {
    /// The Service asks for the wrong thing.
    Invalid(ErrorList),
    /// There is nothing left.
    Exhausted(String),
}

/// Allocates what is open and takes what is asked for.
pub(super) fn fill_in(
    service: &mut Value,
    old: Option<&Value>,
    pools: &mut Pools<'_>,
) -> Result<(), Problem> {
    let errors = init_families(service, old, pools.families);
    if !errors.is_empty() {
        return Err(Problem::Invalid(errors));
    }
    let needs = allocation_needs(service, old);
    for need in &needs.cluster_ips {
        cluster_ip(service, need, pools)?;
    }
    // One number may serve several protocols of the same Service.
    let mut own: HashSet<Unit> = old.map(|old| units(old).collect()).unwrap_or_default();
    let (asked, open): (Vec<&PortNeed>, Vec<&PortNeed>) =
        needs.node_ports.iter().partition(|need| need.wanted.is_some());
    for need in asked {
        let Some(number) = need.wanted else { continue };
        if own.insert(Unit::Port(number)) {
            let path = Path::new("spec").child("ports").index(need.index).child("nodePort");
            let taken = pools.take_port(number);
            taken.map_err(|refusal| invalid(Error::invalid(&path, number, refusal.to_string())))?;
        }
    }
    for need in open {
        let given = twin(service, need).map_or_else(|| pools.any_port(), Ok);
        let exhausted =
            |refusal| Problem::Exhausted(format!("failed to allocate a nodePort: {refusal}"));
        set_node_port(service, need.index, given.map_err(exhausted)?);
    }
    match needs.health_check_port {
        Some(wanted) => health_check_port(service, wanted, pools),
        None => Ok(()),
    }
}

fn invalid(error: Error) -> Problem {
    let mut errors = ErrorList::new();
    errors.push(error);
    Problem::Invalid(errors)
}

fn cluster_ip(service: &mut Value, need: &IpNeed, pools: &mut Pools<'_>) -> Result<(), Problem> {
    let Some(wanted) = &need.wanted else {
        let exhausted =
            |refusal| Problem::Exhausted(format!("failed to allocate a serviceIP: {refusal}"));
        let ip = pools.any_ip(need.family).map_err(exhausted)?;
        set_cluster_ip(service, need.index, &ip.to_string());
        return Ok(());
    };
    // What is no address is left to validation.
    let Ok(ip) = wanted.parse::<IpAddr>() else { return Ok(()) };
    pools.take_ip(ip).map_err(|refusal| {
        let path = Path::new("spec").child("clusterIPs");
        let all = service["spec"]["clusterIPs"].clone();
        invalid(Error::invalid(&path, all, format!("failed to allocate IP {ip}: {refusal}")))
    })
}

/// The node port that the same port has under another protocol.
fn twin(service: &Value, need: &PortNeed) -> Option<u16> {
    let ports = service["spec"]["ports"].as_array()?;
    let number = ports.get(need.index)?.get("port")?;
    ports.iter().find_map(|other| {
        let node_port = port(other.get("nodePort"))?;
        let protocol = other.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        (other.get("port") == Some(number) && protocol != need.protocol).then_some(node_port)
    })
}

fn health_check_port(
    service: &mut Value,
    wanted: Option<u16>,
    pools: &mut Pools<'_>,
) -> Result<(), Problem> {
    match wanted {
        Some(number) => pools.take_port(number).map_err(|refusal| {
            let what = "failed to allocate requested HealthCheck NodePort";
            Problem::Exhausted(format!("{what} {number}: {refusal}"))
        }),
        None => {
            let exhausted = |refusal| {
                Problem::Exhausted(format!("failed to allocate a HealthCheck NodePort: {refusal}"))
            };
            set_health_check_port(service, pools.any_port().map_err(exhausted)?);
            Ok(())
        }
    }
}
