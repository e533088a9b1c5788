//! The rules that markers stand for.

use machinery::names;
use machinery::schema::Field;

use super::gates;

/// A rule about a field.
#[derive(Clone, Debug)]
pub(super) enum Rule<'s> {
    Required,
    Optional,
    Forbidden,
    Immutable,
    Minimum(i64),
    Maximum(i64),
    MaxItems(usize),
    MaxLength(usize),
    MaxBytes(usize),
    Format(fn(&str) -> Vec<String>),
    /// No two items agree in these members.
    Keys(Vec<&'s str>),
    UnionMember,
}

/// The rules of a field, in the order of its markers.
pub(super) fn rules(field: Field<'_>) -> impl Iterator<Item = Rule<'_>> {
    let keys: Vec<&str> =
        field.markers().filter_map(|marker| marker.strip_prefix("k8s:listMapKey=")).collect();
    let keys = (!keys.is_empty()).then_some(Rule::Keys(keys));
    field.markers().filter_map(parse).chain(keys)
}

fn parse(marker: &str) -> Option<Rule<'_>> {
    if let Some((on, gate, rule)) = gates::condition(marker) {
        return (gates::is_off(gate) != on).then(|| parse(rule)).flatten();
    }
    let text = marker.strip_prefix("k8s:")?;
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    Some(match name {
        "required" => Rule::Required,
        "optional" => Rule::Optional,
        "forbidden" => Rule::Forbidden,
        "immutable" => Rule::Immutable,
        "unionMember" => Rule::UnionMember,
        "minimum" => Rule::Minimum(value.parse().ok()?),
        "maximum" => Rule::Maximum(value.parse().ok()?),
        "maxItems" => Rule::MaxItems(value.parse().ok()?),
        "maxLength" => Rule::MaxLength(value.parse().ok()?),
        "maxBytes" => Rule::MaxBytes(value.parse().ok()?),
        "format" => Rule::Format(format(value.trim_matches('"'))?),
        _ => return None,
    })
}

fn format(name: &str) -> Option<fn(&str) -> Vec<String>> {
    Some(match name {
        "k8s-short-name" => names::dns1123_label,
        "k8s-long-name" => names::dns1123_subdomain,
        "k8s-long-name-caseless" => |text| names::dns1123_subdomain(&text.to_lowercase()),
        "k8s-label-key" => names::qualified_name,
        "k8s-path-segment-name" => names::path_segment,
        "k8s-resource-pool-name" => pool_name,
        _ => return None,
    })
}

/// Names of pools are names of domains between slashes.
fn pool_name(text: &str) -> Vec<String> {
    let mut messages: Vec<String> = text.split('/').flat_map(names::dns1123_subdomain).collect();
    if text.len() > 253 {
        messages.insert(0, "must be no more than 253 bytes".to_owned());
    }
    messages
}
