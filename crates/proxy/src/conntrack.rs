//! Forgets UDP flows whose endpoint is gone.
//!
//! A UDP flow keeps its rewritten destination for as long as packets flow, so a client with a fixed
//! port would talk to a dead endpoint for ever; TCP clients notice and connect anew. Likewise a flow
//! that began while a Service had no endpoints would never be rewritten.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::host::{Error, Host};
use crate::model::Table;
use crate::rules::{EndpointIndex, NodeFacts, ServicePort};

/// One deletion in the connection-tracking table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stale {
    /// The address that clients sent to; `None` for any (node ports).
    pub destination: Option<IpAddr>,
    /// The port that clients sent to.
    pub port: u16,
    /// Only flows rewritten to this endpoint; `None` for all.
    pub endpoint: Option<IpAddr>,
}

/// Front of a UDP Service port to the endpoints that it was rewritten to.
pub type UdpFlows = BTreeMap<(Option<IpAddr>, u16), BTreeSet<IpAddr>>;

/// The UDP fronts of `ports` and their endpoints.
pub fn udp_flows(
    ports: &[ServicePort],
    endpoints: &EndpointIndex,
    table: &Table,
    node: &NodeFacts,
) -> UdpFlows {
    let mut flows = UdpFlows::new();
    for port in ports.iter().filter(|p| p.protocol == "udp") {
        let found = endpoints.usable(port, table.family, node);
        let behind: BTreeSet<IpAddr> =
            found.cluster.iter().chain(&found.local).map(|e| e.address).collect();
        let fronts =
            port.cluster_ips.iter().chain(&port.external_ips).chain(&port.load_balancer_ips);
        for front in fronts {
            flows.entry((Some(*front), port.port)).or_default().extend(&behind);
        }
        if let Some(node_port) = port.node_port {
            flows.entry((None, node_port)).or_default().extend(&behind);
        }
    }
    flows
}

/// What must be forgotten when `old` becomes `new`.
pub fn stale(old: &UdpFlows, new: &UdpFlows) -> BTreeSet<Stale> {
    let mut found = BTreeSet::new();
    let nothing = BTreeSet::new();
    for (&(destination, port), before) in old {
        let after = new.get(&(destination, port)).unwrap_or(&nothing);
        for endpoint in before.difference(after) {
            found.insert(Stale { destination, port, endpoint: Some(*endpoint) });
        }
    }
    for (&(destination, port), after) in new {
        let before = old.get(&(destination, port)).unwrap_or(&nothing);
        if before.is_empty() && !after.is_empty() {
            found.insert(Stale { destination, port, endpoint: None });
        }
    }
    found
}

/// Deletes the flows, as far as the host has the `conntrack` program; without it they time out.
pub async fn forget(host: &Host, stale: &BTreeSet<Stale>) {
    for flow in stale {
        let port = flow.port.to_string();
        let destination = flow.destination.map(|a| a.to_string());
        let endpoint = flow.endpoint.map(|a| a.to_string());
        let v6 = flow.destination.or(flow.endpoint).is_some_and(|a| a.is_ipv6());
        let mut args = vec!["-D", "-f", if v6 { "ipv6" } else { "ipv4" }, "-p", "udp"];
        args.extend(["--orig-port-dst", port.as_str()]);
        if let Some(destination) = &destination {
            args.extend(["--orig-dst", destination.as_str()]);
        }
        if let Some(endpoint) = &endpoint {
            args.extend(["--dst-nat", endpoint.as_str()]);
        }
        match host.run("conntrack", &args, "").await {
            Ok(_) => {}
            Err(Error::NotFound(_)) => {
                tracing::info!("no conntrack program on the host: stale UDP flows time out");
                return;
            }
            // Exit status 1 with this text is conntrack's way to say that there was none.
            Err(Error::Failed { message, .. }) if message.contains("0 flow entries") => {}
            Err(error) => tracing::warn!(%error, ?flow, "stale UDP flow stays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_lost_endpoints_and_first_arrivals() {
        let front = (Some("10.96.0.10".parse().unwrap()), 53);
        let a: IpAddr = "10.244.0.2".parse().unwrap();
        let b: IpAddr = "10.244.0.3".parse().unwrap();
        let flows = |behind: &[IpAddr]| UdpFlows::from([(front, behind.iter().copied().collect())]);
        let entry = |endpoint| Stale { destination: front.0, port: 53, endpoint };
        assert_eq!(stale(&flows(&[a, b]), &flows(&[a, b])), BTreeSet::new());
        assert_eq!(stale(&flows(&[a, b]), &flows(&[a])), BTreeSet::from([entry(Some(b))]));
        assert_eq!(stale(&flows(&[]), &flows(&[a])), BTreeSet::from([entry(None)]));
        assert_eq!(stale(&flows(&[a]), &UdpFlows::new()), BTreeSet::from([entry(Some(a))]));
    }
}
