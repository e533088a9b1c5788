//! What users are told about Services that are accepted.

use std::net::IpAddr;

use machinery::field::quote;
use machinery::{Value, meta};

use crate::cursor::At;

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";

pub(super) fn of(service: &Value) -> Vec<String> {
    let mut given = Vec::new();
    let mut say = |text: &str| given.push(text.to_owned());
    let spec = At::root(service).get("spec");
    let kind = spec.get("type").str();
    let headless = kind == "ClusterIP" && spec.get("clusterIP").str() == "None";
    let external = spec.get("externalIPs");
    if meta::annotation(service, HINTS).is_some() {
        say(&format!(
            "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    if kind != "ExternalName" && !headless {
        spec.get("clusterIPs").list().filter_map(|ip| odd_address(&ip)).for_each(|text| say(&text));
    }
    if headless {
        if !spec.get("loadBalancerIP").is_empty() {
            say("spec.loadBalancerIP is ignored for headless services");
        }
        if !external.is_empty() {
            say("spec.externalIPs is ignored for headless services");
        }
        if spec.get("sessionAffinity").str() != "None" {
            say("spec.SessionAffinity is ignored for headless services");
        }
    }
    external.list().filter_map(|ip| odd_address(&ip)).for_each(|text| say(&text));
    if !external.is_empty() && !headless && kind != "ExternalName" {
        say("spec.externalIPs is deprecated and may no longer be implemented in some clusters");
    }
    odd_address(&spec.get("loadBalancerIP")).iter().for_each(|text| say(text));
    for range in spec.get("loadBalancerSourceRanges").list() {
        odd_range(&range).iter().for_each(|text| say(text));
    }
    if kind == "ExternalName" && !external.is_empty() {
        say("spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    }
    if kind != "ExternalName" && !spec.get("externalName").is_empty() {
        say("spec.externalName is ignored when spec.type is not \"ExternalName\"");
    }
    if spec.get("trafficDistribution").str() == "PreferClose" {
        say("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"");
    }
    given
}

/// An address that has a better spelling.
fn odd_address(ip: &At<'_>) -> Option<String> {
    let address: IpAddr = ip.str().parse().ok()?;
    let (path, given) = (&ip.path, quote(ip.str()));
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let better = quote(&v4.to_string());
        return Some(format!(
            "{path}: non-standard IP address {given} will be considered invalid in a future \
             Kubernetes release: use {better}"
        ));
    }
    let better = address.to_string();
    (better != ip.str()).then(|| {
        let better = quote(&better);
        format!("{path}: IPv6 address {given} should be in RFC 5952 canonical format ({better})")
    })
}

/// A range with bits behind its prefix, or one that has a better spelling.
fn odd_range(range: &At<'_>) -> Option<String> {
    let (address, bits) = range.str().trim().split_once('/')?;
    let (address, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
    let (masked, width) = match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            (IpAddr::V4((ip.to_bits() & mask).into()), 32)
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            (IpAddr::V6((ip.to_bits() & mask).into()), 128)
        }
    };
    let (path, given) = (&range.path, quote(range.str()));
    if masked != address {
        return Some(format!(
            "{path}: CIDR value {given} is ambiguous in this context (should be \"{masked}/{bits}\" \
             or \"{address}/{width}\"?)"
        ));
    }
    let better = format!("{address}/{bits}");
    (address.is_ipv6() && better != range.str().trim()).then(|| {
        let better = quote(&better);
        format!("{path}: IPv6 CIDR value {given} should be in RFC 5952 canonical format ({better})")
    })
}
