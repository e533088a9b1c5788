//! Nodes.

#[cfg(test)]
mod tests;

use machinery::Value;
use machinery::field::{ErrorList, Path};
use machinery::names;

use super::pod::{requirements, scheduling};
use crate::cursor::At;
use crate::strategy::{Ctx, StatusOnCreate, Strategy, subdomain_name};

/// The rules of Nodes.
pub(super) struct Node;

impl Strategy for Node {
    fn default(&self, node: &mut Value) {
        let capacity = node.pointer("/status/capacity").filter(|c| c.is_object()).cloned();
        if let (Some(capacity), Some(status)) = (capacity, node.get_mut("status")) {
            crate::cursor::set_default(status, "allocatable", capacity);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    /// Kubelets register with their status.
    fn status_on_create(&self) -> StatusOnCreate {
        StatusOnCreate::Keep
    }

    fn validate(&self, _ctx: &Ctx<'_>, node: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        rules(node, &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        rules(new, &mut errors);
        addresses(new, &mut errors);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let (ranges, old_ranges) = (spec.get("podCIDRs"), before.get("podCIDRs"));
        if !old_ranges.is_empty() && ranges.value != old_ranges.value {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            ranges.forbidden(&mut errors, detail);
        }
        let (provider, old_provider) = (spec.get("providerID"), before.get("providerID"));
        if !old_provider.is_empty() && provider.str() != old_provider.str() {
            let detail = "node updates may not change providerID except from \"\" to valid";
            provider.forbidden(&mut errors, detail);
        }
        errors
    }

    fn validate_status_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        self.validate_update(ctx, new, old)
    }

    fn canonicalize(&self, node: &mut Value) {
        one_range(node);
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, node: &mut Value) {
        one_range(node);
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        one_range(new);
        // The older field alone says nothing about the newer one that stands already.
        if let (Some(spec), Some(before)) = (new.get_mut("spec"), old.get("spec"))
            && spec.get("podCIDR") == before.get("podCIDR")
            && spec.get("podCIDRs").is_none()
        {
            crate::cursor::copy_field(spec, before, "podCIDRs");
        }
    }
}

/// `podCIDR` and `podCIDRs[0]` say the same.
fn one_range(node: &mut Value) {
    let Some(spec) = node.get_mut("spec").filter(|s| s.is_object()) else { return };
    let first = spec.pointer("/podCIDRs/0").filter(|r| r.is_string()).cloned();
    let one = spec.get("podCIDR").filter(|r| r.as_str().is_some_and(|r| !r.is_empty())).cloned();
    match (one, first) {
        (Some(range), None) => spec["podCIDRs"] = Value::Array(vec![range]),
        (None, Some(range)) => spec["podCIDR"] = range,
        _ => {}
    }
}

fn rules(node: &Value, errors: &mut ErrorList) {
    let spec = At::root(node).get("spec");
    // Upstream's path; the taints stand in the spec.
    let taints = At::new(spec.get("taints").value, Path::new("metadata").child("taints"));
    scheduling::taints(&taints, errors);
    amounts(node, errors);
    let ranges = spec.get("podCIDRs");
    for range in ranges.list() {
        range.form(errors, names::cidr);
    }
    let v6 = |range: &At<'_>| range.str().contains(':');
    let families: Vec<bool> = ranges.list().map(|range| v6(&range)).collect();
    let fits = match families[..] {
        [] | [_] => true,
        [one, other] => one != other,
        _ => false,
    };
    if !fits {
        ranges.invalid(errors, "may specify no more than one CIDR for each IP family");
    }
}

fn amounts(node: &Value, errors: &mut ErrorList) {
    let status = At::root(node).get("status");
    for list in ["capacity", "allocatable"] {
        let path = status.get(list).path;
        for (name, amount) in status.get(list).entries() {
            let amount = At::new(amount.value, path.child(name.to_owned()));
            requirements::quantity(name, &amount, errors);
        }
    }
}

fn addresses(node: &Value, errors: &mut ErrorList) {
    let addresses = At::root(node).get("status").get("addresses");
    for (i, address) in addresses.list().enumerate() {
        if addresses.items()[..i].contains(address.value) {
            address.duplicate(errors);
        }
    }
}
