//! Taints of devices, tolerations of them, and rules that taint devices.

use machinery::field::{Error, ErrorList};
use machinery::{Value, names};

use super::forms;
use crate::cursor::{At, items_mut, same, set_default};
use crate::kinds::storage::driver_name;
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy, subdomain_name};

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];
const MAX_CONDITIONS: usize = 8;

/// Gives the taints of a list of devices the time of the request where they have none.
pub(super) fn set_times(ctx: &Ctx<'_>, spec: &mut Value) {
    let now = machinery::time::format(ctx.now);
    for device in items_mut(spec, "devices") {
        for taint in items_mut(device, "taints") {
            set_default(taint, "timeAdded", now.clone());
        }
    }
}

/// Checks a taint; the effect that it had `before` may be one that is not known here.
pub(super) fn check(taint: &At<'_>, before: Option<&At<'_>>, errors: &mut ErrorList) {
    taint.get("key").form(errors, names::qualified_name);
    taint.get("value").may_form(errors, names::label_value);
    let effect = taint.get("effect");
    if before.is_none_or(|before| before.get("effect").str() != effect.str()) {
        effect.one_of(errors, &EFFECTS);
    }
}

/// Checks a toleration of taints.
pub(super) fn toleration(toleration: &At<'_>, errors: &mut ErrorList) {
    let (operator, value) = (toleration.get("operator"), toleration.get("value"));
    toleration.get("key").may_form(errors, names::qualified_name);
    match operator.str() {
        "Exists" => {
            if !value.is_empty() {
                value.invalid(errors, "must be empty for operator `Exists`");
            }
        }
        "Equal" => value.form(errors, names::label_value),
        _ => operator.one_of(errors, &["Equal", "Exists"]),
    }
    toleration.get("effect").may_be_one_of(errors, &EFFECTS);
}

// === DeviceTaintRule ===

/// The rules of DeviceTaintRules.
pub(in crate::kinds) struct DeviceTaintRule;

impl Strategy for DeviceTaintRule {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Kept
    }

    fn prepare_for_create(&self, ctx: &Ctx<'_>, rule: &mut Value) {
        set_time(ctx, rule);
    }

    fn validate(&self, _ctx: &Ctx<'_>, rule: &Value) -> ErrorList {
        rule_rules(rule, None)
    }

    fn prepare_for_update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        let taint = |rule: &Value, field: &'static str| {
            At::root(rule).get("spec").get("taint").get(field).value.clone()
        };
        let moved = |field| !same(&taint(new, field), &taint(old, field));
        // The time is that of the effect, unless a client says otherwise.
        if moved("effect")
            && !moved("timeAdded")
            && let Some(taint) = new.pointer_mut("/spec/taint")
        {
            crate::cursor::remove(taint, "timeAdded");
        }
        set_time(ctx, new);
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        rule_rules(new, Some(old))
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let conditions = At::root(new).get("status").get("conditions");
        crate::kinds::forms::conditions(&conditions, &mut errors);
        if conditions.len() > MAX_CONDITIONS {
            errors.push(Error::too_many(&conditions.path, conditions.len(), MAX_CONDITIONS));
        }
        errors
    }
}

fn set_time(ctx: &Ctx<'_>, rule: &mut Value) {
    if let Some(taint) = rule.pointer_mut("/spec/taint").filter(|taint| taint.is_object()) {
        set_default(taint, "timeAdded", machinery::time::format(ctx.now));
    }
}

fn rule_rules(rule: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::root(rule).get("spec");
    let selector = spec.get("deviceSelector");
    if selector.get("driver").is_set() {
        driver_name(&selector.get("driver"), &mut errors);
    }
    if selector.get("pool").is_set() {
        forms::pool_name(&selector.get("pool"), &mut errors);
    }
    if selector.get("device").is_set() {
        selector.get("device").form(&mut errors, names::dns1123_label);
    }
    let before = old.map(|old| At::root(old).get("spec").get("taint"));
    check(&spec.get("taint"), before.as_ref(), &mut errors);
    errors
}
