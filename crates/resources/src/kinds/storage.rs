//! Volumes, claims, and the classes and drivers they come from.

mod claim;
mod csi;
#[cfg(test)]
mod tests;
mod volume;

use std::collections::{BTreeMap, BTreeSet};

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use machinery::quantity::Quantity;

pub(super) use self::claim::{PersistentVolumeClaim, claim_spec};
pub(super) use self::csi::{CsiDriver, CsiNode, CsiStorageCapacity, VolumeAttachment};
pub(super) use self::volume::{PersistentVolume, driver_name};
use crate::cursor::{At, same, set_default};
use crate::kinds::pod::warnings;
use crate::strategy::{Ctx, Strategy, subdomain_name};

const ACCESS_MODES: [&str; 4] =
    ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];
const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETERS_SIZE: usize = 256 * 1024;

fn access_modes(modes: &At<'_>, errors: &mut ErrorList) {
    let (mut one_pod, mut others) = (false, false);
    for mode in modes.list() {
        if !ACCESS_MODES.contains(&mode.str()) {
            errors.push(Error::not_supported(&modes.path, mode.str(), &ACCESS_MODES));
        } else if mode.str() == "ReadWriteOncePod" {
            one_pod = true;
        } else {
            others = true;
        }
    }
    if one_pod && others {
        modes.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

/// Checks that an amount is not below nothing.
fn basic_amount(amount: &At<'_>, errors: &mut ErrorList) {
    let value = Quantity::from_value(amount.value).unwrap_or_default().value();
    if value < 0 {
        errors.push(Error::invalid(&amount.path, value, "must be a valid resource quantity"));
    }
}

/// The name of a driver, which is qualified but for its capitals.
fn provisioner(name: &At<'_>, errors: &mut ErrorList) {
    if !name.must(errors) {
        return;
    }
    let lower = name.str().to_lowercase();
    for message in names::qualified_name(&lower) {
        errors.push(Error::invalid(&name.path, lower.as_str(), message));
    }
}

/// What a driver is told.
fn parameters(parameters: &At<'_>, may_be_empty: bool, errors: &mut ErrorList) {
    if parameters.len() > MAX_PARAMETERS {
        errors.push(Error::too_long(&parameters.path, MAX_PARAMETERS));
        return;
    }
    let mut size = 0;
    for (key, value) in parameters.entries() {
        if key.is_empty() {
            errors.push(Error::invalid(&parameters.path, key, "field can not be empty."));
        }
        size += key.len() + value.str().len();
    }
    if size > MAX_PARAMETERS_SIZE {
        errors.push(Error::too_long(&parameters.path, MAX_PARAMETERS_SIZE));
    }
    if !may_be_empty && parameters.is_empty() {
        parameters.required(errors, "must contain at least one key/value pair");
    }
}

fn unchangeable(new: &Value, old: &Value, fields: &[&'static str], errors: &mut ErrorList) {
    let (new, old) = (At::root(new), At::root(old));
    for field in fields {
        if !same(new.get(field).value, old.get(field).value) {
            new.get(field).forbidden(errors, format!("updates to {field} are forbidden."));
        }
    }
}

// === StorageClass ===

/// The rules of StorageClasses.
pub(super) struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, class: &mut Value) {
        set_default(class, "reclaimPolicy", "Delete");
        set_default(class, "volumeBindingMode", "Immediate");
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, class: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let class = At::root(class);
        provisioner(&class.get("provisioner"), &mut errors);
        parameters(&class.get("parameters"), true, &mut errors);
        class.get("reclaimPolicy").may_be_one_of(&mut errors, &["Delete", "Retain"]);
        class.get("volumeBindingMode").one_of(&mut errors, &["Immediate", "WaitForFirstConsumer"]);
        topologies(&class.get("allowedTopologies"), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        unchangeable(new, old, &["parameters", "provisioner", "reclaimPolicy"], &mut errors);
        let (new, old) = (At::root(new), At::root(old));
        new.get("volumeBindingMode").unchanged(&old.get("volumeBindingMode"), &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        topology_warnings(new)
    }
}

fn topology_warnings(class: &Value) -> Vec<String> {
    let mut given = Vec::new();
    for term in At::root(class).get("allowedTopologies").list() {
        for expression in term.get("matchLabelExpressions").list() {
            let key = expression.get("key");
            if let Some(why) = warnings::node_label(key.str()) {
                given.push(format!("{}: {why}", key.path));
            }
        }
    }
    given
}

fn topologies(terms: &At<'_>, errors: &mut ErrorList) {
    // Upstream compares each term with as many empty ones as there are terms, too.
    let mut earlier: Vec<BTreeMap<&str, BTreeSet<&str>>> = vec![BTreeMap::new(); terms.len()];
    for term in terms.list() {
        let expressions = term.get("matchLabelExpressions");
        let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for expression in expressions.list() {
            let (key, values) = (expression.get("key"), expression.get("values"));
            let mut taken = BTreeSet::new();
            values.must(errors);
            for value in values.list() {
                if !taken.insert(value.str()) {
                    value.duplicate(errors);
                }
            }
            for message in names::qualified_name(key.str()) {
                errors.push(Error::invalid(&key.path, key.str(), message));
            }
            if keys.insert(key.str(), taken).is_some() {
                key.duplicate(errors);
            }
        }
        for _ in earlier.iter().filter(|other| **other == keys) {
            errors.push(Error::duplicate(&expressions.path, ""));
        }
        earlier.push(keys);
    }
}

// === VolumeAttributesClass ===

/// The rules of VolumeAttributesClasses.
pub(super) struct VolumeAttributesClass;

impl Strategy for VolumeAttributesClass {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, class: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let class = At::root(class);
        provisioner(&class.get("driverName"), &mut errors);
        parameters(&class.get("parameters"), false, &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        unchangeable(new, old, &["driverName", "parameters"], &mut errors);
        errors.extend(self.validate(ctx, new));
        errors
    }
}
