//! Autoscalers.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use machinery::field::{Error, ErrorList};
use machinery::names;
use machinery::quantity::Quantity;
use machinery::{Value, features};
use serde_json::{Map, json};

use crate::convert;
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
        check(&self.newest(hpa), None)
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        check(&self.newest(new), Some(&self.newest(old)))
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
const SELECT_POLICIES: [&str; 3] = ["Disabled", "Max", "Min"];

impl Autoscaler {
    /// The form in which upstream checks both versions.
    fn newest<'a>(&self, hpa: &'a Value) -> Cow<'a, Value> {
        if !self.older {
            return Cow::Borrowed(hpa);
        }
        let mut hpa = hpa.clone();
        convert::autoscaler_to_v2(&mut hpa);
        Cow::Owned(hpa)
    }
}

fn check(hpa: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::root(hpa).get("spec");
    let before = old.map(|old| At::root(old).get("spec"));
    let (min, max) = (spec.get("minReplicas"), spec.get("maxReplicas"));
    // Scaling to nothing is for those that do so already, unless the feature is on.
    let was_zero = before.as_ref().is_some_and(|old| old.get("minReplicas").int() == Some(0));
    let lowest = i64::from(!was_zero && features::enabled("HPAScaleToZero") == Some(false));
    if min.int().is_some_and(|n| n < lowest) {
        min.invalid(&mut errors, format!("must be greater than or equal to {lowest}"));
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
    let known = before.as_ref().map(|old| old.get("scaleTargetRef")).is_some_and(|old| {
        ["apiVersion", "kind"].iter().all(|field| old.get(field).str() == target.get(field).str())
    });
    let version = if known {
        Version::Any
    } else if target.get("kind").str() == "ReplicationController" {
        Version::Parsed
    } else {
        Version::Grouped
    };
    referenced(&target, version, &mut errors);
    let metrics = spec.get("metrics");
    let malformed = |spec: At<'_>| {
        let versions = spec.get("metrics").list().map(|metric| {
            metric.get("object").get("describedObject").get("apiVersion").str().to_owned()
        });
        versions.into_iter().any(|version| version.matches('/').count() > 1)
    };
    let measured = if before.is_some_and(malformed) { Version::Any } else { Version::Parsed };
    for metric in metrics.list() {
        check_metric(&metric, measured, &mut errors);
    }
    let outside = |metric: At<'_>| matches!(metric.get("type").str(), "Object" | "External");
    if min.int() == Some(0) && !metrics.list().any(outside) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        metrics.forbidden(&mut errors, detail);
    }
    for direction in ["scaleUp", "scaleDown"] {
        scaling_rules(&spec.get("behavior").get(direction), &mut errors);
    }
    errors
}

/// What is asked of the version in a reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    /// It is one from before and stays.
    Any,
    /// It has the form of one.
    Parsed,
    /// It names a group too.
    Grouped,
}

/// The object that is scaled or measured.
fn referenced(target: &At<'_>, wanted: Version, errors: &mut ErrorList) {
    target.get("kind").must_form(errors, names::path_segment);
    target.get("name").must_form(errors, names::path_segment);
    let version = target.get("apiVersion");
    let text = version.str();
    let mut wrong = |detail: String| errors.push(Error::invalid(&version.path, text, detail));
    if wanted == Version::Any {
    } else if text.matches('/').count() > 1 {
        wrong(format!("unexpected GroupVersion string: {text}"));
    } else if wanted == Version::Grouped
        && text.split_once('/').is_none_or(|(group, _)| group.is_empty())
    {
        wrong("apiVersion must specify API group".to_owned());
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
    rules.get("selectPolicy").set_to_one_of(errors, &SELECT_POLICIES);
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

fn check_metric(metric: &At<'_>, version: Version, errors: &mut ErrorList) {
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
        check_source(first, &metric.get(first), version, errors);
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

fn check_source(field: &str, source: &At<'_>, version: Version, errors: &mut ErrorList) {
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
                referenced(&source.get("describedObject"), version, errors);
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
