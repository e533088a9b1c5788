//! Devices that slices offer: what they are, what they have, where they are.

use cel::Semver;
use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use serde_json::Map;

use super::{capacity, conditions, forms, taint};
use crate::cursor::{At, same};
use crate::kinds::pod::scheduling;

const MAX_NAMES: usize = 32;
const MAX_VALUES: usize = 48;
const MAX_VALUE: usize = 64;
const MAX_TAINTS: usize = 16;
const MAX_CONSUMPTIONS: usize = 2;
const MAX_COUNTERS: usize = 32;

/// The lists that an attribute may have for a value.
const LISTS: [&str; 4] = ["bools", "ints", "strings", "versions"];

/// Whether a device has what takes more room than attributes.
pub(super) fn is_elaborate(device: &At<'_>) -> bool {
    let has_list = |attribute: At<'_>| LISTS.iter().any(|list| attribute.get(list).is_set());
    !device.get("taints").is_empty()
        || !device.get("consumesCounters").is_empty()
        || device.get("attributes").entries().any(|(_, attribute)| has_list(attribute))
}

/// Checks a device. What `old`, the one of the same name, had is not checked again. Devices say
/// where they are if each has a place of its own (`own_nodes`).
pub(super) fn check(
    device: &At<'_>,
    old: Option<&At<'_>>,
    own_nodes: bool,
    errors: &mut ErrorList,
) {
    device.get("name").form(errors, names::dns1123_label);
    let (attributes, capacities) = (device.get("attributes"), device.get("capacity"));
    let known = attributes.len() + capacities.len();
    if known > MAX_NAMES {
        let detail =
            format!("the total number of attributes and capacities must not exceed {MAX_NAMES}");
        errors.push(Error::invalid(&device.path, known, detail));
    }
    let values: usize =
        attributes.entries().map(|(_, attribute)| number_of_values(&attribute)).sum();
    if values > MAX_VALUES {
        let detail = format!("the total number of attribute values must not exceed {MAX_VALUES}");
        errors.push(Error::invalid(&device.path, values, detail));
    }
    let max = forms::MAX_QUALIFIED;
    forms::map(&attributes, None, max, errors, forms::qualified_name, attribute);
    let changed = |field: &'static str| {
        old.is_none_or(|old| !same(old.get(field).value, device.get(field).value))
    };
    if changed("capacity") {
        let shared = device.get("allowMultipleAllocations").bool();
        forms::map(&capacities, None, max, errors, forms::qualified_name, |of, errors| {
            capacity::check(of, shared, errors);
        });
    }
    if changed("taints") {
        forms::items(&device.get("taints"), MAX_TAINTS, errors, |taint, errors| {
            taint::check(taint, None, errors);
        });
    }
    let set = |of: &At<'_>| of.get("counterSet").str().to_owned();
    let consumed = device.get("consumesCounters");
    forms::set(&consumed, MAX_CONSUMPTIONS, errors, consumption, set);
    if own_nodes {
        own_place(device, errors);
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|f| device.get(f).is_set()) {
        let detail = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.push(Error::invalid(&device.path, Value::Null, detail));
    }
    conditions::check(device, errors);
}

fn number_of_values(attribute: &At<'_>) -> usize {
    let listed: usize = LISTS.iter().map(|list| attribute.get(list).len()).sum();
    listed.max(1)
}

/// Attributes have one value.
fn attribute(attribute: &At<'_>, errors: &mut ErrorList) {
    let (text, version) = (attribute.get("string"), attribute.get("version"));
    if text.is_set() {
        short(&text, errors);
    }
    if version.is_set() {
        semantic_version(&version, errors);
    }
    for name in LISTS {
        let list = attribute.get(name);
        if list.is_set() && list.is_empty() {
            list.invalid(errors, "must not be empty if specified");
        }
        for item in list.list() {
            match name {
                "strings" => short(&item, errors),
                "versions" => semantic_version(&item, errors),
                _ => {}
            }
        }
    }
    let kinds = ["int", "bool", "string", "version", "ints", "bools", "strings", "versions"];
    let detail = "exactly one value must be specified";
    match kinds.iter().filter(|kind| attribute.get(kind).is_set()).count() {
        0 => errors.push(Error::invalid(&attribute.path, "", detail)),
        1 => {}
        _ => {
            let shown: Map<String, Value> = kinds
                .iter()
                .map(|kind| (field_name(kind), attribute.get(kind).value.clone()))
                .collect();
            errors.push(Error::invalid(&attribute.path, shown, detail));
        }
    }
}

/// What a value of an attribute is called in the texts of errors.
fn field_name(kind: &str) -> String {
    let (stem, ending) = match kind.strip_suffix('s') {
        Some(stem) => (stem, "Values"),
        None => (kind, "Value"),
    };
    let (first, rest) = stem.split_at(1);
    format!("{}{rest}{ending}", first.to_uppercase())
}

fn short(text: &At<'_>, errors: &mut ErrorList) {
    if text.str().len() > MAX_VALUE {
        errors.push(Error::too_long(&text.path, MAX_VALUE));
    }
}

fn semantic_version(version: &At<'_>, errors: &mut ErrorList) {
    if Semver::parse(version.str()).is_none() {
        version.invalid(errors, "must be a string compatible with semver.org spec 2.0.0");
    }
    short(version, errors);
}

fn own_place(device: &At<'_>, errors: &mut ErrorList) {
    let mut set = Vec::new();
    let node = device.get("nodeName");
    if !node.is_empty() {
        set.push("`nodeName`");
        node.form(errors, names::dns1123_subdomain);
    } else if node.is_set() {
        node.invalid(errors, "must not be empty");
    }
    let selector = device.get("nodeSelector");
    if selector.is_set() {
        set.push("`nodeSelector`");
        scheduling::node_selector(&selector, errors);
    }
    let all = device.get("allNodes");
    if all.bool() {
        set.push("`allNodes`");
    } else if all.is_set() {
        all.invalid(errors, "must be either unset or set to true");
    }
    let detail = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match set.len() {
        0 => device.required(errors, detail),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            errors.push(Error::invalid(&device.path, shown, detail));
        }
    }
}

/// Checks counters that devices share.
pub(super) fn counter_set(set: &At<'_>, errors: &mut ErrorList) {
    set.get("name").must_form(errors, names::dns1123_label);
    counters(&set.get("counters"), errors);
}

fn consumption(consumption: &At<'_>, errors: &mut ErrorList) {
    consumption.get("counterSet").must_form(errors, names::dns1123_label);
    counters(&consumption.get("counters"), errors);
}

fn counters(counters: &At<'_>, errors: &mut ErrorList) {
    if counters.must(errors) {
        let name = |name: &str, path: &machinery::field::Path, errors: &mut ErrorList| {
            forms::form(name, path, errors, names::dns1123_label);
        };
        forms::map(counters, Some(MAX_COUNTERS), forms::MAX_LABEL, errors, name, |_, _| {});
    }
}
