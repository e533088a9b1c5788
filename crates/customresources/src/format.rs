//! The formats of texts that upstream checks; others say nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use base64::Engine as _;
use machinery::{duration, names};

/// Whether a text has a format; none if the format is not one that is checked.
pub(crate) fn check(format: &str, text: &str) -> Option<bool> {
    // Upstream ignores dashes in the names of formats.
    let format = format.replace('-', "");
    Some(match format.as_str() {
        "bsonobjectid" => text.len() == 24 && is_hex(text),
        "uri" => is_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "ipv4" => Ipv4Addr::from_str(text).is_ok(),
        "ipv6" => Ipv6Addr::from_str(text).is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some('3')),
        "uuid4" => is_uuid(text, Some('4')),
        "uuid5" => is_uuid(text, Some('5')),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "creditcard" => is_credit_card(text),
        "ssn" => is_ssn(text),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && is_hex(digits)
        }
        "rgbcolor" => is_rgb(text),
        "byte" => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
        "password" => true,
        "date" => jiff::civil::Date::from_str(text).is_ok() && is_date(text),
        "duration" => is_duration(text),
        "datetime" => is_date_time(text),
        "k8sshortname" => names::dns1123_label(text).is_empty(),
        "k8slongname" => names::dns1123_subdomain(text).is_empty(),
        _ => return None,
    })
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// A path from the root, or a scheme with what belongs to it.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b < 0x20 || b == 0x7f || b == b' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, _)) = text.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn is_email(text: &str) -> bool {
    // A display name may stand before the address.
    let address = match (text.find('<'), text.ends_with('>')) {
        (Some(start), true) => &text[start + 1..text.len() - 1],
        _ => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |text: &str| {
        !text.is_empty()
            && !text.starts_with('.')
            && !text.ends_with('.')
            && !text.contains("..")
            && text.chars().all(|c| !c.is_whitespace() && !"()<>[]:;@\\,\"".contains(c))
    };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    (atom(local) || quoted) && (atom(domain) || domain.starts_with('[') && domain.ends_with(']'))
}

fn is_hostname(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() || text.chars().count() > 255 {
        return false;
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    name.split('.').all(label)
}

fn is_cidr(text: &str) -> bool {
    let Some((address, prefix)) = text.split_once('/') else { return false };
    let bits = match IpAddr::from_str(address) {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    digits(prefix) && prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits)
}

/// Six, eight or twenty bytes, in twos with colons or dashes or in fours with dots.
fn is_mac(text: &str) -> bool {
    let of = |separator: char, width: usize, counts: [usize; 3]| {
        let parts: Vec<&str> = text.split(separator).collect();
        counts.contains(&parts.len())
            && parts.iter().all(|part| part.len() == width && is_hex(part))
    };
    of(':', 2, [6, 8, 20]) || of('-', 2, [6, 8, 20]) || of('.', 4, [3, 4, 10])
}

fn is_uuid(text: &str, version: Option<char>) -> bool {
    let plain: String = text.chars().filter(|c| *c != '-').collect();
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    let grouped = parts == [8, 4, 4, 4, 12] || parts == [32];
    if plain.len() != 32 || !is_hex(&plain) || !grouped {
        return false;
    }
    let variant = |at: usize| plain.as_bytes()[at].to_ascii_lowercase();
    match version {
        None => true,
        Some(version @ '3') => plain.as_bytes()[12] == version as u8,
        Some(version) => {
            plain.as_bytes()[12] == version as u8
                && matches!(variant(16), b'8' | b'9' | b'a' | b'b')
        }
    }
}

fn is_isbn10(text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    if plain.len() != 10 {
        return false;
    }
    let sum: Option<u32> = plain
        .iter()
        .enumerate()
        .map(|(at, c)| match c {
            'X' if at == 9 => Some(100),
            c => c.to_digit(10).map(|digit| digit * (at as u32 + 1)),
        })
        .sum();
    sum.is_some_and(|sum| sum.is_multiple_of(11))
}

fn is_isbn13(text: &str) -> bool {
    let plain: Vec<char> = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    let sum: Option<u32> = plain
        .iter()
        .enumerate()
        .map(|(at, c)| Some(c.to_digit(10)? * if at % 2 == 0 { 1 } else { 3 }))
        .sum();
    plain.len() == 13 && sum.is_some_and(|sum| sum.is_multiple_of(10))
}

fn is_credit_card(text: &str) -> bool {
    let plain: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    if !(13..=19).contains(&plain.len())
        || text.chars().any(|c| !c.is_ascii_digit() && !matches!(c, '-' | ' '))
    {
        return false;
    }
    let sum: u32 = plain
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match at % 2 {
            0 => *digit,
            _ => (digit * 2) / 10 + (digit * 2) % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_ssn(text: &str) -> bool {
    let plain: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    plain.len() == 9 && digits(&plain)
}

fn is_rgb(text: &str) -> bool {
    let inside = text.strip_prefix("rgb(").and_then(|rest| rest.strip_suffix(')'));
    let Some(inside) = inside else { return false };
    let parts: Vec<&str> = inside.split(',').map(str::trim).collect();
    parts.len() == 3 && parts.iter().all(|part| digits(part) && part.parse::<u8>().is_ok())
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    matches!(parts.as_slice(), [y, m, d] if y.len() == 4 && m.len() == 2 && d.len() == 2)
}

/// RFC 3339, with any fraction.
fn is_date_time(text: &str) -> bool {
    let upper = text.to_ascii_uppercase();
    let Some((date, time)) = upper.split_once('T') else { return false };
    let zoned = time.ends_with('Z')
        || time.len() > 6 && matches!(time.as_bytes()[time.len() - 6], b'+' | b'-');
    is_date(date) && zoned && jiff::Timestamp::from_str(&upper).is_ok()
}

/// Go's durations, and words such as `2 days`.
fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 24] = [
        "nanosecond",
        "nano",
        "nanos",
        "ns",
        "microsecond",
        "micro",
        "micros",
        "us",
        "µs",
        "millisecond",
        "milli",
        "millis",
        "ms",
        "second",
        "sec",
        "secs",
        "s",
        "minute",
        "min",
        "mins",
        "hour",
        "hr",
        "hrs",
        "day",
    ];
    if duration::parse(text).is_ok() {
        return true;
    }
    let number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    if number.len() == text.len() {
        return false;
    }
    let unit = number.trim().to_ascii_lowercase();
    let singular = unit.strip_suffix('s').unwrap_or(&unit);
    UNITS.contains(&unit.as_str())
        || UNITS.contains(&singular)
        || matches!(unit.as_str(), "d" | "w" | "wk" | "week" | "weeks" | "h" | "m")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let check = |format: &str, good: &[&str], bad: &[&str]| {
            for text in good {
                assert_eq!(check(format, text), Some(true), "{format} {text}");
            }
            for text in bad {
                assert_eq!(check(format, text), Some(false), "{format} {text}");
            }
        };
        check(
            "date-time",
            &["2018-11-13T20:20:39+00:00", "2018-11-13T20:20:39.5Z"],
            &["now", "2018-11-13"],
        );
        check("date", &["2018-11-13"], &["2018-13-13", "2018-11-13T00:00:00Z"]);
        check("ipv4", &["1.2.3.4"], &["1.2.3", "::1"]);
        check("ipv6", &["::1"], &["1.2.3.4"]);
        check("cidr", &["10.0.0.0/8", "fd00::/64"], &["10.0.0.0", "10.0.0.0/33"]);
        check("uri", &["https://a/b", "/path"], &["a b", "nothing"]);
        check("email", &["a@b.c"], &["a", "@b"]);
        check("hostname", &["a.b-c.d"], &["-a", "a..b"]);
        check("uuid", &["f81d4fae-7dec-11d0-a765-00a0c91e6bf6"], &["f81d4fae"]);
        check(
            "uuid4",
            &["6ba7b810-9dad-41d1-80b4-00c04fd430c8"],
            &["6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
        );
        check("mac", &["00:00:5e:00:53:01", "0000.5e00.5301"], &["00:00"]);
        check("byte", &["aGk="], &["!"]);
        check("duration", &["1h30m", "2 days"], &["soon"]);
        check("hexcolor", &["#fff", "00ff00"], &["#ff"]);
        check("rgbcolor", &["rgb(1,2,255)"], &["rgb(1,2,256)"]);
        check("isbn10", &["0-321-75104-3"], &["0-321-75104-4"]);
        check("isbn13", &["978-3-16-148410-0"], &["978-3-16-148410-1"]);
        check("creditcard", &["4111-1111-1111-1111"], &["4111-1111-1111-1112"]);
        check("ssn", &["111-22-3333"], &["111-22-333"]);
        check("k8s-short-name", &["a-b"], &["a.b"]);
        check("password", &["x"], &[]);
        assert_eq!(super::check("int32", "x"), None);
    }
}
