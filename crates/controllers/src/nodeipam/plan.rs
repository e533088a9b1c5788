//! Which range of Pod addresses a node gets. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A range of addresses; the bits behind the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cidr {
    address: u128,
    prefix: u8,
    v6: bool,
}

/// The text is not a range of addresses.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid CIDR address: {0}")]
pub struct InvalidCidr(String);

impl Cidr {
    fn bits(self) -> u8 {
        if self.v6 { 128 } else { 32 }
    }

    fn last(self) -> u128 {
        let host = self.bits() - self.prefix;
        let size = if host == 128 { u128::MAX } else { (1_u128 << host) - 1 };
        self.address | size
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.v6 == other.v6 && self.address <= other.last() && other.address <= self.last()
    }

    /// Whether this is a range of the same family that holds all of `other`.
    pub(crate) fn covers(self, other: Self) -> bool {
        self.v6 == other.v6 && self.address <= other.address && other.last() <= self.last()
    }

    /// Whether `ip` lies in this range.
    pub(crate) fn contains(self, ip: IpAddr) -> bool {
        let (address, prefix, v6) = match ip {
            IpAddr::V4(v4) => (v4.to_bits().into(), 32, false),
            IpAddr::V6(v6) => (v6.to_bits(), 128, true),
        };
        self.covers(Self { address, prefix, v6 })
    }

    /// The ranges of `prefix` bits within this one, in order.
    fn parts(self, prefix: u8) -> impl Iterator<Item = Self> {
        let step = 1_u128 << (self.bits() - prefix);
        let count = 1_u128 << (prefix - self.prefix).min(32);
        (0..count).map(move |n| Self { address: self.address + n * step, prefix, v6: self.v6 })
    }

    /// Upstream's size of a node's range: /24, and /64 for IPv6.
    pub(crate) fn node_prefix(self) -> u8 {
        if self.v6 { 64 } else { 24 }
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let invalid = || InvalidCidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        let prefix: u8 = prefix.parse().map_err(|_| invalid())?;
        let (value, v6) = match address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), false),
            IpAddr::V6(v6) => (v6.to_bits(), true),
        };
        let bits: u8 = if v6 { 128 } else { 32 };
        if prefix > bits {
            return Err(invalid());
        }
        let host = u32::from(bits - prefix);
        let address = value.checked_shr(host).and_then(|v| v.checked_shl(host)).unwrap_or(0);
        Ok(Self { address, prefix, v6 })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.v6 {
            write!(f, "{}/{}", std::net::Ipv6Addr::from_bits(self.address), self.prefix)
        } else {
            let v4 = u32::try_from(self.address).unwrap_or(u32::MAX);
            write!(f, "{}/{}", std::net::Ipv4Addr::from_bits(v4), self.prefix)
        }
    }
}

/// The first free range of a node's size in `cluster`, clear of everything in `used`.
pub(crate) fn allocate(cluster: Cidr, used: &[Cidr]) -> Option<Cidr> {
    let prefix = cluster.node_prefix().max(cluster.prefix);
    cluster.parts(prefix).find(|part| !used.iter().any(|used| used.overlaps(*part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_are_given_in_order_and_reused() {
        let cluster = cidr("10.244.0.0/22");
        let mut used = Vec::new();
        for n in 0..4 {
            let next = allocate(cluster, &used).unwrap();
            assert_eq!(next.to_string(), format!("10.244.{n}.0/24"));
            used.push(next);
        }
        assert_eq!(allocate(cluster, &used), None);
        used.remove(1);
        assert_eq!(allocate(cluster, &used).unwrap().to_string(), "10.244.1.0/24");
    }

    #[test]
    fn the_service_range_is_left_alone() {
        let got = allocate(cidr("10.0.0.0/8"), &[cidr("10.0.0.0/23")]).unwrap();
        assert_eq!(got.to_string(), "10.0.2.0/24");
    }

    #[test]
    fn both_families_and_bad_texts() {
        let got = allocate(cidr("fd00:10:244::/56"), &[cidr("fd00:10:244::/64")]).unwrap();
        assert_eq!(got.to_string(), "fd00:10:244:1::/64");
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "x/8"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
