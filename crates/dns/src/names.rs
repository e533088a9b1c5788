//! Parsing of queried names into what they ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::Name;

/// What a name below the cluster's domain stands for, following
/// <https://github.com/kubernetes/dns/blob/master/docs/specification.md>.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The domain itself.
    Apex,
    /// `svc`, `pod` or `dns`: names that exist because others are below them.
    Branch,
    /// `ns.dns`: the name server.
    NameServer,
    /// `dns-version`.
    Version,
    /// `NAMESPACE.svc` or `NAMESPACE.pod`.
    Namespace(String),
    /// `SERVICE.NAMESPACE.svc`.
    Service {
        /// The namespace.
        namespace: String,
        /// The Service.
        service: String,
    },
    /// `HOST.SERVICE.NAMESPACE.svc`.
    Endpoint {
        /// The namespace.
        namespace: String,
        /// The Service.
        service: String,
        /// The host name, or the dashed address.
        host: String,
    },
    /// `_PORT._PROTOCOL.SERVICE.NAMESPACE.svc`, or `_PROTOCOL.SERVICE…` with no port.
    Port {
        /// The namespace.
        namespace: String,
        /// The Service.
        service: String,
        /// The port's name without underscore; `None` for all of the protocol.
        port: Option<String>,
        /// `tcp`, `udp` or `sctp`.
        protocol: String,
    },
    /// `1-2-3-4.NAMESPACE.pod`.
    Pod {
        /// The namespace.
        namespace: String,
        /// The address spelled by the name.
        address: IpAddr,
    },
    /// Nothing that could exist.
    Nothing,
}

/// What `name` asks for in `domain`; `None` when it is not below it. Both are compared without regard
/// to case.
pub fn parse(name: &Name, domain: &Name) -> Option<Asked> {
    if !domain.zone_of(name) {
        return None;
    }
    let depth = usize::from(name.num_labels() - domain.num_labels());
    let labels: Option<Vec<String>> = name
        .iter()
        .take(depth)
        .map(|label| std::str::from_utf8(label).ok().map(str::to_ascii_lowercase))
        .collect();
    let Some(labels) = labels else { return Some(Asked::Nothing) };
    let labels: Vec<&str> = labels.iter().rev().map(String::as_str).collect();
    let own = |text: &str| text.to_owned();
    Some(match labels[..] {
        [] => Asked::Apex,
        ["svc" | "pod" | "dns"] => Asked::Branch,
        ["dns", "ns"] => Asked::NameServer,
        ["dns-version"] => Asked::Version,
        ["svc" | "pod", namespace] => Asked::Namespace(own(namespace)),
        ["pod", namespace, address] => match undashed(address) {
            Some(address) => Asked::Pod { namespace: own(namespace), address },
            None => Asked::Nothing,
        },
        ["svc", namespace, service] => {
            Asked::Service { namespace: own(namespace), service: own(service) }
        }
        ["svc", namespace, service, below] => {
            let (namespace, service) = (own(namespace), own(service));
            match below.strip_prefix('_') {
                Some(protocol) => {
                    Asked::Port { namespace, service, port: None, protocol: own(protocol) }
                }
                None => Asked::Endpoint { namespace, service, host: own(below) },
            }
        }
        ["svc", namespace, service, protocol, port] => {
            match (protocol.strip_prefix('_'), port.strip_prefix('_')) {
                (Some(protocol), Some(port)) => Asked::Port {
                    namespace: own(namespace),
                    service: own(service),
                    port: Some(own(port)),
                    protocol: own(protocol),
                },
                _ => Asked::Nothing,
            }
        }
        _ => Asked::Nothing,
    })
}

/// The address in a reverse name such as `1.0.96.10.in-addr.arpa`; `None` for anything else, also for
/// names of whole networks.
pub fn reverse(name: &Name) -> Option<IpAddr> {
    let labels: Option<Vec<String>> = name
        .iter()
        .map(|label| std::str::from_utf8(label).ok().map(str::to_ascii_lowercase))
        .collect();
    let labels = labels?;
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match labels[..] {
        [d, c, b, a, "in-addr", "arpa"] => {
            let byte = |text: &str| text.parse::<u8>().ok();
            Some(IpAddr::V4(Ipv4Addr::new(byte(a)?, byte(b)?, byte(c)?, byte(d)?)))
        }
        [ref nibbles @ .., "ip6", "arpa"] if nibbles.len() == 32 => {
            let mut bits = 0_u128;
            for nibble in nibbles.iter().rev() {
                let single = (nibble.len() == 1).then_some(nibble)?;
                bits = bits << 4 | u128::from(u8::from_str_radix(single, 16).ok()?);
            }
            Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
        }
        _ => None,
    }
}

/// An address as a label: dots and colons become dashes.
pub fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

fn undashed(label: &str) -> Option<IpAddr> {
    if let Ok(v4) = label.replace('-', ".").parse::<Ipv4Addr>() {
        return Some(IpAddr::V4(v4));
    }
    label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}
