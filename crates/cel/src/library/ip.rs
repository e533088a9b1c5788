//! IP addresses.

use std::net::{IpAddr, Ipv6Addr};

use super::{Declared, no_overload, opaque, text};
use crate::eval::EvalError;
use crate::value::{Opaque, Value};

pub(super) const DECLARED: &[Declared] = &[
    Declared("string_to_ip", "ip(string) -> net.IP", |_, args| {
        parse(text(args, 0)?).map(|ip| Value::Opaque(Opaque::Ip(ip)))
    }),
    Declared("is_ip", "isIP(string) -> bool", |_, args| {
        Ok(Value::Bool(parse(text(args, 0)?).is_ok()))
    }),
    Declared("ip_is_canonical", "ip.isCanonical(string) -> bool", |_, args| {
        let text = text(args, 0)?;
        Ok(Value::Bool(parse(text)?.to_string() == text))
    }),
    Declared("ip_family", "net.IP::family() -> int", |_, args| {
        Ok(Value::Int(if of(args)?.is_ipv4() { 4 } else { 6 }))
    }),
    Declared("ip_is_unspecified", "net.IP::isUnspecified() -> bool", |_, args| {
        Ok(Value::Bool(of(args)?.is_unspecified()))
    }),
    Declared("ip_is_loopback", "net.IP::isLoopback() -> bool", |_, args| {
        Ok(Value::Bool(of(args)?.is_loopback()))
    }),
    Declared("ip_is_link_local_multicast", "net.IP::isLinkLocalMulticast() -> bool", |_, args| {
        Ok(Value::Bool(match of(args)? {
            IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
            IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
        }))
    }),
    Declared("ip_is_link_local_unicast", "net.IP::isLinkLocalUnicast() -> bool", |_, args| {
        Ok(Value::Bool(link_local(of(args)?)))
    }),
    Declared("ip_is_global_unicast", "net.IP::isGlobalUnicast() -> bool", |_, args| {
        let ip = of(args)?;
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        Ok(Value::Bool(
            !(broadcast
                || ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_multicast()
                || link_local(ip)),
        ))
    }),
];

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    }
}

/// Reads an address. Zones, leading zeros and IPv4 addresses in the clothes of IPv6 are refused.
pub(super) fn parse(text: &str) -> Result<IpAddr, EvalError> {
    let shown: String = text.chars().take(100).collect();
    let error = |reason: &str| {
        EvalError::message(format!(
            "IP Address '{shown}' parse error during conversion from string: {reason}"
        ))
    };
    if text.contains('%') {
        return Err(EvalError::message(format!(
            "IP address {shown:?} with zone value is not allowed"
        )));
    }
    let ip: IpAddr =
        text.parse().map_err(|_| error(&format!("ParseAddr({shown:?}): unable to parse IP")))?;
    if matches!(ip, IpAddr::V6(ip) if mapped(ip)) {
        return Err(EvalError::message(format!(
            "IPv4-mapped IPv6 address {shown:?} is not allowed"
        )));
    }
    Ok(ip)
}

fn mapped(ip: Ipv6Addr) -> bool {
    ip.to_ipv4_mapped().is_some()
}

fn of(args: &[Value]) -> Result<IpAddr, EvalError> {
    match opaque(args, 0)? {
        Opaque::Ip(ip) => Ok(*ip),
        _ => Err(no_overload()),
    }
}
