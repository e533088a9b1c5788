//! What a claim asks for: requests, constraints among devices, configuration.

use std::collections::{BTreeMap, BTreeSet};

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;

use super::{forms, selector, taint};
use crate::cursor::{At, items_mut, set_default_zero};
use crate::kinds::storage::driver_name;

pub(super) const MAX_CONFIGS: usize = 32;
pub(super) const MAX_REQUESTS: usize = 32;
const MAX_CONSTRAINTS: usize = 32;
const MAX_SELECTORS: usize = 32;
const MAX_ALTERNATIVES: usize = 8;
const MAX_PARAMETERS: usize = 10 * 1024;

const NO_REQUEST: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// Requests ask for one device unless they say otherwise.
pub(super) fn default_requests(devices: &mut Value) {
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

/// The names of requests, each with those of its alternatives.
pub(super) struct Names<'a>(BTreeMap<&'a str, BTreeSet<&'a str>>);

impl<'a> Names<'a> {
    /// The names in the devices of a claim.
    pub(super) fn of(devices: &At<'a>) -> Self {
        let name = |item: &At<'a>| item.get("name").str();
        let requests = devices.get("requests");
        let alternatives =
            |request: &At<'a>| request.get("firstAvailable").list().map(|sub| name(&sub)).collect();
        Self(requests.list().map(|request| (name(&request), alternatives(&request))).collect())
    }

    fn has(&self, reference: &str) -> bool {
        match reference.split_once('/') {
            None => self.0.contains_key(reference),
            Some((name, alternative)) => {
                self.0.get(name).is_some_and(|known| known.contains(alternative))
            }
        }
    }

    /// Checks a text that names a request or one of its alternatives.
    pub(super) fn check(&self, reference: &At<'_>, errors: &mut ErrorList) {
        let text = reference.str();
        if text.split('/').count() > 2 {
            reference.invalid(errors, NO_REQUEST);
            return;
        }
        for part in text.split('/') {
            forms::form(part, &reference.path, errors, names::dns1123_label);
        }
        if !self.has(text) {
            errors.push(Error::invalid(&reference.path, text, NO_REQUEST));
        }
    }

    /// Checks a list of such texts.
    pub(super) fn check_all(&self, list: &At<'_>, errors: &mut ErrorList) {
        let check = |reference: &At<'_>, errors: &mut ErrorList| self.check(reference, errors);
        forms::set(list, MAX_REQUESTS, errors, check, forms::text_key);
    }
}

/// Checks what a new claim asks for.
pub(super) fn device_claim(devices: &At<'_>, errors: &mut ErrorList) {
    let known = Names::of(devices);
    let name = |item: &At<'_>| item.get("name").str().to_owned();
    forms::set(&devices.get("requests"), MAX_REQUESTS, errors, device_request, name);
    forms::items(&devices.get("constraints"), MAX_CONSTRAINTS, errors, |constraint, errors| {
        check_constraint(constraint, &known, errors);
    });
    forms::items(&devices.get("config"), MAX_CONFIGS, errors, |config, errors| {
        known.check_all(&config.get("requests"), errors);
        configuration(config, false, errors);
    });
}

fn device_request(request: &At<'_>, errors: &mut ErrorList) {
    request.get("name").form(errors, names::dns1123_label);
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
            let alternative = |sub: &At<'_>, errors: &mut ErrorList| {
                sub.get("name").form(errors, names::dns1123_label);
                one_request(sub, errors);
            };
            let name = |item: &At<'_>| item.get("name").str().to_owned();
            forms::set(&first, MAX_ALTERNATIVES, errors, alternative, name);
        }
    }
}

fn one_request(request: &At<'_>, errors: &mut ErrorList) {
    request.get("deviceClassName").must_form(errors, names::dns1123_subdomain);
    selectors(&request.get("selectors"), false, errors);
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
        taint::toleration(&toleration, errors);
    }
}

/// Checks selectors; those that are `stored` were compiled before.
pub(super) fn selectors(selectors: &At<'_>, stored: bool, errors: &mut ErrorList) {
    forms::items(selectors, MAX_SELECTORS, errors, |selector, errors| {
        let cel = selector.get("cel");
        if !cel.is_set() {
            cel.required(errors, "");
        } else if !stored {
            selector::expression(&cel.get("expression"), errors);
        }
    });
}

fn check_constraint(constraint: &At<'_>, known: &Names<'_>, errors: &mut ErrorList) {
    known.check_all(&constraint.get("requests"), errors);
    let [same, distinct] = ["matchAttribute", "distinctAttribute"].map(|f| constraint.get(f));
    if same.is_set() {
        forms::fully_qualified_name(&same, errors);
    } else if distinct.is_set() {
        forms::fully_qualified_name(&distinct, errors);
    } else {
        let detail = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
        constraint.required(errors, detail);
    }
}

/// Checks the configuration of devices, which is in the words of their driver.
pub(super) fn configuration(config: &At<'_>, stored: bool, errors: &mut ErrorList) {
    let opaque = config.get("opaque");
    if opaque.is_set() {
        driver_name(&opaque.get("driver"), errors);
        forms::json_object(&opaque.get("parameters"), stored, MAX_PARAMETERS, errors);
    } else {
        opaque.required(errors, "");
    }
}
