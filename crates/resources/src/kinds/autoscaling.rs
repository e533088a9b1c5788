//! Autoscalers.

#[cfg(test)]
mod tests;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::{Map, json};

use crate::cursor::{At, set_default, set_default_zero};
use crate::strategy::{Ctx, Strategy, subdomain_name};

/// The rules of HorizontalPodAutoscalers, in the newer form and the older one.
pub(super) struct Autoscaler {
    pub(super) older: bool,
}

impl Strategy for Autoscaler {
    fn default(&self, hpa: &mut Value) {
        let Some(spec) = hpa.get_mut("spec").filter(|s| s.is_object()) else { return };
        set_default(spec, "minReplicas", 1);
        if self.older {
            return;
        }
        set_default_zero(
            spec,
            "metrics",
            json!([{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 80}}}]),
        );
        if let Some(behavior) = spec.get_mut("behavior").filter(|b| b.is_object()) {
            let up = json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
                {"type": "Percent", "value": 100, "periodSeconds": 15}]);
            let down = json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]);
            for (direction, policies, window) in
                [("scaleUp", up, Some(0)), ("scaleDown", down, None)]
            {
                set_default(behavior, direction, Value::Object(Map::new()));
                let rules = &mut behavior[direction];
                if let Some(window) = window {
                    set_default(rules, "stabilizationWindowSeconds", window);
                }
                set_default(rules, "selectPolicy", "Max");
                set_default_zero(rules, "policies", policies);
            }
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, hpa: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(hpa).get("spec");
        let (min, max) = (spec.get("minReplicas"), spec.get("maxReplicas"));
        if min.int().is_some_and(|n| n < 1) {
            min.invalid(&mut errors, "must be greater than or equal to 1");
        }
        let most = max.int_or_zero();
        if most < 1 {
            errors.push(Error::invalid(&max.path, most, "must be greater than 0"));
        }
        if min.int().is_some_and(|n| most < n) {
            let detail = "must be greater than or equal to `minReplicas`";
            errors.push(Error::invalid(&max.path, most, detail));
        }
        let target = spec.get("scaleTargetRef");
        scaled(&target, &mut errors);
        if self.older {
            let utilization = spec.get("targetCPUUtilizationPercentage");
            if utilization.int().is_some_and(|n| n < 1) {
                utilization.invalid(&mut errors, "must be greater than 0");
            }
            return errors;
        }
        for metric in spec.get("metrics").list() {
            check_metric(&metric, &mut errors);
        }
        for direction in ["scaleUp", "scaleDown"] {
            scaling_rules(&spec.get("behavior").get(direction), &mut errors);
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        for field in ["currentReplicas", "desiredReplicas"] {
            At::root(new).get("status").get(field).non_negative(&mut errors);
        }
        errors
    }
}

const MAX_WINDOW: i64 = 3600;
const MAX_PERIOD: i64 = 1800;

/// The object that is scaled or measured.
fn scaled(target: &At<'_>, errors: &mut ErrorList) {
    target.get("kind").must_form(errors, names::path_segment);
    target.get("name").must_form(errors, names::path_segment);
    let version = target.get("apiVersion");
    if version.str().matches('/').count() > 1 {
        let detail = format!("unexpected GroupVersion string: {}", version.str());
        version.invalid(errors, detail);
    }
}

fn scaling_rules(rules: &At<'_>, errors: &mut ErrorList) {
    if !rules.is_set() {
        return;
    }
    let window = rules.get("stabilizationWindowSeconds");
    if window.int_or_zero() < 0 {
        window.invalid(errors, "must be greater than or equal to zero");
    }
    if window.int_or_zero() > MAX_WINDOW {
        window.invalid(errors, format!("must be less than or equal to {MAX_WINDOW}"));
    }
    rules.get("selectPolicy").may_be_one_of(errors, &["Disabled", "Max", "Min"]);
    let policies = rules.get("policies");
    if policies.is_empty() {
        policies.required(errors, "must specify at least one Policy");
    }
    for policy in policies.list() {
        let kind = policy.get("type");
        if !matches!(kind.str(), "Pods" | "Percent") {
            kind.unsupported(errors, &["Percent", "Pods"]);
        }
        policy.get("value").positive(errors);
        let period = policy.get("periodSeconds");
        period.positive(errors);
        if period.int_or_zero() > MAX_PERIOD {
            period.invalid(errors, format!("must be less than or equal to {MAX_PERIOD}"));
        }
    }
    let tolerance = rules.get("tolerance");
    if Quantity::from_value(tolerance.value).is_some_and(|t| t.is_negative()) {
        tolerance.invalid(errors, "must be greater than or equal to 0");
    }
}

/// Metric sources by their fields, in the order in which upstream looks at them.
const SOURCES: [(&str, &str); 5] = [
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];
const SOURCE_TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];

fn check_metric(metric: &At<'_>, errors: &mut ErrorList) {
    let kind = metric.get("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric source type");
    }
    if !SOURCE_TYPES.contains(&kind.str()) {
        kind.unsupported(errors, &SOURCE_TYPES);
    }
    let present: Vec<&'static str> =
        SOURCES.iter().map(|(field, _)| *field).filter(|f| metric.get(f).is_set()).collect();
    if let Some(first) = present.first() {
        check_source(first, &metric.get(first), errors);
    }
    let expected = SOURCES.iter().find(|(_, name)| *name == kind.str()).map(|(field, _)| *field);
    if let Some(field) = expected
        && !metric.get(field).is_set()
    {
        let detail = "must populate information for the given metric source";
        metric.get(field).required(errors, detail);
    }
    if present.len() != 1 {
        for field in present.into_iter().filter(|field| Some(*field) != expected) {
            metric.get(field).forbidden(errors, "must populate the given metric source only");
        }
    }
}

fn check_source(field: &str, source: &At<'_>, errors: &mut ErrorList) {
    let target = source.get("target");
    let (value, average) = (target.get("value"), target.get("averageValue"));
    let utilization = target.get("averageUtilization");
    match field {
        "resource" | "containerResource" => {
            let name = source.get("name");
            if name.is_empty() {
                name.required(errors, "must specify a resource name");
            }
            if field == "containerResource" {
                let container = source.get("container");
                if container.is_empty() {
                    container.required(errors, "must specify a container");
                } else {
                    container.form(errors, names::dns1123_label);
                }
            }
            check_target(&target, errors);
            if !utilization.is_set() && !average.is_set() {
                let detail = "must set either a target raw value or a target utilization";
                utilization.required(errors, detail);
            }
            if utilization.is_set() && average.is_set() {
                let detail = "may not set both a target raw value and a target utilization";
                average.forbidden(errors, detail);
            }
        }
        _ => {
            if field == "object" {
                scaled(&source.get("describedObject"), errors);
            }
            let name = source.get("metric").get("name");
            if name.is_empty() {
                name.required(errors, "must specify a metric name");
            } else {
                name.form(errors, names::path_segment);
            }
            check_target(&target, errors);
            match field {
                "object" if !value.is_set() && !average.is_set() => {
                    average.required(errors, "must set either a target value or averageValue");
                }
                "external" if !value.is_set() && !average.is_set() => {
                    let detail = "must set either a target value for metric or a per-pod target";
                    average.required(errors, detail);
                }
                "external" if value.is_set() && average.is_set() => {
                    let detail = "may not set both a target value for metric and a per-pod target";
                    value.forbidden(errors, detail);
                }
                "pods" if !average.is_set() => {
                    average.required(errors, "must specify a positive target averageValue");
                }
                _ => {}
            }
        }
    }
}

fn check_target(target: &At<'_>, errors: &mut ErrorList) {
    let kind = target.get("type");
    if kind.is_empty() {
        kind.required(errors, "must specify a metric target type");
    }
    if !matches!(kind.str(), "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(Error::invalid(&kind.path, kind.str(), detail));
    }
    for field in ["value", "averageValue"] {
        let amount = target.get(field);
        let positive = |q: Quantity| !q.is_zero() && !q.is_negative();
        if amount.is_set() && !Quantity::from_value(amount.value).is_some_and(positive) {
            amount.invalid(errors, "must be positive");
        }
    }
    let utilization = target.get("averageUtilization");
    if utilization.int().is_some_and(|n| n < 1) {
        utilization.invalid(errors, "must be greater than 0");
    }
}
