//! Ranges and what of them is in use.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::Unit;

/// Where cluster IPs and node ports come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    network: Ipv4Addr,
    bits: u8,
    ports: RangeInclusive<u16>,
}

/// A range that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid {1}")]
pub struct ParseRangeError(String, &'static str);

/// Why a given address or port is not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("provided IP is already allocated")]
    IpTaken,
    #[error("the provided IP ({0}) is not in the valid range. The range of valid IPs is {1}")]
    IpOutside(Ipv4Addr, String),
    #[error("range is full")]
    Full,
    #[error("provided port is already allocated")]
    PortTaken,
    #[error("provided port is not in the valid range. The range of valid ports is {0}-{1}")]
    PortOutside(u16, u16),
}

impl Default for Ranges {
    fn default() -> Self {
        Self { network: Ipv4Addr::new(10, 96, 0, 0), bits: 12, ports: 30000..=32767 }
    }
}

impl Ranges {
    /// From the flags `--service-cluster-ip-range` and `--service-node-port-range`.
    ///
    /// # Errors
    /// When one is not of the form `10.96.0.0/12` or `30000-32767`.
    pub fn parse(cidr: &str, ports: &str) -> Result<Self, ParseRangeError> {
        let bad_cidr = || ParseRangeError(cidr.to_owned(), "IPv4 range");
        let (address, bits) = cidr.split_once('/').ok_or_else(bad_cidr)?;
        let address: Ipv4Addr = address.parse().map_err(|_| bad_cidr())?;
        let bits: u8 = bits.parse().map_err(|_| bad_cidr())?;
        if !(8..=30).contains(&bits) {
            return Err(bad_cidr());
        }
        let mask = u32::MAX << (32 - u32::from(bits));
        let bad_ports = || ParseRangeError(ports.to_owned(), "port range");
        let (first, last) = ports.split_once('-').ok_or_else(bad_ports)?;
        let first: u16 = first.parse().map_err(|_| bad_ports())?;
        let last: u16 = last.parse().map_err(|_| bad_ports())?;
        if first == 0 || first > last {
            return Err(bad_ports());
        }
        let network = Ipv4Addr::from_bits(address.to_bits() & mask);
        Ok(Self { network, bits, ports: first..=last })
    }

    /// The first address, which belongs to the Service `kubernetes`.
    pub fn first_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 1)
    }

    fn cidr(&self) -> String {
        format!("{}/{}", self.network, self.bits)
    }

    /// Addresses that can be given: neither the network's nor the last one.
    fn hosts(&self) -> u32 {
        (1u32 << (32 - u32::from(self.bits))) - 2
    }

    fn host(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() + 1 + number)
    }

    fn contains(&self, ip: Ipv4Addr) -> bool {
        let offset = ip.to_bits().wrapping_sub(self.network.to_bits());
        (1..=self.hosts()).contains(&offset)
    }
}

/// What is in use.
#[derive(Debug)]
pub(super) struct Pools {
    ranges: Ranges,
    pub(super) used: HashSet<Unit>,
    /// What was taken by the request that is being served.
    pub(super) log: Vec<Unit>,
}

impl Pools {
    pub(super) fn new(ranges: Ranges) -> Self {
        Self { ranges, used: HashSet::new(), log: Vec::new() }
    }

    fn take(&mut self, unit: Unit) -> bool {
        let free = self.used.insert(unit);
        if free {
            self.log.push(unit);
        }
        free
    }

    /// Takes a given address.
    pub(super) fn take_ip(&mut self, ip: Ipv4Addr) -> Result<(), Refusal> {
        if !self.ranges.contains(ip) {
            return Err(Refusal::IpOutside(ip, self.ranges.cidr()));
        }
        if self.take(Unit::Ip(ip)) { Ok(()) } else { Err(Refusal::IpTaken) }
    }

    /// Takes any address. The first ones are left to those who ask for them by number, as long as
    /// there are others (KEP-3070).
    pub(super) fn any_ip(&mut self) -> Result<Ipv4Addr, Refusal> {
        let hosts = self.ranges.hosts();
        let reserved = if hosts < 16 { 0 } else { (hosts / 16).clamp(16, 256) };
        let upper = hosts - reserved;
        let start = random() % upper.max(1);
        let found = (0..upper)
            .map(|step| reserved + (start + step) % upper)
            .chain(0..reserved)
            .map(|number| self.ranges.host(number))
            .find(|ip| !self.used.contains(&Unit::Ip(*ip)))
            .ok_or(Refusal::Full)?;
        self.take(Unit::Ip(found));
        Ok(found)
    }

    /// Takes a given port.
    pub(super) fn take_port(&mut self, port: u16) -> Result<(), Refusal> {
        if !self.ranges.ports.contains(&port) {
            return Err(Refusal::PortOutside(*self.ranges.ports.start(), *self.ranges.ports.end()));
        }
        if self.take(Unit::Port(port)) { Ok(()) } else { Err(Refusal::PortTaken) }
    }

    /// Takes any port; the first ones last, as with addresses (KEP-3668).
    pub(super) fn any_port(&mut self) -> Result<u16, Refusal> {
        let (first, last) =
            (u32::from(*self.ranges.ports.start()), u32::from(*self.ranges.ports.end()));
        let count = last - first + 1;
        let reserved = if count < 16 { 0 } else { (count / 32).clamp(16, 128) };
        let upper = count - reserved;
        let start = random() % upper.max(1);
        let found = (0..upper)
            .map(|step| reserved + (start + step) % upper)
            .chain(0..reserved)
            .filter_map(|number| u16::try_from(first + number).ok())
            .find(|port| !self.used.contains(&Unit::Port(*port)))
            .ok_or(Refusal::Full)?;
        self.take(Unit::Port(found));
        Ok(found)
    }
}

fn random() -> u32 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
