//! What users are told about Services that are accepted.

use machinery::{Value, meta};

use crate::cursor::At;
use crate::kinds::addresses::{odd_address, odd_range};

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
    if !matches!(spec.get("clusterIP").str(), "" | "None") {
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
        odd_range(&range, range.str()).iter().for_each(|text| say(text));
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
