//! Devices and the claims for them.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use serde_json::json;

use super::pod::scheduling;
use super::storage::driver_name;
use crate::cursor::{At, items_mut, set_default_zero};
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy, subdomain_name};

const MAX_REQUESTS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_EXPRESSION: usize = 10 * 1024;
const MAX_RESERVATIONS: usize = 256;
const MAX_DEVICES: usize = 128;

/// The devices of a claim.
fn devices_mut(spec: Option<&mut Value>) -> Option<&mut Value> {
    spec?.get_mut("devices").filter(|devices| devices.is_object())
}

/// Requests ask for one device unless they say otherwise.
fn default_requests(devices: &mut Value) {
    let one = |request: &mut Value| {
        set_default_zero(request, "allocationMode", "ExactCount");
        if request["allocationMode"] == "ExactCount" {
            set_default_zero(request, "count", 1);
        }
        for toleration in items_mut(request, "tolerations") {
            set_default_zero(toleration, "operator", "Equal");
        }
    };
    for request in items_mut(devices, "requests") {
        if let Some(exactly) = request.get_mut("exactly").filter(|exactly| exactly.is_object()) {
            one(exactly);
        }
        // The first beta has the fields of one request beside its name.
        if request.get("deviceClassName").is_some_and(|class| class != "") {
            one(request);
        }
        items_mut(request, "firstAvailable").iter_mut().for_each(one);
    }
}

// === ResourceClaim ===

/// The rules of ResourceClaims.
pub(super) struct ResourceClaim;

impl Strategy for ResourceClaim {
    fn default(&self, claim: &mut Value) {
        if let Some(devices) = devices_mut(claim.get_mut("spec")) {
            default_requests(devices);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, claim: &mut Value) {
        claim["status"] = json!({});
    }

    fn validate(&self, _ctx: &Ctx<'_>, claim: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        device_claim(&At::root(claim).get("spec").get("devices"), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        At::root(new).get("spec").unchanged(&At::root(old).get("spec"), &mut errors);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (status, before) = (At::root(new).get("status"), At::root(old).get("status"));
        let (reserved, allocation) = (status.get("reservedFor"), status.get("allocation"));
        if reserved.len() > MAX_RESERVATIONS {
            errors.push(Error::too_many(&reserved.path, reserved.len(), MAX_RESERVATIONS));
        }
        let mut taken = BTreeSet::new();
        for consumer in reserved.list() {
            for field in ["resource", "name", "uid"] {
                consumer.get(field).must(&mut errors);
            }
            if !taken.insert(consumer.get("uid").str()) {
                consumer.duplicate(&mut errors);
            }
        }
        if !reserved.is_empty() && !allocation.is_set() {
            let detail = "may not be specified when `allocated` is not set";
            reserved.forbidden(&mut errors, detail);
        }
        if before.get("allocation").is_set() && allocation.is_set() {
            allocation.unchanged(&before.get("allocation"), &mut errors);
        } else if allocation.get("nodeSelector").is_set() {
            scheduling::node_selector(&allocation.get("nodeSelector"), &mut errors);
        }
        errors
    }
}

fn device_claim(devices: &At<'_>, errors: &mut ErrorList) {
    let requests = devices.get("requests");
    at_most(&requests, MAX_REQUESTS, errors);
    let mut taken = BTreeSet::new();
    for request in requests.list() {
        device_request(&request, errors);
        if !taken.insert(request.get("name").str()) {
            request.get("name").duplicate(errors);
        }
    }
    let known = |reference: &str| {
        let (name, alternative) = reference.split_once('/').unwrap_or((reference, ""));
        requests.list().any(|request| {
            request.get("name").str() == name
                && (alternative.is_empty()
                    || request
                        .get("firstAvailable")
                        .list()
                        .any(|sub| sub.get("name").str() == alternative))
        })
    };
    let references = |list: &At<'_>, errors: &mut ErrorList| {
        at_most(list, MAX_REQUESTS, errors);
        for name in list.list() {
            if !known(name.str()) {
                let detail = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
                name.invalid(errors, detail);
            }
        }
    };
    let constraints = devices.get("constraints");
    at_most(&constraints, MAX_REQUESTS, errors);
    for constraint in constraints.list() {
        references(&constraint.get("requests"), errors);
        let distinct = constraint.get("distinctAttribute");
        if !constraint.get("matchAttribute").is_set() && !distinct.is_set() {
            constraint.get("matchAttribute").required(errors, "");
        }
    }
    let configs = devices.get("config");
    at_most(&configs, MAX_REQUESTS, errors);
    for config in configs.list() {
        references(&config.get("requests"), errors);
        opaque(&config, errors);
    }
}

fn at_most(list: &At<'_>, max: usize, errors: &mut ErrorList) {
    if list.len() > max {
        errors.push(Error::too_many(&list.path, list.len(), max));
    }
}

fn device_request(request: &At<'_>, errors: &mut ErrorList) {
    request.get("name").must_form(errors, names::dns1123_label);
    let (exactly, first) = (request.get("exactly"), request.get("firstAvailable"));
    let flat = request.get("deviceClassName");
    match (exactly.is_set() || !flat.is_empty(), !first.is_empty()) {
        (false, false) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required";
            request.required(errors, detail);
        }
        (true, true) => {
            let detail = "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set";
            errors.push(Error::invalid(&request.path, Value::Null, detail));
        }
        (true, false) if exactly.is_set() => one_request(&exactly, errors),
        (true, false) => one_request(request, errors),
        (false, true) => {
            at_most(&first, MAX_ALTERNATIVES, errors);
            let mut taken = BTreeSet::new();
            for sub in first.list() {
                sub.get("name").must_form(errors, names::dns1123_label);
                one_request(&sub, errors);
                if !taken.insert(sub.get("name").str()) {
                    sub.get("name").duplicate(errors);
                }
            }
        }
    }
}

fn one_request(request: &At<'_>, errors: &mut ErrorList) {
    request.get("deviceClassName").must_form(errors, names::dns1123_subdomain);
    selectors(&request.get("selectors"), errors);
    let (mode, count) = (request.get("allocationMode"), request.get("count"));
    match mode.str() {
        "All" => {
            if count.int_or_zero() != 0 {
                count.invalid(errors, "must not be specified when allocationMode is 'All'");
            }
        }
        "ExactCount" => count.positive(errors),
        _ => mode.unsupported(errors, &["All", "ExactCount"]),
    }
    for toleration in request.get("tolerations").list() {
        check_toleration(&toleration, errors);
    }
}

fn check_toleration(toleration: &At<'_>, errors: &mut ErrorList) {
    let (key, operator) = (toleration.get("key"), toleration.get("operator"));
    key.may_form(errors, names::qualified_name);
    match operator.str() {
        "Exists" => {
            if !toleration.get("value").is_empty() {
                let detail = "must be empty for operator `Exists`";
                toleration.get("value").invalid(errors, detail);
            }
        }
        "Equal" => {
            if key.is_empty() {
                let detail = "must be set when operator is `Equal`";
                key.required(errors, detail);
            }
            toleration.get("value").may_form(errors, names::label_value);
        }
        _ => operator.unsupported(errors, &["Equal", "Exists"]),
    }
    toleration.get("effect").may_be_one_of(errors, &["NoExecute", "NoSchedule", "None"]);
}

fn selectors(selectors: &At<'_>, errors: &mut ErrorList) {
    at_most(selectors, MAX_REQUESTS, errors);
    for selector in selectors.list() {
        let cel = selector.get("cel");
        if !cel.is_set() {
            cel.required(errors, "");
            continue;
        }
        let expression = cel.get("expression");
        if expression.str().len() > MAX_EXPRESSION {
            errors.push(Error::too_long(&expression.path, MAX_EXPRESSION));
        }
    }
}

fn opaque(config: &At<'_>, errors: &mut ErrorList) {
    let opaque = config.get("opaque");
    if !opaque.is_set() {
        opaque.required(errors, "");
        return;
    }
    driver_name(&opaque.get("driver"), errors);
    let parameters = opaque.get("parameters");
    if !parameters.is_set() {
        parameters.required(errors, "");
    } else if !parameters.value.is_object() {
        errors.push(Error::invalid(
            &parameters.path,
            "<value omitted>",
            "must be a valid JSON object",
        ));
    }
}

// === ResourceClaimTemplate ===

/// The rules of ResourceClaimTemplates.
pub(super) struct ResourceClaimTemplate;

impl Strategy for ResourceClaimTemplate {
    fn default(&self, template: &mut Value) {
        if let Some(devices) = devices_mut(template.pointer_mut("/spec/spec")) {
            default_requests(devices);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, template: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(template).get("spec");
        crate::object_meta::validate_template(&spec.get("metadata"), &mut errors);
        device_claim(&spec.get("spec").get("devices"), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        At::root(new).get("spec").unchanged(&At::root(old).get("spec"), &mut errors);
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
        let mut errors = ErrorList::new();
        let spec = At::root(class).get("spec");
        selectors(&spec.get("selectors"), &mut errors);
        at_most(&spec.get("config"), MAX_REQUESTS, &mut errors);
        for config in spec.get("config").list() {
            opaque(&config, &mut errors);
        }
        errors
    }
}

// === ResourceSlice ===

/// The rules of ResourceSlices.
pub(super) struct ResourceSlice;

impl Strategy for ResourceSlice {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn prepare_for_create(&self, ctx: &Ctx<'_>, slice: &mut Value) {
        taints_have_times(ctx, slice);
    }

    fn prepare_for_update(&self, ctx: &Ctx<'_>, new: &mut Value, _old: &Value) {
        taints_have_times(ctx, new);
    }

    fn validate(&self, _ctx: &Ctx<'_>, slice: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(slice).get("spec");
        driver_name(&spec.get("driver"), &mut errors);
        let pool = spec.get("pool");
        pool.get("name").must(&mut errors);
        for part in pool.get("name").str().split('/').filter(|part| !part.is_empty()) {
            for message in names::dns1123_subdomain(part) {
                errors.push(Error::invalid(&pool.get("name").path, part, message));
            }
        }
        pool.get("resourceSliceCount").positive(&mut errors);
        pool.get("generation").non_negative(&mut errors);
        where_devices_are(&spec, &mut errors);
        let devices = spec.get("devices");
        at_most(&devices, MAX_DEVICES, &mut errors);
        let mut taken = BTreeSet::new();
        for device in devices.list() {
            let name = device.get("name");
            name.must_form(&mut errors, names::dns1123_label);
            if !taken.insert(name.str()) {
                name.duplicate(&mut errors);
            }
        }
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        for field in ["driver", "nodeName"] {
            spec.get(field).unchanged(&before.get(field), &mut errors);
        }
        let pool = |spec: &At<'_>| spec.value.pointer("/pool/name").cloned();
        if pool(&spec) != pool(&before) {
            spec.get("pool").get("name").invalid(&mut errors, machinery::field::IMMUTABLE);
        }
        errors
    }
}

fn taints_have_times(ctx: &Ctx<'_>, slice: &mut Value) {
    let now = machinery::time::format(ctx.now);
    let Some(spec) = slice.get_mut("spec") else { return };
    for device in items_mut(spec, "devices") {
        for taint in items_mut(device, "taints") {
            crate::cursor::set_default(taint, "timeAdded", now.clone());
        }
    }
}

fn where_devices_are(spec: &At<'_>, errors: &mut ErrorList) {
    let fields = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    let set: Vec<&str> = fields.into_iter().filter(|field| !spec.get(field).is_empty()).collect();
    match set.len() {
        0 => {
            let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
            spec.required(errors, detail);
        }
        1 => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set";
            errors.push(Error::invalid(&spec.path, shown, detail));
        }
    }
    spec.get("nodeName").may_form(errors, names::dns1123_subdomain);
    if spec.get("nodeSelector").is_set() {
        scheduling::node_selector(&spec.get("nodeSelector"), errors);
    }
}

// === DeviceTaintRule ===

/// The rules of DeviceTaintRules.
pub(super) struct DeviceTaintRule;

impl Strategy for DeviceTaintRule {
    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }
}
