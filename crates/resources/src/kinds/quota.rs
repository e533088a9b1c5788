//! LimitRanges and ResourceQuotas.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::quantity::Quantity;
use serde_json::{Map, json};

use super::pod::resources;
use crate::cursor::{At, items_mut};
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
        let mut types = std::collections::BTreeSet::new();
        for item in At::root(range).get("spec").get("limits").list() {
            let kind = item.get("type");
            kind.must(&mut errors);
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

fn limit_item(item: &At<'_>, errors: &mut ErrorList) {
    let lists = ["max", "min", "default", "defaultRequest"];
    if item.get("type").str() == "Pod" {
        for field in ["default", "defaultRequest"] {
            if !item.get(field).is_empty() {
                item.get(field).forbidden(errors, "may not be specified when `type` is 'Pod'");
            }
        }
    }
    for field in lists {
        for (name, amount) in item.get(field).entries() {
            resources::quantity(name, &amount, errors);
        }
    }
    let amount = |field: &'static str, name: &str| {
        item.get(field).value.get(name).and_then(Quantity::from_value)
    };
    let mut names = std::collections::BTreeSet::new();
    for field in lists {
        names.extend(item.get(field).entries().map(|(name, _)| name));
    }
    for name in names {
        for (small, large, smalls, larges) in [
            ("min", "max", "min value", "max value"),
            ("min", "defaultRequest", "min value", "default request value"),
            ("defaultRequest", "max", "default request value", "max value"),
            ("min", "default", "min value", "default value"),
            ("default", "max", "default value", "max value"),
            ("defaultRequest", "default", "default request value", "default limit value"),
        ] {
            if let (Some(low), Some(high)) = (amount(small, name), amount(large, name))
                && low > high
            {
                let path = item.path.child(small).key(name);
                let value = low.to_string();
                let detail = format!("{smalls} {low} is greater than {larges} {high}");
                errors.push(Error::invalid(&path, value, detail));
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
        amounts(&At::root(quota).get("spec").get("hard"), &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        spec.get("scopes").unchanged(&before.get("scopes"), &mut errors);
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

fn amounts(list: &At<'_>, errors: &mut ErrorList) {
    for (name, amount) in list.entries() {
        for message in machinery::names::qualified_name(name) {
            errors.push(Error::invalid(&amount.path, name, message));
        }
        resources::quantity(name, &amount, errors);
        let counted = name.starts_with("count/")
            || matches!(
                name,
                "pods" | "services" | "secrets" | "configmaps" | "persistentvolumeclaims"
            );
        let quantity = Quantity::from_value(amount.value).unwrap_or_default();
        if counted && !quantity.is_integer() {
            amount.invalid(errors, "must be an integer");
        }
    }
}
