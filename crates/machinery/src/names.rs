//! The forms that names, keys and small texts must have.
//!
//! Every check returns the messages to report, none when the value is fine. The texts quote the
//! regular expressions, but the checks are plain scans: they run for every label of every write.

/// Longest DNS label.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

macro_rules! label_format {
    () => {
        "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
    };
}

const SUBDOMAIN: &str = concat!(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '",
    label_format!(),
    "(\\.",
    label_format!(),
    ")*')"
);
macro_rules! underscored_label_format {
    () => {
        "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
    };
}
const SUBDOMAIN_UNDERSCORES: &str = concat!(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '",
    underscored_label_format!(),
    "(\\.",
    underscored_label_format!(),
    ")*')"
);
const LABEL: &str = concat!(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '",
    label_format!(),
    "')"
);
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const WILDCARD: &str = concat!(
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.",
    label_format!(),
    "(\\.",
    label_format!(),
    ")*')"
);
macro_rules! qualified {
    () => {
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    };
}
const QUALIFIED_NAME_PART: &str = concat!("name part ", qualified!());
const QUALIFIED: &str = concat!(
    "a qualified name ",
    qualified!(),
    " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
);
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const C_IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";
const ENV_VAR: &str = "a valid environment variable name must consist only of printable ASCII characters other than '='";
const HTTP_HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// Text for a value that is longer than `max` bytes.
pub fn max_length(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// Text for a number outside a closed range.
pub fn inclusive_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

fn is_label(value: &str) -> bool {
    let bytes = value.as_bytes();
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(alnum)
        && bytes.last().is_some_and(alnum)
        && bytes.iter().all(|b| alnum(b) || *b == b'-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_label)
}

fn is_qualified_part(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn checked(value: &str, max: usize, fits: bool, message: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if value.len() > max {
        messages.push(max_length(max));
    }
    if !fits {
        messages.push(message.to_owned());
    }
    messages
}

/// A DNS label of RFC 1123.
pub fn dns1123_label(value: &str) -> Vec<String> {
    let message = if is_subdomain(value) { "must not contain dots" } else { LABEL };
    checked(value, LABEL_MAX, is_label(value), message)
}

/// A DNS subdomain of RFC 1123.
pub fn dns1123_subdomain(value: &str) -> Vec<String> {
    checked(value, SUBDOMAIN_MAX, is_subdomain(value), SUBDOMAIN)
}

/// A DNS subdomain of RFC 1123 whose labels may have underscores, at their start too, as the names
/// of services have.
pub fn dns1123_subdomain_with_underscores(value: &str) -> Vec<String> {
    let label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        is_label(&label.replace('_', "-"))
    };
    checked(value, SUBDOMAIN_MAX, value.split('.').all(label), SUBDOMAIN_UNDERSCORES)
}

/// A DNS label of RFC 1035, which starts with a letter.
pub fn dns1035_label(value: &str) -> Vec<String> {
    let fits = is_label(value) && value.as_bytes()[0].is_ascii_lowercase();
    checked(value, LABEL_MAX, fits, LABEL_1035)
}

/// A subdomain after `*.`.
pub fn wildcard_dns1123_subdomain(value: &str) -> Vec<String> {
    let fits = value.strip_prefix("*.").is_some_and(is_subdomain);
    checked(value, SUBDOMAIN_MAX, fits, WILDCARD)
}

/// A label key: a name with an optional DNS prefix.
pub fn qualified_name(value: &str) -> Vec<String> {
    let mut messages = Vec::new();
    let name = match value.split_once('/') {
        None => value,
        Some((_, name)) if name.contains('/') => return vec![QUALIFIED.to_owned()],
        Some((prefix, name)) => {
            if prefix.is_empty() {
                messages.push("prefix part must be non-empty".to_owned());
            } else {
                messages.extend(
                    dns1123_subdomain(prefix).into_iter().map(|m| format!("prefix part {m}")),
                );
            }
            name
        }
    };
    if name.is_empty() {
        messages.push("name part must be non-empty".to_owned());
    } else if name.len() > LABEL_MAX {
        messages.push(format!("name part {}", max_length(LABEL_MAX)));
    }
    if !is_qualified_part(name) {
        messages.push(QUALIFIED_NAME_PART.to_owned());
    }
    messages
}

/// The value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    checked(value, LABEL_MAX, value.is_empty() || is_qualified_part(value), LABEL_VALUE)
}

/// The name of an environment variable.
pub fn env_var_name(value: &str) -> Vec<String> {
    if value.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    let fits = value.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=');
    checked(value, usize::MAX, fits, ENV_VAR)
}

/// An identifier of C.
pub fn c_identifier(value: &str) -> Vec<String> {
    let fits = value.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    checked(value, usize::MAX, fits, C_IDENTIFIER)
}

/// A key of a ConfigMap or Secret, which may become a file name.
pub fn config_map_key(value: &str) -> Vec<String> {
    let fits = !value.is_empty()
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let mut messages = checked(value, SUBDOMAIN_MAX, fits, CONFIG_KEY);
    match value {
        "." => messages.push("must not be '.'".to_owned()),
        ".." => messages.push("must not be '..'".to_owned()),
        _ if value.starts_with("..") => messages.push("must not start with '..'".to_owned()),
        _ => {}
    }
    messages
}

/// A named port (an IANA service name).
pub fn port_name(value: &str) -> Vec<String> {
    let mut messages = Vec::new();
    if value.len() > 15 {
        messages.push(max_length(15));
    }
    let bytes = value.as_bytes();
    let fits = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    if bytes.is_empty() || !bytes.iter().all(fits) {
        messages.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !bytes.iter().any(u8::is_ascii_lowercase) {
        messages.push("must contain at least one letter (a-z)".to_owned());
    }
    if value.contains("--") {
        messages.push("must not contain consecutive hyphens".to_owned());
    }
    if value.starts_with('-') || value.ends_with('-') {
        messages.push("must not begin or end with a hyphen".to_owned());
    }
    messages
}

/// A port number.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}

/// A number in a closed range.
pub fn in_range(value: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&value) { Vec::new() } else { vec![inclusive_range(low, high)] }
}

/// A numeric user or group.
pub fn unix_id(id: i64) -> Vec<String> {
    in_range(id, 0, i64::from(i32::MAX))
}

/// The name of an HTTP header.
pub fn http_header_name(value: &str) -> Vec<String> {
    let fits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    checked(value, usize::MAX, fits, HTTP_HEADER)
}

/// Digits and a percent sign.
pub fn percent(value: &str) -> Vec<String> {
    let fits = value
        .strip_suffix('%')
        .is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    checked(value, usize::MAX, fits, PERCENT)
}

/// A name that can be one segment of a URL path; used where no stricter form applies.
pub fn path_segment(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    path_segment_prefix(value)
}

/// The start of a name that can be one segment of a URL path.
pub fn path_segment_prefix(value: &str) -> Vec<String> {
    ["/", "%"]
        .into_iter()
        .filter(|bad| value.contains(bad))
        .map(|bad| format!("may not contain '{bad}'"))
        .collect()
}

/// What a `generateName` stands for when it is checked: a dash at the end is fine, because
/// characters follow.
pub fn mask_trailing_dash(prefix: &str) -> std::borrow::Cow<'_, str> {
    match prefix.strip_suffix('-') {
        Some(stem) if !stem.is_empty() => format!("{stem}a").into(),
        _ => prefix.into(),
    }
}

/// An IP address in its usual or any accepted form, without leading zeros in IPv4 octets.
pub fn ip_address(value: &str) -> Vec<String> {
    if value.parse::<std::net::IpAddr>().is_ok() {
        Vec::new()
    } else {
        vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()]
    }
}

/// An address and a prefix length.
pub fn cidr(value: &str) -> Vec<String> {
    let fits = value.split_once('/').is_some_and(|(address, length)| {
        let max = match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => 32,
            Ok(std::net::IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.bytes().all(|b| b.is_ascii_digit()) && length.parse::<u8>().is_ok_and(|n| n <= max)
    });
    let message = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    checked(value, usize::MAX, fits, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Vec<String>, good: &[&str], bad: &[(&str, &str)]) {
        for value in good {
            assert_eq!(rule(value), Vec::<String>::new(), "{value}");
        }
        for (value, expected) in bad {
            let messages = rule(value).join(" + ");
            assert!(messages.contains(expected), "{value}: {messages}");
        }
    }

    #[test]
    fn dns() {
        check(
            dns1123_label,
            &["a", "a-b", "0"],
            &[
                ("", "RFC 1123 label"),
                (
                    "A",
                    "(e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                ),
                ("a.b", "must not contain dots"),
                (&"a".repeat(64), "must be no more than 63 bytes"),
            ],
        );
        check(
            dns1123_subdomain,
            &["a.b", "x"],
            &[
                ("a..b", "RFC 1123 subdomain"),
                ("-a", "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"),
            ],
        );
        check(dns1035_label, &["abc"], &[("1a", "DNS-1035"), ("", "DNS-1035")]);
        check(wildcard_dns1123_subdomain, &["*.a.b"], &[("*", "wildcard"), ("a.b", "wildcard")]);
    }

    #[test]
    fn keys_and_values() {
        check(
            qualified_name,
            &["a", "a.b/C_d", "123"],
            &[
                ("", "name part must be non-empty"),
                ("/a", "prefix part must be non-empty"),
                ("a/b/c", "a qualified name must consist"),
                ("a b", "name part must consist of"),
                ("A/b", "prefix part a lowercase RFC 1123 subdomain"),
            ],
        );
        check(label_value, &["", "A_b.c"], &[("-", "a valid label must be")]);
        check(
            config_map_key,
            &["a.b", ".x"],
            &[
                ("", "a valid config key"),
                ("..", "must not be '..'"),
                ("..a", "must not start with '..'"),
            ],
        );
        check(env_var_name, &["A.b-c", "1"], &[("a=b", "printable ASCII"), ("", "non-empty")]);
        check(c_identifier, &["_a1"], &[("1a", "C identifier")]);
    }

    #[test]
    fn small_things() {
        check(
            port_name,
            &["http", "a-1"],
            &[
                ("1", "must contain at least one letter (a-z)"),
                ("a--b", "consecutive"),
                ("-a", "begin or end"),
                ("A", "only alpha-numeric"),
                ("abcdefghijklmnop", "no more than 15"),
            ],
        );
        check(
            path_segment,
            &["a:b", "A"],
            &[("..", "may not be '..'"), ("a/b", "may not contain '/'")],
        );
        check(percent, &["0%", "100%"], &[("%", "percent"), ("5", "percent")]);
        check(cidr, &["10.0.0.0/8", "::/0"], &[("10.0.0.0/33", "CIDR"), ("10.0.0.0", "CIDR")]);
        check(ip_address, &["::1", "1.2.3.4"], &[("1.2.3", "IP"), ("01.2.3.4", "IP")]);
        assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
        assert_eq!(mask_trailing_dash("a-"), "aa");
    }
}
