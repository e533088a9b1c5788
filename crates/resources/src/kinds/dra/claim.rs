//! Claims for devices, and templates of claims.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use serde_json::json;

use super::{request, status};
use crate::cursor::{At, same};
use crate::kinds::internal;
use crate::strategy::{Ctx, StatusMetadata, Strategy, subdomain_name};

/// The devices of a claim.
fn devices_mut(spec: Option<&mut Value>) -> Option<&mut Value> {
    spec?.get_mut("devices").filter(|devices| devices.is_object())
}

/// The specification does not change.
fn unchanged_spec(new: &Value, old: &Value, ty: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    if !same(spec.value, before.value) {
        let shown = internal::form_of_group(spec.value, "io.k8s.api.resource.v1", ty);
        errors.push(Error::immutable(&spec.path, shown));
    }
    errors
}

// === ResourceClaim ===

/// The rules of ResourceClaims.
pub(in crate::kinds) struct ResourceClaim;

impl Strategy for ResourceClaim {
    fn default(&self, claim: &mut Value) {
        if let Some(devices) = devices_mut(claim.get_mut("spec")) {
            request::default_requests(devices);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, claim: &mut Value) {
        claim["status"] = json!({});
    }

    fn validate(&self, _ctx: &Ctx<'_>, claim: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        request::device_claim(&At::root(claim).get("spec").get("devices"), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        unchanged_spec(new, old, "ResourceClaimSpec")
    }

    fn prepare_for_status_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        status::forget_deallocated(new, old);
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        status::check(new, old)
    }
}

// === ResourceClaimTemplate ===

/// The rules of ResourceClaimTemplates.
pub(in crate::kinds) struct ResourceClaimTemplate;

impl Strategy for ResourceClaimTemplate {
    fn default(&self, template: &mut Value) {
        if let Some(devices) = devices_mut(template.pointer_mut("/spec/spec")) {
            request::default_requests(devices);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, template: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(template).get("spec");
        let metadata = spec.get("metadata");
        crate::object_meta::labels(&metadata.get("labels"), &mut errors);
        crate::object_meta::annotations(&metadata.get("annotations"), &mut errors);
        request::device_claim(&spec.get("spec").get("devices"), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        unchanged_spec(new, old, "ResourceClaimTemplateSpec")
    }
}
