//! Nodes.

#[cfg(test)]
mod tests;

mod config;

use machinery::Value;
use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;

use super::addresses::{self, is_dual_stack_ranges};
use super::forms::go_json;
use super::internal;
use super::pod::{requirements, scheduling};
use crate::cursor::{At, remove};
use crate::strategy::{Ctx, StatusOnCreate, Strategy, subdomain_name};

const TAINTS: &str = "scheduler.alpha.kubernetes.io/taints";
const AVOIDED: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";
const MAX_FEATURE: usize = 253;

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

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, node: &mut Value) {
        one_range(node);
        config::drop_spec(node, None);
    }

    fn validate(&self, _ctx: &Ctx<'_>, node: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        rules(node, &mut errors);
        errors
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        one_range(new);
        config::drop_spec(new, Some(old));
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        rules(new, &mut errors);
        changes(new, old, &mut errors);
        errors
    }

    fn prepare_for_status_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        if !old.pointer("/status/config").is_some_and(Value::is_object)
            && let Some(status) = new.get_mut("status")
        {
            remove(status, "config");
        }
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        annotations(new, &mut errors);
        amounts(new, &mut errors);
        features(&At::root(new).get("status").get("declaredFeatures"), &mut errors);
        changes(new, old, &mut errors);
        taints(new, &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let spec = At::root(new).get("spec");
        let mut given = Vec::new();
        if spec.get("configSource").is_set() {
            given.push("spec.configSource: the feature is removed".to_owned());
        }
        if !spec.get("externalID").is_empty() {
            let text = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
            given.push(text.to_owned());
        }
        given
    }
}

/// `podCIDR` and `podCIDRs[0]` say the same; the older field leads where they differ.
fn one_range(node: &mut Value) {
    let Some(spec) = node.get_mut("spec").filter(|s| s.is_object()) else { return };
    let first = spec.pointer("/podCIDRs/0").filter(|r| r.is_string()).cloned();
    let one = spec.get("podCIDR").filter(|r| r.as_str().is_some_and(|r| !r.is_empty())).cloned();
    match (one, first) {
        (Some(range), first) if first.as_ref() != Some(&range) => {
            spec["podCIDRs"] = Value::Array(vec![range]);
        }
        (None, Some(range)) => spec["podCIDR"] = range,
        _ => {}
    }
}

fn rules(node: &Value, errors: &mut ErrorList) {
    annotations(node, errors);
    taints(node, errors);
    amounts(node, errors);
    let status = At::root(node).get("status");
    let swap = status.get("nodeInfo").get("swap").get("capacity");
    if swap.is_set() {
        // Upstream's path; the amount stands in the status.
        let path = Path::new("metadata").child("nodeSwapStatus").child("capacity");
        At::new(swap.value, path).positive(errors);
    }
    features(&status.get("declaredFeatures"), errors);
    let ranges = At::root(node).get("spec").get("podCIDRs");
    for range in ranges.list() {
        addresses::range(&range, range.str(), &[], errors);
    }
    let texts: Vec<&str> = ranges.list().map(|range| range.str()).collect();
    if texts.len() > 2 || texts.len() == 2 && !is_dual_stack_ranges(&texts) {
        ranges.invalid(errors, "may specify no more than one CIDR for each IP family");
    }
}

fn annotations(node: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata").child("annotations");
    let noted = |key| meta::annotation(node, key).filter(|text| !text.is_empty());
    if let Some(text) = noted(TAINTS) {
        match go_json(text.as_bytes(), "[]core.Taint") {
            Err(detail) => errors.push(Error::invalid(&path, TAINTS, detail)),
            Ok(list) => scheduling::taints(&At::new(&list, path.child(TAINTS)), errors),
        }
    }
    if let Some(text) = noted(AVOIDED) {
        match go_json(text.as_bytes(), "v1.AvoidPods") {
            Err(detail) => {
                errors.push(Error::invalid(&path.child("AvoidPods"), AVOIDED, detail));
            }
            Ok(avoided) => avoided_pods(&avoided, &path.child(AVOIDED), errors),
        }
    }
}

fn avoided_pods(avoided: &Value, path: &Path, errors: &mut ErrorList) {
    for (i, entry) in At::root(avoided).get("preferAvoidPods").list().enumerate() {
        let path = path.index(i).child("PodSignature");
        let controller = entry.get("podSignature").get("podController");
        if !controller.is_set() {
            errors.push(Error::required(&path, ""));
        } else if !controller.get("controller").bool() {
            let path = path.child("PodController").child("Controller");
            errors.push(Error::invalid(&path, false, "must point to a controller"));
        }
    }
}

fn taints(node: &Value, errors: &mut ErrorList) {
    // Upstream's path; the taints stand in the spec.
    let taints = At::root(node).get("spec").get("taints");
    let path = Path::new("metadata").child("taints");
    scheduling::taints(&At::new(taints.value, path), errors);
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

/// Checks what a kubelet says that it can do. KEP-5328.
fn features(features: &At<'_>, errors: &mut ErrorList) {
    for (i, feature) in features.list().enumerate() {
        let name = feature.str();
        let shown = quote(name);
        if name.len() > MAX_FEATURE {
            let detail = format!(
                "invalid feature name {shown}: must be no more than {MAX_FEATURE} characters"
            );
            feature.invalid(errors, detail);
        } else if !is_feature(name) {
            let detail = format!(
                "invalid feature name {shown}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            feature.invalid(errors, detail);
        }
        let Some(next) = features.list().nth(i + 1) else { continue };
        if name == next.str() {
            next.duplicate(errors);
        } else if name > next.str() {
            next.invalid(errors, "list must be sorted alphabetically");
        }
    }
}

fn is_feature(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.split('/').all(|segment| {
            segment.starts_with(|c: char| c.is_ascii_alphabetic())
                && segment.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}

/// Checks a change, whoever makes it.
fn changes(new: &Value, old: &Value, errors: &mut ErrorList) {
    let addresses = At::root(new).get("status").get("addresses");
    for (i, address) in addresses.list().enumerate() {
        if addresses.items()[..i].contains(address.value) {
            let shown = internal::form(address.value, "NodeAddress");
            errors.push(Error::duplicate(&address.path, shown));
        }
    }
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    let (ranges, old_ranges) = (spec.get("podCIDRs"), before.get("podCIDRs"));
    let changed = match ranges.len() == old_ranges.len() {
        true => ranges.items().iter().zip(old_ranges.items()).filter(|(a, b)| a != b).count(),
        false => usize::from(!old_ranges.is_empty()),
    };
    for _ in 0..changed {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        ranges.forbidden(errors, detail);
    }
    let (provider, old_provider) = (spec.get("providerID"), before.get("providerID"));
    if !old_provider.is_empty() && provider.str() != old_provider.str() {
        let detail = "node updates may not change providerID except from \"\" to valid";
        provider.forbidden(errors, detail);
    }
    config::check(new, errors);
    let external = spec.get("externalID");
    if external.str() != before.get("externalID").str() {
        external.forbidden(errors, "may not be updated");
    }
}
