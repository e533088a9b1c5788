//! What is chosen for one Service.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use resources::service::Family;

use super::Unit;
use super::network::{Network, PortRange};

/// Why a given address or port is not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("provided IP is already allocated")]
    IpTaken,
    #[error("the provided network does not match the current range")]
    NoNetwork,
    #[error("range is full")]
    Full,
    #[error("provided port is already allocated")]
    PortTaken,
    #[error("provided port is not in the valid range. The range of valid ports is {0}")]
    PortOutside(String),
}

/// What there is to choose from, and what has been chosen.
pub(super) struct Pools<'a> {
    /// Families of the cluster, the main one first.
    pub(super) families: &'a [Family],
    /// Networks that addresses may be taken from.
    pub(super) networks: &'a [Network],
    /// Whether an address has an IPAddress object.
    pub(super) ip_used: &'a dyn Fn(IpAddr) -> bool,
    pub(super) ports: &'a PortRange,
    pub(super) ports_used: &'a BTreeSet<u16>,
    /// What other requests that are under way have been given.
    pub(super) pending: &'a mut HashSet<Unit>,
    /// What this request has been given.
    pub(super) taken: Vec<Unit>,
}

impl Pools<'_> {
    fn is_used(&self, unit: Unit) -> bool {
        self.pending.contains(&unit)
            || match unit {
                Unit::Ip(ip) => (self.ip_used)(ip),
                Unit::Port(port) => self.ports_used.contains(&port),
            }
    }

    fn take(&mut self, unit: Unit) -> bool {
        let free = !self.is_used(unit);
        if free {
            self.pending.insert(unit);
            self.taken.push(unit);
        }
        free
    }

    /// Takes a given address.
    pub(super) fn take_ip(&mut self, ip: IpAddr) -> Result<(), Refusal> {
        if !self.networks.iter().any(|network| network.contains(ip)) {
            return Err(Refusal::NoNetwork);
        }
        if self.take(Unit::Ip(ip)) { Ok(()) } else { Err(Refusal::IpTaken) }
    }

    /// Takes any address of a family.
    pub(super) fn any_ip(&mut self, family: Family) -> Result<IpAddr, Refusal> {
        let networks = self.networks.iter().filter(|network| network.family() == family);
        let free = networks
            .flat_map(|network| network.candidates(random()))
            .find(|ip| !self.is_used(Unit::Ip(*ip)))
            .ok_or(Refusal::Full)?;
        self.take(Unit::Ip(free));
        Ok(free)
    }

    /// Takes a given port.
    pub(super) fn take_port(&mut self, port: u16) -> Result<(), Refusal> {
        if !self.ports.contains(port) {
            return Err(Refusal::PortOutside(self.ports.to_string()));
        }
        if self.take(Unit::Port(port)) { Ok(()) } else { Err(Refusal::PortTaken) }
    }

    /// Takes any port.
    pub(super) fn any_port(&mut self) -> Result<u16, Refusal> {
        let mut candidates = self.ports.candidates(random());
        let free = candidates.find(|port| !self.is_used(Unit::Port(*port)));
        let free = free.ok_or(Refusal::Full)?;
        self.take(Unit::Port(free));
        Ok(free)
    }
}

fn random() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}
