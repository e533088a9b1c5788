//! DaemonSets.

use machinery::field::ErrorList;
use machinery::{Value, meta};
use serde_json::json;

use super::{
    always_running, amount, at_most_all, checked_template, default_template, immutable_selector,
    int_or_percent, selects_template, spec_before, spec_mut, status, warn_template,
};
use crate::cursor::{At, same, set_default, set_default_zero};
use crate::kinds::pod::scheduling;
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// The rules of DaemonSets.
pub(in crate::kinds) struct DaemonSet;

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        let Some(spec) = spec_mut(object) else { return };
        default_template(spec);
        set_default(spec, "updateStrategy", json!({}));
        let strategy = &mut spec["updateStrategy"];
        set_default_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            set_default(strategy, "rollingUpdate", json!({}));
            set_default(&mut strategy["rollingUpdate"], "maxUnavailable", 1);
            set_default(&mut strategy["rollingUpdate"], "maxSurge", 0);
        }
        set_default(spec, "revisionHistoryLimit", 10);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, object: &mut Value) {
        let generation = template_generation(object).max(1);
        meta::set_annotation(object, TEMPLATE_GENERATION, generation.to_string());
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        let changed = !same(
            new.pointer("/spec/template").unwrap_or(&Value::Null),
            old.pointer("/spec/template").unwrap_or(&Value::Null),
        );
        let generation = template_generation(old) + i64::from(changed);
        meta::set_annotation(new, TEMPLATE_GENERATION, generation.to_string());
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        rules(object, None)
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = rules(new, Some(old));
        immutable_selector(new, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let fields = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        status::counts(new, &fields, &mut errors);
        status::collisions(new, old, &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        warn_template(new, old)
    }
}

fn rules(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::root(object).get("spec");
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    scheduling::label_selector(&selector, &mut errors);
    // Nothing is said of a missing selector but that it does not match.
    selects_template(&spec, &mut errors);
    let empty =
        selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty();
    if selector.is_set() && empty {
        selector.invalid(&mut errors, "empty selector is invalid for daemonset");
    }
    checked_template(&spec, spec_before(old).as_ref(), &mut errors);
    always_running(&template, "DaemonSet", &mut errors);
    spec.get("minReadySeconds").non_negative(&mut errors);
    check_strategy(&spec.get("updateStrategy"), &mut errors);
    spec.get("revisionHistoryLimit").non_negative(&mut errors);
    errors
}

/// How often the template changed; kept in an annotation since the field is gone from the API.
fn template_generation(object: &Value) -> i64 {
    meta::annotation(object, TEMPLATE_GENERATION).and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn check_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "OnDelete" => {}
        "RollingUpdate" => {
            if rolling.is_set() {
                rolling_update(&rolling, errors);
            } else {
                rolling.required(errors, "");
            }
        }
        _ => strategy.unsupported(errors, &["RollingUpdate", "OnDelete"]),
    }
}

fn rolling_update(rolling: &At<'_>, errors: &mut ErrorList) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    for limit in [&unavailable, &surge] {
        int_or_percent(limit, errors);
    }
    for limit in [&unavailable, &surge] {
        at_most_all(limit, errors);
    }
    match (amount(&unavailable) != 0, amount(&surge) != 0) {
        (true, true) => surge.invalid(errors, "may not be set when maxUnavailable is non-zero"),
        (false, false) => unavailable.required(errors, "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}
