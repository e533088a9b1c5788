//! Forms of text and structures that several kinds share: names under a domain, URLs and Services
//! that are called, references to other objects, JSON in texts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use machinery::field::{Error, ErrorList};
use machinery::{Value, names};

use super::addresses::sloppy_address;
use crate::cursor::At;

/// A domain of at least `segments` labels, such as the name of a webhook.
pub(super) fn domain(at: &At<'_>, segments: usize, errors: &mut ErrorList) {
    let text = at.str();
    if text.is_empty() {
        at.required(errors, "");
        return;
    }
    // One dot at the end says that the domain is complete; only names of hosts have it.
    let plain = if segments == 2 { text.strip_suffix('.').unwrap_or(text) } else { text };
    let messages = names::dns1123_subdomain(plain);
    if !messages.is_empty() {
        at.invalid(errors, messages.join(","));
        return;
    }
    if plain.split('.').count() < segments {
        let number = if segments == 2 { "two" } else { "three" };
        let detail =
            format!("should be a domain with at least {number} segments separated by dots");
        at.invalid(errors, detail);
    }
}

/// A path under a domain, such as the name of a signer or controller.
pub(super) fn domain_prefixed_path(at: &At<'_>, errors: &mut ErrorList) {
    let text = at.str();
    if text.is_empty() {
        at.required(errors, "");
        return;
    }
    let Some((host, path)) =
        text.split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty())
    else {
        at.invalid(errors, "must be a domain-prefixed path (such as \"acme.io/foo\")");
        return;
    };
    for message in names::dns1123_subdomain(host) {
        errors.push(Error::invalid(&at.path, host, message));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !path.bytes().all(fits) {
        let detail =
            "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')";
        errors.push(Error::invalid(&at.path, path, detail));
    }
}

/// The client configuration of a webhook: a URL or a Service.
pub(super) fn webhook_client(client: &At<'_>, errors: &mut ErrorList) {
    let (url, service) = (client.get("url"), client.get("service"));
    match (url.is_set(), service.is_set()) {
        (true, false) => webhook_url(&url, errors),
        (false, true) => webhook_service(&service, errors),
        _ => client.required(errors, "exactly one of url or service is required"),
    }
}

/// The versions of reviews that a webhook understands, one of which is ours. `missing` says what
/// is missing if there are none. What was written before may know none of ours (`lax`).
pub(super) fn review_versions(versions: &At<'_>, missing: &str, lax: bool, errors: &mut ErrorList) {
    if versions.is_empty() {
        versions.required(errors, missing);
        return;
    }
    let mut taken = BTreeSet::new();
    for version in versions.list() {
        if taken.insert(version.str()) {
            version.form(errors, names::dns1035_label);
        } else {
            version.invalid(errors, "duplicate version");
        }
    }
    if !lax && !has_review_version(versions) {
        versions.invalid(errors, "must include at least one of v1, v1beta1");
    }
}

/// Whether one of the versions of reviews is ours.
pub(super) fn has_review_version(versions: &At<'_>) -> bool {
    versions.items().iter().any(|version| version == "v1" || version == "v1beta1")
}

fn webhook_url(url: &At<'_>, errors: &mut ErrorList) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.str().split_once("://").unwrap_or(("", url.str()));
    let mut say = |value: &str, detail: String| {
        errors.push(Error::invalid(&url.path, value, detail));
    };
    if scheme != "https" {
        say(scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = if scheme.is_empty() { "" } else { rest.split('/').next().unwrap_or("") };
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        say(host, format!("host must be specified{FORM}"));
    }
    if !user.is_empty() {
        say(user, "user information is not permitted in the URL".to_owned());
    }
    if !fragment.is_empty() {
        say(fragment, "fragments are not permitted in the URL".to_owned());
    }
    if !query.is_empty() {
        say(query, "query parameters are not permitted in the URL".to_owned());
    }
}

/// A Service that the API server calls, at a path.
pub(super) fn webhook_service(service: &At<'_>, errors: &mut ErrorList) {
    if service.get("name").is_empty() {
        service.get("name").required(errors, "service name is required");
    }
    if service.get("namespace").is_empty() {
        service.get("namespace").required(errors, "service namespace is required");
    }
    let port = service.get("port");
    let messages = names::port_number(port.int_or_zero());
    if !messages.is_empty() {
        let detail = format!("port is not valid: {}", messages.join(","));
        errors.push(Error::invalid(&port.path, port.int_or_zero(), detail));
    }
    let path = service.get("path");
    let text = path.str();
    if text.is_empty() || text == "/" {
        return;
    }
    if text == "//" {
        path.invalid(errors, "segment[0] may not be empty");
        return;
    }
    if !text.starts_with('/') {
        path.invalid(errors, "must start with a '/'");
    }
    let rest: String = text.chars().skip(1).collect();
    for (i, segment) in rest.strip_suffix('/').unwrap_or(&rest).split('/').enumerate() {
        if segment.is_empty() {
            path.invalid(errors, format!("segment[{i}] may not be empty"));
            continue;
        }
        for message in names::dns1123_subdomain(segment) {
            path.invalid(errors, format!("segment[{i}]: {message}"));
        }
    }
}

/// An address that traffic can be sent to.
pub(super) fn ordinary_address(at: &At<'_>, errors: &mut ErrorList) {
    let Some(address) = sloppy_address(at.str()) else {
        at.invalid(errors, "must be a valid IP address");
        return;
    };
    // One of IPv4 in the clothes of IPv6 is what it is.
    let address = address.to_canonical();
    if address.is_unspecified() {
        at.invalid(errors, format!("may not be unspecified ({})", at.str()));
    }
    if address.is_loopback() {
        at.invalid(errors, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    };
    if link_local {
        at.invalid(errors, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    let link_local_multicast = match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
        IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
    };
    if link_local_multicast {
        at.invalid(
            errors,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        );
    }
}

/// Kind and name of an object of a group that may be given.
pub(super) fn typed_reference(reference: &At<'_>, errors: &mut ErrorList) {
    let group = reference.get("apiGroup");
    if group.is_set() {
        group.form(errors, names::dns1123_subdomain);
    }
    for field in ["kind", "name"] {
        let part = reference.get(field);
        if part.is_empty() {
            part.required(errors, format!("{field} is required"));
        } else {
            part.form(errors, names::path_segment);
        }
    }
}

/// An address as newer fields want it: the one text that it has.
pub(super) fn strict_address(text: &str) -> Vec<String> {
    let Some(address) = lax_address(text) else {
        return vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()];
    };
    if text.parse::<IpAddr>().is_err() {
        return vec!["must not have leading 0s".to_owned()];
    }
    if is_mapped(address) {
        return vec!["must not be an IPv4-mapped IPv6 address".to_owned()];
    }
    in_canonical_form(text, address.to_string())
}

/// A range as newer fields want it: the one text that it has.
pub(super) fn strict_range(text: &str) -> Vec<String> {
    let invalid =
        || vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()];
    let Some((ip, bits)) = text.split_once('/') else { return invalid() };
    let Some(address) = lax_address(ip) else { return invalid() };
    let width: u32 = if address.is_ipv4() { 32 } else { 128 };
    let Some(length) = bits.parse::<u32>().ok().filter(|length| *length <= width) else {
        return invalid();
    };
    let zeros = bits.len() > 1 && bits.starts_with('0');
    if ip.parse::<IpAddr>().is_err() || zeros || bits.starts_with('+') {
        return vec!["must not have leading 0s in IP or prefix length".to_owned()];
    }
    if is_mapped(address) {
        return vec!["must not have an IPv4-mapped IPv6 address".to_owned()];
    }
    let value = match address {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let behind = 1u128.checked_shl(width - length).map_or(u128::MAX, |bit| bit - 1);
    if value & behind != 0 {
        return vec!["must not have bits set beyond the prefix length".to_owned()];
    }
    in_canonical_form(text, format!("{address}/{length}"))
}

/// An address of an interface with the length of its network's prefix, in the one text it has.
pub(super) fn interface_address(text: &str) -> Vec<String> {
    let parsed = || {
        let (ip, bits) = text.split_once('/')?;
        let address = lax_address(ip)?;
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let digits = bits.bytes().all(|b| b.is_ascii_digit());
        let length = bits.parse::<u32>().ok().filter(|length| digits && *length <= width)?;
        // One of IPv4 in the clothes of IPv6 is what it is.
        let canonical = address.to_canonical();
        let length = if canonical.is_ipv4() && length > 32 { length - 96 } else { length };
        Some(format!("{canonical}/{length}"))
    };
    match parsed() {
        Some(canonical) => in_canonical_form(text, canonical),
        None => {
            let example = "(e.g. 10.9.8.7/24 or 2001:db8::1/64)";
            vec![format!("must be a valid address in CIDR form, {example}")]
        }
    }
}

fn in_canonical_form(text: &str, canonical: String) -> Vec<String> {
    if text == canonical {
        return Vec::new();
    }
    vec![format!("must be in canonical form ({})", machinery::field::quote(&canonical))]
}

/// An address whose IPv4 octets may have leading zeros, as they may in older fields.
fn lax_address(text: &str) -> Option<IpAddr> {
    let trimmed = |octet: &str| -> String {
        let rest = octet.trim_start_matches('0');
        if rest.is_empty() && !octet.is_empty() { "0".to_owned() } else { rest.to_owned() }
    };
    if text.contains(':') {
        return text.parse().ok();
    }
    text.split('.').map(trimmed).collect::<Vec<_>>().join(".").parse().ok()
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// A kind, which is a DNS label but for its capitals.
pub(super) fn kind_name(kind: &At<'_>, errors: &mut ErrorList) {
    let messages = names::dns1035_label(&kind.str().to_lowercase());
    if !kind.is_empty() && !messages.is_empty() {
        let detail =
            format!("may have mixed case, but should otherwise match: {}", messages.join(","));
        kind.invalid(errors, detail);
    }
}

/// Several messages in one error.
pub(super) fn joined(at: &At<'_>, rule: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    let messages = rule(at.str());
    if !messages.is_empty() {
        errors.push(Error::invalid(&at.path, at.str(), messages.join(",")));
    }
}

/// Reads JSON for a variable that has the type `ty` in Go: an object, or a list when it starts with
/// `[]`. Nothing else fits but null; the error is what Go says.
pub(super) fn go_json(bytes: &[u8], ty: &str) -> Result<Value, String> {
    if bytes.is_empty() {
        return Err("unexpected end of JSON input".to_owned());
    }
    let is_list = ty.starts_with("[]");
    let found = match serde_json::from_slice::<Value>(bytes) {
        Ok(value)
            if value.is_null() || if is_list { value.is_array() } else { value.is_object() } =>
        {
            return Ok(value);
        }
        Ok(Value::Object(_)) => "object",
        Ok(Value::Array(_)) => "array",
        Ok(Value::String(_)) => "string",
        Ok(Value::Number(_)) => "number",
        Ok(_) => "bool",
        Err(error) => {
            let explained = machinery::codec::peek_type_meta(bytes).err();
            let text = explained.map_or_else(|| error.to_string(), |error| error.to_string());
            // The part that says what else the bytes could have been is about objects of the API.
            return Err(text.rsplit("json parse error: ").next().unwrap_or(&text).to_owned());
        }
    };
    Err(format!("json: cannot unmarshal {found} into Go value of type {ty}"))
}

const CONDITION_STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const MAX_REASON: usize = 1024;
const MAX_MESSAGE: usize = 32 * 1024;
const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Conditions of the form that all newer kinds share (`meta/v1` Condition).
pub(super) fn conditions(conditions: &At<'_>, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for condition in conditions.list() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        if !taken.insert(kind.str()) {
            kind.duplicate(errors);
        }
        kind.form(errors, names::qualified_name);
        if !CONDITION_STATUSES.contains(&status.str()) {
            status.unsupported(errors, &CONDITION_STATUSES);
        }
        let generation = condition.get("observedGeneration");
        if generation.int_or_zero() < 0 {
            generation.invalid(errors, "must be greater than or equal to zero");
        }
        if condition.get("lastTransitionTime").is_empty() {
            condition.get("lastTransitionTime").required(errors, "must be set");
        }
        let (reason, message) = (condition.get("reason"), condition.get("message"));
        if reason.is_empty() {
            reason.required(errors, "must be set");
        } else {
            if !is_reason(reason.str()) {
                reason.invalid(errors, REASON);
            }
            if reason.str().len() > MAX_REASON {
                errors.push(Error::too_long(&reason.path, MAX_REASON));
            }
        }
        if message.str().len() > MAX_MESSAGE {
            errors.push(Error::too_long(&message.path, MAX_MESSAGE));
        }
    }
}

fn is_reason(text: &str) -> bool {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(word)
        && bytes.iter().all(|b| word(b) || b",:".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_forms() {
        let check = |rule: fn(&str) -> Vec<String>, text: &str, expected: &str| {
            assert_eq!(rule(text).join(" + "), expected, "{text}");
        };
        check(strict_address, "10.0.0.1", "");
        check(strict_address, "2001:db8::1", "");
        check(strict_address, "x", "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        check(strict_address, "010.0.0.1", "must not have leading 0s");
        check(strict_address, "::ffff:1.2.3.4", "must not be an IPv4-mapped IPv6 address");
        check(strict_address, "2001:DB8::0:1", "must be in canonical form (\"2001:db8::1\")");
        check(strict_range, "10.0.0.0/8", "");
        check(strict_range, "0.0.0.0/0", "");
        check(strict_range, "::/0", "");
        check(
            strict_range,
            "10.0.0.0/33",
            "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
        );
        check(strict_range, "10.0.0.0/08", "must not have leading 0s in IP or prefix length");
        check(strict_range, "10.0.0.1/8", "must not have bits set beyond the prefix length");
        check(strict_range, "::ffff:1.2.3.0/120", "must not have an IPv4-mapped IPv6 address");
        check(strict_range, "2001:DB8::/64", "must be in canonical form (\"2001:db8::/64\")");
        check(interface_address, "10.9.8.7/24", "");
        check(interface_address, "2001:db8::1/64", "");
        check(
            interface_address,
            "10.9.8.7",
            "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
        );
        check(interface_address, "10.9.08.7/24", "must be in canonical form (\"10.9.8.7/24\")");
        check(
            interface_address,
            "::ffff:10.9.8.7/120",
            "must be in canonical form (\"10.9.8.7/24\")",
        );
    }
}
