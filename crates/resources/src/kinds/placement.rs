//! Leases, priorities and runtimes: what decides who runs and how.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::{meta, names};

use crate::cursor::{At, set_default};
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

/// The rules of Leases.
pub(super) struct Lease;

impl Strategy for Lease {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, lease: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(lease).get("spec");
        let seconds = spec.get("leaseDurationSeconds");
        if seconds.int().is_some_and(|n| n <= 0) {
            seconds.invalid(&mut errors, "must be greater than 0");
        }
        let transitions = spec.get("leaseTransitions");
        if transitions.int().is_some_and(|n| n < 0) {
            transitions.invalid(&mut errors, "must be greater than or equal to 0");
        }
        let holder = spec.get("holderIdentity");
        if holder.is_set() && holder.str().is_empty() && spec.get("preferredHolder").is_set() {
            holder.invalid(&mut errors, "must not be empty");
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

/// The rules of PriorityClasses.
pub(super) struct PriorityClass;

const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const MAX_USER_PRIORITY: i64 = 1_000_000_000;

impl Strategy for PriorityClass {
    fn default(&self, class: &mut Value) {
        set_default(class, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Fixed
    }

    fn validate(&self, _ctx: &Ctx<'_>, class: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (name, value) = (meta::name(class), At::root(class).get("value"));
        if name.starts_with("system-") {
            let known = SYSTEM_CLASSES.iter().any(|(n, v)| *n == name && *v == value.int_or_zero());
            if !known {
                let path = Path::new("metadata").child("name");
                let why = if SYSTEM_CLASSES.iter().any(|(n, _)| *n == name) {
                    let wanted =
                        SYSTEM_CLASSES.iter().find(|(n, _)| *n == name).map_or(0, |(_, v)| *v);
                    format!("value of {name} PriorityClass must be {wanted}")
                } else {
                    format!("{name} is not a known system priority class")
                };
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                );
                errors.push(Error::forbidden(&path, detail));
            }
        } else if value.int_or_zero() > MAX_USER_PRIORITY {
            let detail =
                format!("maximum allowed value of a user defined priority is {MAX_USER_PRIORITY}");
            value.forbidden(&mut errors, detail);
        }
        At::root(class)
            .get("preemptionPolicy")
            .may_be_one_of(&mut errors, &["Never", "PreemptLowerPriority"]);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for field in ["value", "preemptionPolicy"] {
            let (new, old) = (At::root(new).get(field), At::root(old).get(field));
            if new.int_or_zero() != old.int_or_zero() || new.str() != old.str() {
                new.forbidden(&mut errors, "may not be changed in an update.");
            }
        }
        errors
    }
}

/// The rules of RuntimeClasses.
pub(super) struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, class: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        At::root(class).get("handler").form(&mut errors, names::dns1123_label);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        At::root(new).get("handler").unchanged(&At::root(old).get("handler"), &mut errors);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
