//! Devices and the claims for them.

mod capacity;
mod claim;
mod conditions;
mod device;
mod forms;
mod older;
mod request;
mod selector;
mod slice;
mod status;
mod taint;
#[cfg(test)]
mod tests;

use machinery::Value;
use machinery::field::{Error, ErrorList};

pub(super) use self::claim::{ResourceClaim, ResourceClaimTemplate};
pub(super) use self::older::Older;
pub(super) use self::slice::ResourceSlice;
pub(super) use self::taint::DeviceTaintRule;
use crate::cursor::{At, same};
use crate::kinds::internal;
use crate::kinds::pod::requirements;
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy, subdomain_name};

// === ResourcePoolStatusRequest ===

/// The rules of ResourcePoolStatusRequests that their markers do not say.
pub(super) struct PoolStatusRequest;

impl Strategy for PoolStatusRequest {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (status, before) = (At::root(new).get("status"), At::root(old).get("status"));
        // An answer is given once.
        if before.is_set() {
            if !same(status.value, before.value) {
                let package = "io.k8s.api.resource.v1alpha3";
                let ty = "ResourcePoolStatusRequestStatus";
                let shown = match status.is_set() {
                    true => internal::form_of_group(status.value, package, ty),
                    false => Value::Null,
                };
                errors.push(Error::immutable(&status.path, shown));
            }
            return errors;
        }
        super::forms::conditions(&status.get("conditions"), &mut errors);
        errors
    }
}

// === DeviceClass ===
/// The rules of DeviceClasses.
pub(super) struct DeviceClass;

impl Strategy for DeviceClass {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, class: &Value) -> ErrorList {
        class_rules(class, None)
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        class_rules(new, Some(old))
    }
}

fn class_rules(class: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::root(class).get("spec");
    // What a class had before was checked then.
    let stored = |field: &'static str| {
        old.is_some_and(|old| {
            same(spec.get(field).value, At::root(old).get("spec").get(field).value)
        })
    };
    request::selectors(&spec.get("selectors"), stored("selectors"), &mut errors);
    let configs = spec.get("config");
    let known = stored("config");
    forms::items(&configs, request::MAX_CONFIGS, &mut errors, |config, errors| {
        request::configuration(config, known, errors);
    });
    let extended = spec.get("extendedResourceName");
    if extended.is_set() && !requirements::is_extended(extended.str()) {
        extended.invalid(&mut errors, "must be a valid extended resource name");
    }
    errors
}
