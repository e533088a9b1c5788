//! Names and addresses of a cluster on one machine, decided before anything is touched.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{API_PORT, ClusterConfiguration, ConfigError};

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// Name of the cluster; part of every name on the host.
    pub name: String,
    /// How many nodes, the control planes included.
    pub nodes: usize,
    /// How many of them are control planes.
    pub control_planes: usize,
    /// Where objects are kept; chosen by the number of control planes unless given.
    pub store: Option<Store>,
    /// How long its certificates are good, as `8760h`; a year unless given.
    pub certificate_validity: Option<String>,
}

impl Request {
    /// A cluster with one control plane and the usual settings.
    #[must_use]
    pub fn new(name: &str, nodes: usize) -> Self {
        let name = name.to_owned();
        Self { name, nodes, control_planes: 1, store: None, certificate_validity: None }
    }
}

/// Where the objects of a cluster are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In a file of the one API server.
    Embedded,
    /// In an etcd cluster with a member on every control plane.
    Etcd,
}

/// Why a request cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The name cannot be a part of host and object names.
    #[error(
        "invalid cluster name {0:?}: it must be at most 40 lower case letters, digits or '-', and start and end with a letter or digit"
    )]
    Name(String),
    /// Too few or too many nodes.
    #[error("invalid number of nodes {0}: it must be from 1 to {MAX_NODES}")]
    Nodes(usize),
    /// No number of control planes.
    #[error(
        "invalid number of control planes {0}: it must be 1, 3, 5 or 7, and not above the number of nodes, {1}; an even number of etcd members bears no more losses than one member less"
    )]
    ControlPlanes(usize, usize),
    /// One API server alone can open its file.
    #[error("{0} control planes cannot share the embedded store; leave --store out, or use etcd")]
    Shared(usize),
    /// Its file has room for nobody else.
    #[error(
        "cluster {0:?} keeps its objects in the embedded store of its one control plane; a further one needs a cluster that was made with `ironclad up --store etcd` or `--control-planes 3`"
    )]
    Alone(String),
    /// A setting is of no use.
    #[error(transparent)]
    Config(ConfigError),
    /// Every network that clusters take theirs from is in use.
    #[error(
        "no free network in 10.189.0.0/16: every /24 of it overlaps an address or a route of this host; take down a cluster or remove the routes"
    )]
    NoNetwork,
}

/// The most nodes on one machine; their addresses fit one /24.
pub const MAX_NODES: usize = 100;
/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the API server, the controller manager and the scheduler.
    ControlPlane,
    /// Runs Pods of users.
    Worker,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Name of the Node object and host name.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Its address on the cluster's bridge.
    pub address: Ipv4Addr,
    /// Host end of its network cable.
    pub interface: String,
    /// Whether Pods without a toleration stay away from it.
    pub tainted: bool,
}

/// A whole cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the cluster.
    pub name: String,
    /// The third byte of its network, 10.189.N.0/24; no other cluster of the host has it.
    pub network: u8,
    /// The bridge that joins the nodes.
    pub bridge: String,
    /// Address of the host on the bridge, the nodes' default route.
    pub gateway: Ipv4Addr,
    /// Its nodes, the control planes first.
    pub nodes: Vec<NodePlan>,
    /// Whether objects are kept in an etcd cluster.
    #[serde(default)]
    pub etcd: bool,
    /// The address that one of several control planes has at a time.
    #[serde(default)]
    pub virtual_address: Option<Ipv4Addr>,
    /// How often the store is saved without being asked, and how many of the files are kept.
    #[serde(default)]
    pub snapshots: Option<(Duration, usize)>,
    /// How long its certificates are good, if not a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_validity: Option<String>,
}

/// Decides the names and addresses for `request`, avoiding the networks in `taken` (third bytes of
/// 10.189.N.0/24).
///
/// # Errors
/// [`PlanError`] when the request is out of bounds or no network is free.
pub fn plan(request: &Request, taken: &[u8]) -> Result<Plan, PlanError> {
    if !valid_name(&request.name) {
        return Err(PlanError::Name(request.name.clone()));
    }
    if request.nodes == 0 || request.nodes > MAX_NODES {
        return Err(PlanError::Nodes(request.nodes));
    }
    let control_planes = request.control_planes;
    if control_planes.is_multiple_of(2) || control_planes > request.nodes.min(7) {
        return Err(PlanError::ControlPlanes(control_planes, request.nodes));
    }
    if control_planes > 1 && request.store == Some(Store::Embedded) {
        return Err(PlanError::Shared(control_planes));
    }
    let network = (0..=u8::MAX).find(|n| !taken.contains(n)).ok_or(PlanError::NoNetwork)?;
    let control_plane = |(name, host): (String, u8)| NodePlan {
        name,
        role: Role::ControlPlane,
        address: address(network, host),
        interface: interface(network, host),
        // Where there are no workers, the control planes have to run everything.
        tainted: request.nodes > control_planes,
    };
    let numbers = (1..=control_planes).map(|number| format!("m{number}"));
    let mut plan = Plan {
        name: request.name.clone(),
        network,
        bridge: format!("ic{network}"),
        gateway: address(network, 1),
        nodes: numbers.zip(FIRST_HOST..).map(control_plane).collect(),
        etcd: control_planes > 1 || request.store == Some(Store::Etcd),
        virtual_address: (control_planes > 1).then(|| address(network, VIRTUAL_HOST)),
        snapshots: None,
        certificate_validity: request.certificate_validity.clone(),
    };
    plan.config().validate().map_err(PlanError::Config)?;
    while plan.nodes.len() < request.nodes {
        let worker = plan.worker()?;
        plan.nodes.push(worker);
    }
    Ok(plan)
}

/// Host number of the first node; the host itself is 1.
const FIRST_HOST: u8 = 2;
/// Host number of the virtual address, above those of all nodes.
const VIRTUAL_HOST: u8 = 254;

fn address(network: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 189, network, host)
}

fn interface(network: u8, host: u8) -> String {
    format!("ic{network}n{}", host - FIRST_HOST)
}

impl Plan {
    /// One worker more, with the lowest number and address that no other node has.
    ///
    /// # Errors
    /// [`PlanError::Nodes`] when the network is full.
    pub fn worker(&self) -> Result<NodePlan, PlanError> {
        self.further(Role::Worker)
    }

    /// One control plane more, as [`Plan::worker`]. Pods of users keep away from it as from the others.
    ///
    /// # Errors
    /// [`PlanError`] when the network is full, or there is no store that it could share.
    pub fn further_control_plane(&self) -> Result<NodePlan, PlanError> {
        if !self.etcd {
            return Err(PlanError::Alone(self.name.clone()));
        }
        self.further(Role::ControlPlane)
    }

    fn further(&self, role: Role) -> Result<NodePlan, PlanError> {
        if self.nodes.len() >= MAX_NODES {
            return Err(PlanError::Nodes(self.nodes.len() + 1));
        }
        let (letter, tainted) = match role {
            Role::Worker => ("w", false),
            Role::ControlPlane => ("m", self.control_planes().any(|node| node.tainted)),
        };
        let name = (1..=MAX_NODES)
            .map(|number| format!("{letter}{number}"))
            .find(|name| self.nodes.iter().all(|node| node.name != *name))
            .ok_or(PlanError::Nodes(MAX_NODES + 1))?;
        let host = (FIRST_HOST..u8::MAX)
            .find(|host| self.nodes.iter().all(|node| node.address.octets()[3] != *host))
            .ok_or(PlanError::Nodes(MAX_NODES + 1))?;
        Ok(NodePlan {
            name,
            role,
            address: address(self.network, host),
            interface: interface(self.network, host),
            tainted,
        })
    }

    /// Puts one more node among the others: control planes come first.
    pub fn insert(&mut self, node: NodePlan) {
        let at = match node.role {
            Role::ControlPlane => self.control_planes().count(),
            Role::Worker => self.nodes.len(),
        };
        self.nodes.insert(at, node);
    }

    /// The settings of the cluster.
    #[must_use]
    pub fn config(&self) -> ClusterConfiguration {
        let address = self.virtual_address.unwrap_or(self.control_plane().address);
        let mut config = ClusterConfiguration::new(&self.name, &format!("{address}:{API_PORT}"));
        config.virtual_address = self.virtual_address;
        config.certificate_validity_period.clone_from(&self.certificate_validity);
        if let Some((every, keep)) = self.snapshots {
            config.schedule_snapshots(every, keep);
        }
        if self.etcd { config.with_local_etcd() } else { config }
    }

    /// The nodes that run a control plane.
    pub fn control_planes(&self) -> impl Iterator<Item = &NodePlan> {
        self.nodes.iter().filter(|node| node.role == Role::ControlPlane)
    }

    /// The first of the nodes that run a control plane.
    ///
    /// # Panics
    /// Never: a plan has at least one node.
    #[must_use]
    pub fn control_plane(&self) -> &NodePlan {
        self.nodes.first().expect("a plan has at least one node")
    }

    /// The nftables table on the host that lets nodes reach other networks.
    #[must_use]
    pub fn table(&self) -> String {
        format!("ironclad-{}", self.name)
    }
}

fn valid_name(name: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=40).contains(&name.len())
        && name.chars().all(|c| alphanumeric(c) || c == '-')
        && name.starts_with(alphanumeric)
        && name.ends_with(alphanumeric)
}

#[cfg(test)]
mod tests;
