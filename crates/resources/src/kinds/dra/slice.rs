//! Slices of what drivers offer.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;

use super::{device, forms, taint};
use crate::cursor::At;
use crate::kinds::internal;
use crate::kinds::pod::scheduling;
use crate::kinds::storage::driver_name;
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

const MAX_DEVICES: usize = 128;
/// Devices with more to say about them need more room.
const MAX_ELABORATE_DEVICES: usize = 64;
const MAX_COUNTER_SETS: usize = 8;

/// The rules of ResourceSlices.
pub(in crate::kinds) struct ResourceSlice;

impl Strategy for ResourceSlice {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn prepare_for_create(&self, ctx: &Ctx<'_>, slice: &mut Value) {
        if let Some(spec) = slice.get_mut("spec") {
            taint::set_times(ctx, spec);
        }
    }

    fn prepare_for_update(&self, ctx: &Ctx<'_>, new: &mut Value, _old: &Value) {
        if let Some(spec) = new.get_mut("spec") {
            taint::set_times(ctx, spec);
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, slice: &Value) -> ErrorList {
        slice_rules(slice, None)
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        slice_rules(new, Some(old))
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let driver = At::root(new).get("spec").get("driver").str();
        let mixed = driver.to_lowercase() != driver;
        let shown = machinery::field::quote(driver);
        mixed
            .then(|| format!("spec.driver: driver names should be lowercase; {shown} contains uppercase characters"))
            .into_iter()
            .collect()
    }
}

fn slice_rules(slice: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::root(slice).get("spec");
    let before = old.map(|old| At::root(old).get("spec"));
    driver_name(&spec.get("driver"), &mut errors);
    let pool = spec.get("pool");
    forms::pool_name(&pool.get("name"), &mut errors);
    pool.get("resourceSliceCount").positive(&mut errors);
    if pool.get("generation").int_or_zero() < 0 {
        pool.get("generation").invalid(&mut errors, "must be greater than or equal to zero");
    }
    if let Some(before) = &before {
        pool.get("name").unchanged(&before.get("pool").get("name"), &mut errors);
        spec.get("driver").unchanged(&before.get("driver"), &mut errors);
        spec.get("nodeName").unchanged(&before.get("nodeName"), &mut errors);
    }
    where_devices_are(&spec, &mut errors);
    let (devices, counters) = (spec.get("devices"), spec.get("sharedCounters"));
    if devices.is_set() && counters.is_set() {
        let detail = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(Error::invalid(&spec.path, "", detail));
    }
    let max = if devices.list().any(|device| device::is_elaborate(&device)) {
        MAX_ELABORATE_DEVICES
    } else {
        MAX_DEVICES
    };
    let name = |item: &At<'_>| item.get("name").str().to_owned();
    let own_nodes = spec.get("perDeviceNodeSelection").bool();
    let check = |device: &At<'_>, errors: &mut ErrorList| {
        let same_name = |other: &At<'_>| other.get("name").str() == device.get("name").str();
        let devices = before.as_ref().map(|before| before.get("devices"));
        let old = devices.and_then(|devices| devices.list().find(same_name));
        device::check(device, old.as_ref(), own_nodes, errors);
    };
    forms::set(&devices, max, &mut errors, check, name);
    forms::set(&counters, MAX_COUNTER_SETS, &mut errors, device::counter_set, name);
    errors
}

fn where_devices_are(spec: &At<'_>, errors: &mut ErrorList) {
    let mut set = Vec::new();
    let node = spec.get("nodeName");
    if !node.is_empty() {
        set.push("`nodeName`");
        node.form(errors, names::dns1123_subdomain);
    } else if node.is_set() {
        node.invalid(errors, "must be either unset or set to a non-empty string");
    }
    let selector = spec.get("nodeSelector");
    if selector.is_set() {
        set.push("`nodeSelector`");
        scheduling::node_selector(&selector, errors);
        let terms = selector.get("nodeSelectorTerms");
        if terms.len() != 1 {
            // Selectors of several slices are merged.
            let shown = match terms.items() {
                [] => Value::Null,
                items => internal::forms(items, "NodeSelectorTerm"),
            };
            let detail = "must have exactly one node selector term";
            errors.push(Error::invalid(&terms.path, shown, detail));
        }
    }
    for (field, quoted) in
        [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")]
    {
        let field = spec.get(field);
        if field.bool() {
            set.push(quoted);
        } else if field.is_set() {
            field.invalid(errors, "must be either unset or set to true");
        }
    }
    const ONE: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
    match set.len() {
        0 => spec.required(errors, ONE),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            let detail = format!("{ONE}, but multiple fields are set");
            errors.push(Error::invalid(&spec.path, shown, detail));
        }
    }
}
