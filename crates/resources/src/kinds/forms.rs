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
/// is missing if there are none.
pub(super) fn review_versions(versions: &At<'_>, missing: &str, errors: &mut ErrorList) {
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
    if !(taken.contains("v1") || taken.contains("v1beta1")) {
        versions.invalid(errors, "must include at least one of v1, v1beta1");
    }
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
    let Some(rest) = text.strip_prefix('/') else {
        path.invalid(errors, "must start with a '/'");
        return;
    };
    for (i, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if segment.is_empty() {
            path.invalid(errors, format!("segment[{i}] may not be empty"));
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
    reference.get("kind").must_form(errors, names::path_segment);
    reference.get("name").must_form(errors, names::path_segment);
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
