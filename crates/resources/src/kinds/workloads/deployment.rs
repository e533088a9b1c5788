//! Deployments.

use machinery::Value;
use machinery::field::ErrorList;
use serde_json::json;

use super::{
    amount, at_most_all, default_template, immutable_selector, int_or_percent, replicated_template,
    spec_before, spec_mut, status, warn_name_and_template,
};
use crate::cursor::{At, set_default, set_default_zero};
use crate::strategy::{Ctx, Generation, StatusMetadata, Strategy, subdomain_name};

/// The rules of Deployments.
pub(in crate::kinds) struct Deployment;

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        let Some(spec) = spec_mut(object) else { return };
        default_template(spec);
        set_default(spec, "replicas", 1);
        set_default(spec, "strategy", json!({}));
        let strategy = &mut spec["strategy"];
        set_default_zero(strategy, "type", "RollingUpdate");
        if strategy["type"] == "RollingUpdate" {
            set_default(strategy, "rollingUpdate", json!({}));
            set_default(&mut strategy["rollingUpdate"], "maxUnavailable", "25%");
            set_default(&mut strategy["rollingUpdate"], "maxSurge", "25%");
        }
        set_default(spec, "revisionHistoryLimit", 10);
        set_default(spec, "progressDeadlineSeconds", 600);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    /// Annotations are copied to the ReplicaSets.
    fn generation(&self) -> Generation {
        Generation::SpecAndAnnotations
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        rules(object, None)
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = rules(new, Some(old));
        immutable_selector(new, old, &mut errors);
        errors
    }

    fn status_metadata(&self) -> StatusMetadata {
        StatusMetadata::Keeps(&["labels"])
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        status::counts(
            new,
            &[
                "observedGeneration",
                "replicas",
                "updatedReplicas",
                "readyReplicas",
                "availableReplicas",
                "unavailableReplicas",
                "terminatingReplicas",
                "collisionCount",
            ],
            &mut errors,
        );
        let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        status::parts(new, &parts, "readyReplicas", &mut errors);
        status::collisions(new, old, &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        warn_name_and_template(new, old)
    }
}

fn rules(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::root(object).get("spec");
    spec.get("replicas").non_negative(&mut errors);
    replicated_template(&spec, spec_before(old).as_ref(), &mut errors);
    check_strategy(&spec.get("strategy"), &mut errors);
    let (ready, deadline) = (spec.get("minReadySeconds"), spec.get("progressDeadlineSeconds"));
    ready.non_negative(&mut errors);
    spec.get("revisionHistoryLimit").non_negative(&mut errors);
    if deadline.is_set() {
        deadline.non_negative(&mut errors);
        if deadline.int_or_zero() <= ready.int_or_zero() {
            deadline.invalid(&mut errors, "must be greater than minReadySeconds");
        }
    }
    errors
}

fn check_strategy(strategy: &At<'_>, errors: &mut ErrorList) {
    let rolling = strategy.get("rollingUpdate");
    match strategy.get("type").str() {
        "Recreate" => {
            if rolling.is_set() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                rolling.forbidden(errors, detail);
            }
        }
        "RollingUpdate" => {
            if rolling.is_set() {
                rolling_update(&rolling, errors);
            } else {
                rolling.required(errors, "this should be defaulted and never be nil");
            }
        }
        _ => strategy.unsupported(errors, &["Recreate", "RollingUpdate"]),
    }
}

fn rolling_update(rolling: &At<'_>, errors: &mut ErrorList) {
    let (unavailable, surge) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
    int_or_percent(&unavailable, errors);
    int_or_percent(&surge, errors);
    if amount(&unavailable) == 0 && amount(&surge) == 0 {
        unavailable.invalid(errors, "may not be 0 when `maxSurge` is 0");
    }
    at_most_all(&unavailable, errors);
}
