//! The cost of a call whose arguments are known.

use super::functions::selector;
use super::range::{Range, scaled};
use super::{CHECK, REGEX, TRAVERSAL};
use crate::value::{Opaque, Value};

/// What the call cost.
pub(crate) fn of_call(
    function: &str,
    overload: &str,
    args: &[Value],
    result: Option<&Value>,
) -> u64 {
    let size = |at: usize| args.get(at).map_or(1, Value::size);
    let traversal = |at: usize| scaled(size(at), TRAVERSAL);
    match function {
        "check" => CHECK,
        "fieldSelector" | "labelSelector" => selector(Range::fixed(size(1))).max,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => {
            args.first().map_or(0, tree)
        }
        "url"
        | "isURL"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "jsonpatch.escapeKey"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver" => traversal(0),
        "replace" | "split" => scaled(size(0), 2.0 * TRAVERSAL),
        "join" => scaled(result.map_or(0, Value::size), 2.0 * TRAVERSAL),
        "find" | "findAll" => matching(size(0), size(1)),
        "ip" if overload == "cidr_ip" => 1,
        "ip" => traversal(0),
        "ip.isCanonical" => scaled(size(0), 2.0 * TRAVERSAL),
        "containsIP" => {
            let text = if overload == "cidr_contains_ip_string" { traversal(1) } else { 0 };
            scaled(2 * size(0), TRAVERSAL) + text
        }
        "containsCIDR" => {
            let text = if overload == "cidr_contains_cidr_string" { traversal(1) } else { 0 };
            scaled(2 * size(0), TRAVERSAL) + traversal(0) + 1 + text
        }
        "validate" => match args.first() {
            Some(Value::Opaque(Opaque::Format(format))) => matching(size(1), format.regex_size),
            _ => 1,
        },
        "sets.contains" | "sets.intersects" => size(0).saturating_mul(size(1)).saturating_add(1),
        "sets.equivalent" => size(0).saturating_mul(size(1)).saturating_mul(2).saturating_add(1),
        "distinct" | "sort" | "@sortByAssociatedKeys" => {
            size(0).saturating_mul(size(0)).saturating_add(1)
        }
        "flatten" | "reverse" | "slice" | "lists.range" => {
            result.map_or(0, Value::size).saturating_add(1)
        }
        _ => of_overload(overload, args),
    }
}

fn of_overload(overload: &str, args: &[Value]) -> u64 {
    let size = |at: usize| args.get(at).map_or(1, Value::size);
    match overload {
        "starts_with_string" | "ends_with_string" | "string_to_bytes" | "bytes_to_string"
        | "string_format" | "strings_quote" => scaled(size(0), TRAVERSAL),
        "in_list" => size(1),
        "less_string"
        | "greater_string"
        | "less_equals_string"
        | "greater_equals_string"
        | "less_bytes"
        | "greater_bytes"
        | "less_equals_bytes"
        | "greater_equals_bytes" => scaled(size(0).min(size(1)), TRAVERSAL),
        "equals" | "not_equals" => match args.first() {
            Some(Value::Opaque(_)) => 1,
            _ => scaled(size(0).min(size(1)), TRAVERSAL),
        },
        "add_string" | "add_bytes" => scaled(size(0).saturating_add(size(1)), TRAVERSAL),
        "matches" | "matches_string" => matching(size(0), size(1)),
        "contains_string" => scaled(size(0), TRAVERSAL).saturating_mul(scaled(size(1), TRAVERSAL)),
        _ => 1,
    }
}

/// A text against a regular expression of some length.
fn matching(text: u64, regex: u64) -> u64 {
    scaled(text.saturating_add(1), TRAVERSAL).saturating_mul(scaled(regex, REGEX))
}

/// Going through a value as a tree.
fn tree(value: &Value) -> u64 {
    match value {
        Value::String(text) => (text.len() as f64 * TRAVERSAL) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * TRAVERSAL) as u64,
        Value::List(list) => list.items.iter().map(tree).sum(),
        Value::Map(map) => map.iter().map(|(key, value)| tree(&key.to_value()) + tree(value)).sum(),
        Value::Object(object) => object.fields.values().map(|value| 1 + tree(value)).sum(),
        _ => 1,
    }
}
