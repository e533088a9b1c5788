//! Ranges of IP addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Declared, ip, no_overload, opaque, text};
use crate::eval::EvalError;
use crate::value::{Opaque, Value};

/// An address with the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    /// The address; bits after the prefix may be set.
    pub address: IpAddr,
    /// Bits of the prefix.
    pub prefix: u8,
}

pub(super) const DECLARED: &[Declared] = &[
    Declared("string_to_cidr", "cidr(string) -> net.CIDR", |_, args| {
        parse(text(args, 0)?).map(|cidr| Value::Opaque(Opaque::Cidr(cidr)))
    }),
    Declared("is_cidr", "isCIDR(string) -> bool", |_, args| {
        Ok(Value::Bool(parse(text(args, 0)?).is_ok()))
    }),
    Declared("cidr_contains_ip_string", "net.CIDR::containsIP(string) -> bool", |_, args| {
        Ok(Value::Bool(of(args, 0)?.holds(ip::parse(text(args, 1)?)?)))
    }),
    Declared(
        "cidr_contains_ip_ip",
        "net.CIDR::containsIP(net.IP) -> bool",
        |_, args| match opaque(args, 1)? {
            Opaque::Ip(ip) => Ok(Value::Bool(of(args, 0)?.holds(*ip))),
            _ => Err(no_overload()),
        },
    ),
    Declared("cidr_contains_cidr_string", "net.CIDR::containsCIDR(string) -> bool", |_, args| {
        Ok(Value::Bool(of(args, 0)?.holds_all(parse(text(args, 1)?)?)))
    }),
    Declared("cidr_contains_cidr", "net.CIDR::containsCIDR(net.CIDR) -> bool", |_, args| {
        Ok(Value::Bool(of(args, 0)?.holds_all(of(args, 1)?)))
    }),
    Declared("cidr_ip", "net.CIDR::ip() -> net.IP", |_, args| {
        Ok(Value::Opaque(Opaque::Ip(of(args, 0)?.address)))
    }),
    Declared("cidr_masked", "net.CIDR::masked() -> net.CIDR", |_, args| {
        let cidr = of(args, 0)?;
        Ok(Value::Opaque(Opaque::Cidr(Cidr { address: cidr.masked(cidr.address), ..cidr })))
    }),
    Declared("cidr_prefix_length", "net.CIDR::prefixLength() -> int", |_, args| {
        Ok(Value::Int(of(args, 0)?.prefix.into()))
    }),
];

fn parse(text: &str) -> Result<Cidr, EvalError> {
    let shown: String = text.chars().take(100).collect();
    let error = || {
        EvalError::message(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({shown:?}): no '/'"
        ))
    };
    let (address, prefix) = text.split_once('/').ok_or_else(error)?;
    let address = ip::parse(address)?;
    let digits = !prefix.is_empty()
        && prefix.bytes().all(|byte| byte.is_ascii_digit())
        && (prefix == "0" || !prefix.starts_with('0'));
    let most = if address.is_ipv4() { 32 } else { 128 };
    match prefix.parse::<u8>() {
        Ok(prefix) if digits && prefix <= most => Ok(Cidr { address, prefix }),
        _ => Err(EvalError::message(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({shown:?}): bad bits after slash"
        ))),
    }
}

fn of(args: &[Value], at: usize) -> Result<Cidr, EvalError> {
    match opaque(args, at)? {
        Opaque::Cidr(cidr) => Ok(*cidr),
        _ => Err(no_overload()),
    }
}

impl Cidr {
    fn masked(&self, ip: IpAddr) -> IpAddr {
        let prefix = u32::from(self.prefix);
        match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - prefix.min(128)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        }
    }

    fn holds(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.address.is_ipv4() && self.masked(ip) == self.masked(self.address)
    }

    fn holds_all(&self, other: Self) -> bool {
        self.prefix <= other.prefix && self.holds(other.address)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
