//! IP addresses and ranges of them, as fields have them that were there before the rules for such
//! texts became strict: what may be written, what may stay, and what is pointed out.
//! KEP-4858.

use std::net::IpAddr;

use machinery::field::{Error, ErrorList, quote};

use crate::cursor::At;

const ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
const RANGE: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

/// A range of addresses, given by one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    address: IpAddr,
    bits: u32,
}

/// Reads an address as leniently as early releases did: numbers may start with zeros.
pub(super) fn sloppy_address(text: &str) -> Option<IpAddr> {
    let mut plain = String::with_capacity(text.len());
    for segment in text.split_inclusive(['.', ':']) {
        let (number, end) = match segment.strip_suffix(['.', ':']) {
            Some(number) => (number, &segment[number.len()..]),
            None => (segment, ""),
        };
        let stripped = number.trim_start_matches('0');
        plain.push_str(if stripped.is_empty() && !number.is_empty() { "0" } else { stripped });
        plain.push_str(end);
    }
    plain.parse().ok()
}

fn sloppy_range(text: &str) -> Option<Range> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (sloppy_address(address)?, decimal(bits)?);
    (bits <= width(address)).then_some(Range { address, bits })
}

fn decimal(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some())
}

/// Whether an address is one of IPv6, however it is written.
pub(super) fn is_ipv6(text: &str) -> bool {
    sloppy_address(text).is_some_and(|address| address.to_canonical().is_ipv6())
}

/// Whether two texts, and no more, are an address of each family.
pub(super) fn is_dual_stack(texts: &[&str]) -> bool {
    both_families(texts.iter().map(|text| sloppy_address(text)))
}

/// Whether texts are ranges of both families.
pub(super) fn is_dual_stack_ranges(texts: &[&str]) -> bool {
    both_families(texts.iter().map(|text| sloppy_range(text).map(|range| range.address)))
}

fn both_families(addresses: impl Iterator<Item = Option<IpAddr>>) -> bool {
    let (mut four, mut six) = (false, false);
    for address in addresses {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(_)) => four = true,
            Some(IpAddr::V6(_)) => six = true,
            None => return false,
        }
    }
    four && six
}

/// Checks an address; one that is among `before` stays as it is. Says whether it is fine.
pub(super) fn address(at: &At<'_>, before: &[&str], errors: &mut ErrorList) -> bool {
    let text = at.str();
    if before.contains(&text) {
        return true;
    }
    let Some(address) = sloppy_address(text) else {
        errors.push(Error::invalid(&at.path, text, ADDRESS));
        return false;
    };
    let detail = match text.parse::<IpAddr>() {
        Err(_) => "must not have leading 0s",
        Ok(_) if is_mapped(address) => "must not be an IPv4-mapped IPv6 address",
        Ok(_) => return true,
    };
    errors.push(Error::invalid(&at.path, text, detail));
    false
}

/// Checks the text of a range; one that is among `before` stays as it is.
pub(super) fn range(at: &At<'_>, text: &str, before: &[&str], errors: &mut ErrorList) {
    if before.contains(&text) {
        return;
    }
    let mut wrong = |detail: &str| errors.push(Error::invalid(&at.path, text, detail));
    let Some(range) = sloppy_range(text) else {
        wrong(RANGE);
        return;
    };
    let (address, bits) = text.split_once('/').unwrap_or((text, ""));
    if address.parse::<IpAddr>().is_err() || bits.len() > 1 && bits.starts_with('0') {
        wrong("must not have leading 0s in IP or prefix length");
        return;
    }
    if is_mapped(range.address) {
        wrong("must not have an IPv4-mapped IPv6 address");
    }
    if range.first() != range.address {
        wrong("must not have bits set beyond the prefix length");
    }
}

/// What there is to say about an address that is accepted.
pub(super) fn odd_address(at: &At<'_>) -> Option<String> {
    let address = sloppy_address(at.str())?;
    let (path, given) = (&at.path, quote(at.str()));
    if at.str().parse::<IpAddr>().is_err() || is_mapped(address) {
        let better = quote(&address.to_canonical().to_string());
        return Some(format!(
            "{path}: non-standard IP address {given} will be considered invalid in a future \
             Kubernetes release: use {better}"
        ));
    }
    let better = address.to_string();
    (address.is_ipv6() && better != at.str()).then(|| {
        let better = quote(&better);
        format!("{path}: IPv6 address {given} should be in RFC 5952 canonical format ({better})")
    })
}

/// What there is to say about the text of a range that is accepted.
pub(super) fn odd_range(at: &At<'_>, text: &str) -> Vec<String> {
    let Some(range) = sloppy_range(text) else { return Vec::new() };
    let (path, given) = (&at.path, quote(text));
    let mut warnings = Vec::new();
    let canonical = Range { address: range.first(), ..range }.to_string();
    if range.first() != range.address {
        let single = Range { bits: width(range.address), ..range }.to_string();
        warnings.push(format!(
            "{path}: CIDR value {given} is ambiguous in this context (should be {} or {}?)",
            quote(&canonical),
            quote(&single)
        ));
    }
    let (address, bits) = text.split_once('/').unwrap_or((text, ""));
    let zeros = address.parse::<IpAddr>().is_err() || bits.len() > 1 && bits.starts_with('0');
    if zeros || is_mapped(range.address) {
        warnings.push(format!(
            "{path}: non-standard CIDR value {given} will be considered invalid in a future \
             Kubernetes release: use {}",
            quote(&canonical)
        ));
    }
    if warnings.is_empty() && range.address.is_ipv6() && canonical != text {
        warnings.push(format!(
            "{path}: IPv6 CIDR value {given} should be in RFC 5952 canonical format ({})",
            quote(&canonical)
        ));
    }
    warnings
}

// === impl Range ===

impl Range {
    /// The first address of the range.
    fn first(self) -> IpAddr {
        let bits = self.bits;
        match self.address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
                IpAddr::V4((ip.to_bits() & mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                IpAddr::V6((ip.to_bits() & mask).into())
            }
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (address, mut bits) = (self.address, self.bits);
        // One of IPv4 in the clothes of IPv6 is shown as what it is.
        if is_mapped(address) {
            bits = bits.saturating_sub(96);
        }
        write!(f, "{}/{bits}", address.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machinery::Value;
    use machinery::field::Path;

    #[test]
    fn addresses() {
        let check = |text: &str, expected: &str| {
            let value = Value::from(text);
            let mut errors = ErrorList::new();
            address(&At::new(&value, Path::new("ip")), &["old.one"], &mut errors);
            let texts: Vec<String> = errors.iter().map(|e| e.detail.clone()).collect();
            assert_eq!(texts.join("; "), expected, "{text}");
        };
        for good in ["10.9.8.7", "::1", "2001:DB8::0001", "old.one"] {
            check(good, "");
        }
        check("010.9.8.7", "must not have leading 0s");
        check("::ffff:10.0.0.01", "must not have leading 0s");
        check("::ffff:10.0.0.1", "must not be an IPv4-mapped IPv6 address");
        for bad in ["", "10.0.0", "10.0.0.256", "fe80::1%eth0", "x"] {
            check(bad, ADDRESS);
        }
    }

    #[test]
    fn ranges() {
        let check = |text: &str, expected: &[&str]| {
            let value = Value::from(text);
            let mut errors = ErrorList::new();
            range(&At::new(&value, Path::new("cidr")), text, &["old"], &mut errors);
            let texts: Vec<&str> = errors.iter().map(|e| e.detail.as_str()).collect();
            assert_eq!(texts, expected, "{text}");
        };
        for good in ["10.0.0.0/8", "0.0.0.0/0", "2001:db8::/64", "::1/128", "old"] {
            check(good, &[]);
        }
        check("10.0.0.0/08", &["must not have leading 0s in IP or prefix length"]);
        check("010.0.0.0/8", &["must not have leading 0s in IP or prefix length"]);
        check("::ffff:10.0.0.0/104", &["must not have an IPv4-mapped IPv6 address"]);
        check("10.0.0.1/8", &["must not have bits set beyond the prefix length"]);
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "::/129", "x/8"] {
            check(bad, &[RANGE]);
        }
    }

    #[test]
    fn oddities() {
        let said = |text: &str| {
            let value = Value::from(text);
            let at = At::new(&value, Path::new("f"));
            let mut said: Vec<String> = odd_address(&at).into_iter().collect();
            said.extend(odd_range(&at, text));
            said
        };
        let future = "will be considered invalid in a future Kubernetes release: use";
        assert_eq!(said("10.0.0.1"), Vec::<String>::new());
        assert_eq!(said("10.0.0.0/8"), Vec::<String>::new());
        assert_eq!(
            said("010.0.0.1"),
            [format!("f: non-standard IP address \"010.0.0.1\" {future} \"10.0.0.1\"")]
        );
        assert_eq!(
            said("::ffff:1.2.3.4"),
            [format!("f: non-standard IP address \"::ffff:1.2.3.4\" {future} \"1.2.3.4\"")]
        );
        assert_eq!(
            said("FD00::1"),
            ["f: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")"]
        );
        let ambiguous = "is ambiguous in this context (should be";
        assert_eq!(
            said("10.1.2.3/08"),
            [
                format!(
                    "f: CIDR value \"10.1.2.3/08\" {ambiguous} \"10.0.0.0/8\" or \"10.1.2.3/32\"?)"
                ),
                format!("f: non-standard CIDR value \"10.1.2.3/08\" {future} \"10.0.0.0/8\"")
            ]
        );
        assert_eq!(
            said("::ffff:1.2.3.0/120"),
            [format!("f: non-standard CIDR value \"::ffff:1.2.3.0/120\" {future} \"1.2.3.0/24\"")]
        );
        assert_eq!(
            said("FD00::/16"),
            [
                "f: IPv6 CIDR value \"FD00::/16\" should be in RFC 5952 canonical format (\"fd00::/16\")"
            ]
        );
    }
}
