//! LimitRanges and ResourceQuotas.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::{Map, json};

use super::internal;
use super::pod::requirements;
use crate::cursor::{At, items_mut, same};
use crate::strategy::{Ctx, Strategy, subdomain_name};

// === LimitRange ===

/// The rules of LimitRanges.
pub(super) struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, range: &mut Value) {
        let Some(spec) = range.get_mut("spec") else { return };
        for item in items_mut(spec, "limits") {
            if item.get("type").and_then(Value::as_str) != Some("Container") {
                continue;
            }
            let list = |item: &Value, field: &str| {
                item.get(field).and_then(Value::as_object).cloned().unwrap_or_default()
            };
            let fill = |mut into: Map<String, Value>, from: Map<String, Value>| {
                for (name, amount) in from {
                    into.entry(name).or_insert(amount);
                }
                into
            };
            let limits = fill(list(item, "default"), list(item, "max"));
            let requests = fill(list(item, "defaultRequest"), limits.clone());
            let requests = fill(requests, list(item, "min"));
            for (field, amounts) in [("default", limits), ("defaultRequest", requests)] {
                if !amounts.is_empty() {
                    item[field] = Value::Object(amounts);
                }
            }
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, range: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let mut types = BTreeSet::new();
        for item in At::root(range).get("spec").get("limits").list() {
            let kind = item.get("type");
            limit_type(&kind, &mut errors);
            if !types.insert(kind.str()) {
                kind.duplicate(&mut errors);
            }
            limit_item(&item, &mut errors);
        }
        errors
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

/// What a limit is about: one of the API's own types or a qualified name.
fn limit_type(kind: &At<'_>, errors: &mut ErrorList) {
    let messages = names::qualified_name(kind.str());
    let well_formed = messages.is_empty();
    for message in messages {
        errors.push(Error::invalid(&kind.path, kind.str(), message));
    }
    let known = matches!(kind.str(), "Pod" | "Container" | "PersistentVolumeClaim");
    if well_formed && !kind.str().contains('/') && !known {
        let detail = "must be a standard limit type or fully qualified";
        errors.push(Error::invalid(&kind.path, kind.str(), detail));
    }
}

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

fn limit_item(item: &At<'_>, errors: &mut ErrorList) {
    let kind = item.get("type").str();
    for list in LISTS {
        if kind == "Pod" && matches!(list, "default" | "defaultRequest") {
            if !item.get(list).is_empty() {
                item.get(list).forbidden(errors, "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, amount) in item.get(list).entries() {
            limited_resource(kind, name, &amount, errors);
        }
    }
    let has_storage = |list: &'static str| item.get(list).value.get("storage").is_some();
    if kind == "PersistentVolumeClaim" && !has_storage("min") && !has_storage("max") {
        let detail =
            "either minimum or maximum storage value is required, but neither was provided";
        item.get("limits").required(errors, detail);
    }
    let names: BTreeSet<&str> =
        LISTS.iter().flat_map(|list| item.get(list).entries().map(|(name, _)| name)).collect();
    for name in names {
        Bounds::of(item, name).check(item, errors);
    }
}

fn limited_resource(kind: &str, name: &str, at: &At<'_>, errors: &mut ErrorList) {
    if matches!(kind, "Pod" | "Container") {
        requirements::container_name(name, &at.path, errors);
    } else {
        requirements::name(name, &at.path, errors);
    }
}

/// The amounts that a limit names for one resource.
struct Bounds<'a> {
    name: &'a str,
    min: Option<Quantity>,
    max: Option<Quantity>,
    default: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

impl<'a> Bounds<'a> {
    fn of(item: &At<'_>, name: &'a str) -> Self {
        let amount =
            |list: &'static str| item.get(list).value.get(name).and_then(Quantity::from_value);
        Self {
            name,
            min: amount("min"),
            max: amount("max"),
            default: amount("default"),
            request: amount("defaultRequest"),
            ratio: amount("maxLimitRequestRatio"),
        }
    }

    fn check(&self, item: &At<'_>, errors: &mut ErrorList) {
        let mut ordered = |small: &Option<Quantity>,
                           large: &Option<Quantity>,
                           words: [&str; 2],
                           at: &'static str,
                           shows_large: bool| {
            if let (Some(low), Some(high)) = (small, large)
                && low > high
            {
                let path = item.get(at).path.key(self.name);
                let shown = if shows_large { high } else { low };
                let detail = format!("{} {low} is greater than {} {high}", words[0], words[1]);
                errors.push(Error::invalid(&path, shown.to_string(), detail));
            }
        };
        let (min, max) = ("min value", "max value");
        let (default, request) = ("default value", "default request value");
        ordered(&self.min, &self.max, [min, max], "min", false);
        ordered(&self.min, &self.request, [min, request], "defaultRequest", true);
        ordered(&self.request, &self.max, [request, max], "defaultRequest", false);
        let limit = "default limit value";
        ordered(&self.request, &self.default, [request, limit], "defaultRequest", false);
        ordered(&self.min, &self.default, [min, default], "default", false);
        ordered(&self.default, &self.max, [default, max], "default", true);
        self.check_ratio(item, errors);
        // Devices and huge pages are given whole, so that limit and request are one.
        let divisible = requirements::overcommits(self.name);
        if let (false, Some(limit), Some(asked)) = (divisible, &self.default, &self.request)
            && limit != asked
        {
            let path = item.get("defaultRequest").path.key(self.name);
            let detail = format!(
                "default value {limit} must equal to defaultRequest value {asked} in {}",
                self.name
            );
            errors.push(Error::invalid(&path, asked.to_string(), detail));
        }
    }

    fn check_ratio(&self, item: &At<'_>, errors: &mut ErrorList) {
        let Some(ratio) = &self.ratio else { return };
        let path = item.get("maxLimitRequestRatio").path.key(self.name);
        if *ratio < Quantity::new(1, ratio.format()) {
            let detail = format!("ratio {ratio} is less than 1");
            errors.push(Error::invalid(&path, ratio.to_string(), detail));
        }
        if let (Some(min), Some(max)) = (&self.min, &self.max) {
            let widest = max.as_f64() / min.as_f64();
            if ratio.as_f64() > widest {
                let detail = format!("ratio {ratio} is greater than max/min = {widest:.6}");
                errors.push(Error::invalid(&path, ratio.to_string(), detail));
            }
        }
    }
}

// === ResourceQuota ===

/// The rules of ResourceQuotas.
pub(super) struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, quota: &mut Value) {
        quota["status"] = json!({});
    }

    fn validate(&self, _ctx: &Ctx<'_>, quota: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(quota).get("spec");
        amounts(&spec.get("hard"), &mut errors);
        scopes(&spec, &mut errors);
        scope_selector(&spec, &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let set = |quota| {
            let scopes = At::root(quota).get("spec").get("scopes");
            scopes.items().iter().filter_map(Value::as_str).collect::<BTreeSet<_>>()
        };
        if set(new) != set(old) {
            At::root(new)
                .get("spec")
                .get("scopes")
                .invalid(&mut errors, machinery::field::IMMUTABLE);
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for field in ["hard", "used"] {
            amounts(&At::root(new).get("status").get(field), &mut errors);
        }
        errors
    }
}

const COMPUTE: [&str; 6] =
    ["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

/// Names without a prefix that a quota can be on.
fn is_standard(name: &str) -> bool {
    requirements::is_standard(name) && name != "storage"
}

fn amounts(list: &At<'_>, errors: &mut ErrorList) {
    for (name, amount) in list.entries() {
        requirements::name(name, &amount.path, errors);
        if !name.contains('/') && !is_standard(name) {
            let detail = "must be a standard resource for quota";
            errors.push(Error::invalid(&amount.path, name, detail));
        }
        requirements::quantity(name, &amount, errors);
    }
}

const EXISTENCE_ONLY: [&str; 5] =
    ["BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "CrossNamespacePodAffinity"];

fn is_scope(scope: &str) -> bool {
    EXISTENCE_ONLY.contains(&scope) || matches!(scope, "PriorityClass" | "VolumeAttributesClass")
}

/// Whether a quota on a resource can be narrowed to a scope.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ if is_scope(scope) => resource == "pods" || COMPUTE.contains(&resource),
        _ => true,
    }
}

fn misfits(spec: &At<'_>, scope: &str) -> usize {
    let hard = spec.get("hard");
    hard.entries().filter(|(name, _)| is_standard(name) && !fits(scope, name)).count()
}

fn scopes(spec: &At<'_>, errors: &mut ErrorList) {
    let scopes = spec.get("scopes");
    let names: Vec<&str> = scopes.items().iter().filter_map(Value::as_str).collect();
    for scope in &names {
        if !is_scope(scope) {
            scopes.invalid(errors, "unsupported scope");
        }
        for _ in 0..misfits(spec, scope) {
            scopes.invalid(errors, "unsupported scope applied to resource");
        }
    }
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if names.contains(&one) && names.contains(&other) {
            scopes.invalid(errors, "conflicting scopes");
        }
    }
}

fn scope_selector(spec: &At<'_>, errors: &mut ErrorList) {
    let selector = spec.get("scopeSelector");
    let expressions = selector.get("matchExpressions");
    for expression in expressions.list() {
        let (scope, operator, values) =
            (expression.get("scopeName"), expression.get("operator"), expression.get("values"));
        // Upstream leaves the index out of these paths.
        let at = |field: &'static str| expressions.path.child(field);
        if !is_scope(scope.str()) {
            errors.push(Error::invalid(&at("scopeName"), scope.str(), "unsupported scope"));
        }
        for _ in 0..misfits(spec, scope.str()) {
            let shown = internal::form(selector.value, "ScopeSelector");
            let detail = "unsupported scope applied to resource";
            errors.push(Error::invalid(&expressions.path, shown, detail));
        }
        if EXISTENCE_ONLY.contains(&scope.str()) && operator.str() != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            errors.push(Error::invalid(&at("operator"), operator.str(), detail));
        }
        match operator.str() {
            "In" | "NotIn" => {
                if values.is_empty() {
                    let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                    errors.push(Error::required(&at("values"), detail));
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                    errors.push(Error::invalid(&at("values"), values.value.clone(), detail));
                }
            }
            other => {
                let detail = "not a valid selector operator";
                errors.push(Error::invalid(&at("operator"), other, detail));
            }
        }
    }
    if same(selector.value, &Value::Null) {
        return;
    }
    let conflicting = |one: &str, other: &str| {
        let has = |name: &str| expressions.list().any(|e| e.get("scopeName").str() == name);
        has(one) && has(other)
    };
    for (one, other) in [("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating")] {
        if conflicting(one, other) {
            // Upstream shows the other list here.
            let shown = spec.get("scopes").value.clone();
            errors.push(Error::invalid(&expressions.path, shown, "conflicting scopes"));
        }
    }
}
