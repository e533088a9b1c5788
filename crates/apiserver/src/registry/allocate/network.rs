//! Ranges of addresses and ports, and in which order they are given out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use resources::service::Family;

/// A range that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a valid {1}")]
pub struct ParseRangeError(String, &'static str);

/// Where cluster IPs and node ports come from, as the flags say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// One network, or one of each family with the main one first.
    networks: Vec<Network>,
    ports: PortRange,
}

/// A network of cluster IPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    family: Family,
    /// The network's own address.
    base: u128,
    bits: u8,
}

/// Node ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PortRange(RangeInclusive<u16>);

// === impl Ranges ===

impl Default for Ranges {
    fn default() -> Self {
        let network = Network {
            family: Family::V4,
            base: Ipv4Addr::new(10, 96, 0, 0).to_bits().into(),
            bits: 12,
        };
        Self { networks: vec![network], ports: PortRange(30000..=32767) }
    }
}

impl Ranges {
    /// From the flags `--service-cluster-ip-range` and `--service-node-port-range`.
    ///
    /// # Errors
    /// When one is not of the form `10.96.0.0/12`, `10.96.0.0/12,fd00::/108` or `30000-32767`.
    pub fn parse(cidrs: &str, ports: &str) -> Result<Self, ParseRangeError> {
        let bad = || ParseRangeError(cidrs.to_owned(), "range of cluster IPs");
        let networks: Vec<Network> = cidrs
            .split(',')
            .map(|cidr| Network::parse(cidr.trim()).filter(Network::is_allocatable))
            .collect::<Option<_>>()
            .ok_or_else(bad)?;
        match networks[..] {
            [_] => {}
            [one, other] if one.family != other.family => {}
            _ => return Err(bad()),
        }
        let ports = PortRange::parse(ports)
            .ok_or_else(|| ParseRangeError(ports.to_owned(), "port range"))?;
        Ok(Self { networks, ports })
    }

    /// The networks, the main one first.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    pub(super) fn ports(&self) -> &PortRange {
        &self.ports
    }

    /// The families that Services can have, the main one first.
    pub(super) fn families(&self) -> Vec<Family> {
        self.networks.iter().map(|network| network.family).collect()
    }
}

// === impl Network ===

impl Network {
    /// From `10.96.0.0/12` or `fd00::/108`; the bits after the prefix do not count.
    pub(super) fn parse(cidr: &str) -> Option<Self> {
        let (address, bits) = cidr.split_once('/')?;
        let bits: u8 = bits.parse().ok()?;
        let (family, base) = numbered(address.parse().ok()?);
        let width = width(family);
        if bits > width {
            return None;
        }
        let mask = u128::MAX.checked_shl(u32::from(width - bits)).unwrap_or(0);
        Some(Self { family, base: base & mask, bits })
    }

    /// Upstream gives out nothing from larger IPv6 networks, and these here leave room for hosts.
    fn is_allocatable(&self) -> bool {
        match self.family {
            Family::V4 => (8..=30).contains(&self.bits),
            Family::V6 => (64..=126).contains(&self.bits),
        }
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// The last number above the base that can be given out: not IPv4's broadcast address.
    fn last(&self) -> u128 {
        let all = (1u128 << (width(self.family) - self.bits)) - 1;
        if self.family == Family::V4 { all.saturating_sub(1) } else { all }
    }

    fn host(&self, number: u128) -> IpAddr {
        address(self.family, self.base + number)
    }

    /// Whether an address of the network can be given out.
    pub(super) fn contains(&self, ip: IpAddr) -> bool {
        let (family, number) = numbered(ip);
        family == self.family
            && number.checked_sub(self.base).is_some_and(|n| (1..=self.last()).contains(&n))
    }

    /// All addresses in the order in which they are tried: the upper band from a random place,
    /// then the lower band, which is left to those who ask for addresses by number (KEP-3070).
    pub(super) fn candidates(self, random: u128) -> impl Iterator<Item = IpAddr> {
        let reserved = reserved(self.last() + 2, 16, 256);
        let band = move |first: u128, last: u128| {
            let count = (last + 1).saturating_sub(first);
            let start = random.checked_rem(count).unwrap_or(0);
            (0..count).map(move |step| first + (start + step) % count)
        };
        band(1 + reserved, self.last()).chain(band(1, reserved)).map(move |n| self.host(n))
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", address(self.family, self.base), self.bits)
    }
}

// === impl PortRange ===

impl PortRange {
    fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        (first > 0 && first <= last).then_some(Self(first..=last))
    }

    pub(super) fn first(&self) -> u16 {
        *self.0.start()
    }

    pub(super) fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }

    /// As [`Network::candidates`] (KEP-3668).
    pub(super) fn candidates(&self, random: u128) -> impl Iterator<Item = u16> + use<> {
        let (first, last) = (u128::from(*self.0.start()), u128::from(*self.0.end()));
        let count = last - first + 1;
        let reserved = reserved(count, 32, 128);
        let upper = count - reserved;
        let start = random.checked_rem(upper).unwrap_or(0);
        (0..upper)
            .map(move |step| reserved + (start + step) % upper)
            .chain(0..reserved)
            .filter_map(move |number| u16::try_from(first + number).ok())
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

/// How much of the lower end is left to requests by number.
fn reserved(count: u128, step: u128, max: u128) -> u128 {
    if count <= 16 { 0 } else { (count / step).clamp(16, max) }
}

fn width(family: Family) -> u8 {
    match family {
        Family::V4 => 32,
        Family::V6 => 128,
    }
}

fn numbered(ip: IpAddr) -> (Family, u128) {
    match ip {
        IpAddr::V4(ip) => (Family::V4, ip.to_bits().into()),
        IpAddr::V6(ip) => (Family::V6, ip.to_bits()),
    }
}

fn address(family: Family, number: u128) -> IpAddr {
    match family {
        // Truncation cannot happen: networks of this family end at 32 bits.
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}
