//! A Service unfolded into its ports, one address family at a time.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;

use super::in_family;
use crate::cidr::Cidr;
use crate::model::Family;

/// Session affinity of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// Every connection picks an endpoint anew.
    None,
    /// A client address stays with its endpoint for so many seconds after its last connection.
    ClientIp(u32),
}

/// One port of one Service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub name: String,
    /// The port's name; empty when it has none.
    pub port_name: String,
    /// nft's protocol name: `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The Service's port.
    pub port: u16,
    /// The port on every node.
    pub node_port: Option<u16>,
    /// Cluster addresses of this family.
    pub cluster_ips: Vec<IpAddr>,
    /// spec.externalIPs of this family.
    pub external_ips: Vec<IpAddr>,
    /// Load-balancer addresses of this family, except those in proxy mode.
    pub load_balancer_ips: Vec<IpAddr>,
    /// spec.loadBalancerSourceRanges of this family; empty for no limit.
    pub source_ranges: Vec<Cidr>,
    /// Session affinity.
    pub affinity: Affinity,
    /// internalTrafficPolicy is Local.
    pub internal_local: bool,
    /// externalTrafficPolicy is Local.
    pub external_local: bool,
}

/// The ports of `service` that the proxy handles: none for headless and ExternalName Services and
/// for those given to another proxy.
pub fn service_ports(service: &Service, family: Family) -> Vec<ServicePort> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let labels = service.metadata.labels.as_ref();
    let foreign =
        labels.is_some_and(|l| l.contains_key("service.kubernetes.io/service-proxy-name"));
    let cluster_ip = spec.cluster_ip.as_deref().unwrap_or_default();
    if foreign
        || spec.type_.as_deref() == Some("ExternalName")
        || cluster_ip.is_empty()
        || cluster_ip == "None"
    {
        return Vec::new();
    }
    let addresses = |texts: &mut dyn Iterator<Item = &str>| -> Vec<IpAddr> {
        texts.filter_map(|t| t.parse().ok()).filter(|a| in_family(a, family)).collect()
    };
    let mut cluster_ips = addresses(&mut spec.cluster_ips.iter().flatten().map(String::as_str));
    if spec.cluster_ips.as_ref().is_none_or(Vec::is_empty) {
        cluster_ips = addresses(&mut std::iter::once(cluster_ip));
    }
    if cluster_ips.is_empty() {
        return Vec::new();
    }
    let external_ips = addresses(&mut spec.external_ips.iter().flatten().map(String::as_str));
    let ingress = service
        .status
        .as_ref()
        .and_then(|s| s.load_balancer.as_ref())
        .and_then(|l| l.ingress.as_ref());
    let load_balancer_ips = addresses(
        &mut ingress
            .into_iter()
            .flatten()
            .filter(|i| i.ip_mode.as_deref() != Some("Proxy"))
            .filter_map(|i| i.ip.as_deref()),
    );
    let source_ranges = spec
        .load_balancer_source_ranges
        .iter()
        .flatten()
        .filter_map(|r| r.trim().parse::<Cidr>().ok())
        .filter(|c| c.family() == family)
        .collect::<Vec<_>>();
    let affinity = if spec.session_affinity.as_deref() == Some("ClientIP") {
        let seconds = spec
            .session_affinity_config
            .as_ref()
            .and_then(|c| c.client_ip.as_ref())
            .and_then(|c| c.timeout_seconds)
            .and_then(|s| u32::try_from(s).ok());
        Affinity::ClientIp(seconds.unwrap_or(10_800))
    } else {
        Affinity::None
    };
    spec.ports
        .iter()
        .flatten()
        .filter_map(|port| {
            Some(ServicePort {
                namespace: service.metadata.namespace.clone().unwrap_or_default(),
                name: service.metadata.name.clone().unwrap_or_default(),
                port_name: port.name.clone().unwrap_or_default(),
                protocol: port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase(),
                port: u16::try_from(port.port).ok()?,
                node_port: port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0),
                cluster_ips: cluster_ips.clone(),
                external_ips: external_ips.clone(),
                load_balancer_ips: load_balancer_ips.clone(),
                source_ranges: source_ranges.clone(),
                affinity,
                internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
                external_local: spec.external_traffic_policy.as_deref() == Some("Local"),
            })
        })
        .collect()
}

// === impl ServicePort ===

impl ServicePort {
    /// Whether the port can be reached from outside the cluster.
    pub fn has_external(&self) -> bool {
        self.node_port.is_some()
            || !self.external_ips.is_empty()
            || !self.load_balancer_ips.is_empty()
    }

    /// `namespace/name:port`, as upstream prints a Service port.
    pub fn comment(&self) -> String {
        if self.port_name.is_empty() {
            format!("{}/{}", self.namespace, self.name)
        } else {
            format!("{}/{}:{}", self.namespace, self.name, self.port_name)
        }
    }

    /// The part of chain names that is this port's own: readable, unique, and short enough for the
    /// kernel's limit of 128 bytes including the longest prefix and an endpoint.
    pub fn chain_suffix(&self) -> String {
        let readable =
            format!("{}/{}/{}/{}", self.namespace, self.name, self.protocol, self.port_name);
        let hash = fnv1a(readable.as_bytes());
        let short: String = readable.chars().take(44).collect();
        format!("{hash:016x}-{short}")
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
