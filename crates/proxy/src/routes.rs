//! Routes to the Pod ranges of the other nodes, through their addresses.
//!
//! The planned routes are compared with those in the kernel that carry our protocol number, so that
//! routes of others are never touched and stale ones of ours are found after a restart.

use std::collections::BTreeMap;
use std::net::IpAddr;

use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Node;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::cidr::Cidr;
use crate::model::Family;
use crate::rules::in_family;

/// Marks our routes in the kernel (`ip route show proto 171`).
const PROTOCOL: u8 = 171;

/// Pod range to gateway.
pub type Routes = BTreeMap<Cidr, IpAddr>;

/// One change of the routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add or replace the route to the range through the gateway.
    Set(Cidr, IpAddr),
    /// Remove the route to the range.
    Remove(Cidr, IpAddr),
}

/// The kernel refused, or netlink does not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Netlink said no.
    #[error("netlink: {0}")]
    Netlink(#[from] rtnetlink::Error),
    /// No netlink socket.
    #[error("netlink socket: {0}")]
    Socket(#[from] std::io::Error),
    /// A range and its gateway are of different families.
    #[error("{0}")]
    Message(String),
}

/// The routes that node `this` needs.
pub fn plan<'a>(this: &str, nodes: impl IntoIterator<Item = &'a Node>) -> Routes {
    let mut routes = Routes::new();
    for node in nodes {
        if node.metadata.name.as_deref() == Some(this) {
            continue;
        }
        let addresses = internal_addresses(node);
        for cidr in pod_cidrs(node) {
            if let Some(gateway) = addresses.iter().find(|a| in_family(a, cidr.family())) {
                routes.insert(cidr, *gateway);
            }
        }
    }
    routes
}

/// What turns `have` into `want`.
pub fn diff(want: &Routes, have: &Routes) -> Vec<Change> {
    let stale = have
        .iter()
        .filter(|(cidr, _)| !want.contains_key(*cidr))
        .map(|(cidr, gateway)| Change::Remove(*cidr, *gateway));
    let missing = want
        .iter()
        .filter(|(cidr, gateway)| have.get(*cidr) != Some(*gateway))
        .map(|(cidr, gateway)| Change::Set(*cidr, *gateway));
    stale.chain(missing).collect()
}

/// The Pod ranges of a node, both families.
pub fn pod_cidrs(node: &Node) -> Vec<Cidr> {
    let Some(spec) = &node.spec else {
        return Vec::new();
    };
    let mut texts: Vec<&String> = spec.pod_cidrs.iter().flatten().collect();
    if texts.is_empty() {
        texts.extend(&spec.pod_cidr);
    }
    texts.into_iter().filter_map(|text| text.parse().ok()).collect()
}

fn internal_addresses(node: &Node) -> Vec<IpAddr> {
    let addresses = node.status.iter().flat_map(|s| s.addresses.iter().flatten());
    addresses.filter(|a| a.type_ == "InternalIP").filter_map(|a| a.address.parse().ok()).collect()
}

/// The kernel's side.
#[derive(Clone, Debug)]
pub struct Kernel {
    handle: Handle,
}

// === impl Kernel ===

impl Kernel {
    /// Opens a netlink socket; its driver is a task of the current runtime.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Kernel { handle })
    }

    /// Our routes in the kernel.
    ///
    /// # Errors
    /// When netlink fails.
    pub async fn ours(&self) -> Result<Routes, Error> {
        let mut routes = Routes::new();
        for family in [Family::V4, Family::V6] {
            let query = match family {
                Family::V4 => RouteMessageBuilder::<std::net::Ipv4Addr>::new().build(),
                Family::V6 => RouteMessageBuilder::<std::net::Ipv6Addr>::new().build(),
            };
            let mut found = std::pin::pin!(self.handle.route().get(query).execute());
            while let Some(route) = found.try_next().await? {
                if route.header.protocol == RouteProtocol::Other(PROTOCOL)
                    && let Some((cidr, gateway)) = read(&route)
                {
                    routes.insert(cidr, gateway);
                }
            }
        }
        Ok(routes)
    }

    /// Makes one change.
    ///
    /// # Errors
    /// When the kernel refuses, e.g. because the gateway is not on a connected network.
    pub async fn apply(&self, change: Change) -> Result<(), Error> {
        let (cidr, gateway) = match change {
            Change::Set(cidr, gateway) | Change::Remove(cidr, gateway) => (cidr, gateway),
        };
        let message = RouteMessageBuilder::<IpAddr>::new()
            .destination_prefix(cidr.address, cidr.prefix)
            .and_then(|message| message.gateway(gateway))
            .map_err(|error| Error::Message(error.to_string()))?
            .protocol(RouteProtocol::Other(PROTOCOL))
            .build();
        match change {
            Change::Set(..) => self.handle.route().add(message).replace().execute().await?,
            Change::Remove(..) => self.handle.route().del(message).execute().await?,
        }
        Ok(())
    }
}

fn read(route: &RouteMessage) -> Option<(Cidr, IpAddr)> {
    let ip = |address: &RouteAddress| match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    };
    let mut destination = None;
    let mut gateway = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            _ => {}
        }
    }
    let cidr = Cidr { address: destination?, prefix: route.header.destination_prefix_length };
    Some((cidr, gateway?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{NodeAddress, NodeSpec, NodeStatus};

    fn node(name: &str, cidr: &str, address: &str) -> Node {
        let mut node = Node::default();
        node.metadata.name = Some(name.to_owned());
        node.spec = Some(NodeSpec { pod_cidr: Some(cidr.to_owned()), ..Default::default() });
        let address = NodeAddress { address: address.to_owned(), type_: "InternalIP".to_owned() };
        node.status = Some(NodeStatus { addresses: Some(vec![address]), ..Default::default() });
        node
    }

    #[test]
    fn routes_lead_to_the_other_nodes_only_and_planning_again_changes_nothing() {
        let nodes = [
            node("m1", "10.244.0.0/24", "172.30.0.2"),
            node("w1", "10.244.1.0/24", "172.30.0.3"),
            node("new", "", "172.30.0.9"),
        ];
        let want = plan("m1", &nodes);
        let w1: Cidr = "10.244.1.0/24".parse().unwrap();
        let via: IpAddr = "172.30.0.3".parse().unwrap();
        assert_eq!(want, Routes::from([(w1, via)]));
        let stale: Cidr = "10.244.7.0/24".parse().unwrap();
        let have = Routes::from([(stale, via)]);
        assert_eq!(diff(&want, &have), [Change::Remove(stale, via), Change::Set(w1, via)]);
        assert_eq!(diff(&want, &want), []);
    }
}
