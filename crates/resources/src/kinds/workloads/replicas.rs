//! ReplicaSets and the older ReplicationControllers.

use machinery::field::ErrorList;
use machinery::selector::LabelSelector;
use machinery::{Value, meta};

use super::{
    always_running, checked_template, default_template, immutable_selector, replicated_template,
    spec_before, spec_mut, status, warn_name_and_template,
};
use crate::cursor::{At, set_default, set_default_zero};
use crate::strategy::{Ctx, Generation, Propagation, Strategy, subdomain_name};

fn default_spec(object: &mut Value) {
    if let Some(spec) = spec_mut(object) {
        default_template(spec);
        set_default(spec, "replicas", 1);
    }
}

fn check_status(new: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    status::replicas(new, &mut errors);
    errors
}

fn set_rules(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::root(object).get("spec");
    spec.get("replicas").non_negative(&mut errors);
    spec.get("minReadySeconds").non_negative(&mut errors);
    replicated_template(&spec, spec_before(old).as_ref(), &mut errors);
    errors
}

fn controller_rules(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = At::root(object).get("spec");
    spec.get("minReadySeconds").non_negative(&mut errors);
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    selector.must(&mut errors);
    spec.get("replicas").non_negative(&mut errors);
    if template.must(&mut errors) {
        let labels = template.get("metadata").get("labels");
        let parsed = LabelSelector::from_map(Some(selector.value));
        if !parsed.is_nothing() && !parsed.matches(&labels.value.as_object()) {
            labels.invalid(&mut errors, "`selector` does not match template `labels`");
        }
        checked_template(&spec, spec_before(old).as_ref(), &mut errors);
        always_running(&template, "ReplicationController", &mut errors);
    }
    errors
}

/// The rules of ReplicaSets.
pub(in crate::kinds) struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        default_spec(object);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        set_rules(object, None)
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = set_rules(new, Some(old));
        immutable_selector(new, old, &mut errors);
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        check_status(new)
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        warn_name_and_template(new, old)
    }
}

/// The rules of ReplicationControllers.
pub(in crate::kinds) struct ReplicationController;

impl Strategy for ReplicationController {
    /// As before there was a choice.
    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn default(&self, object: &mut Value) {
        let labels = object.pointer("/spec/template/metadata/labels").cloned();
        if let Some(labels) = labels.filter(Value::is_object) {
            if meta::labels(object).is_none_or(serde_json::Map::is_empty) {
                meta::metadata_mut(object).insert("labels".to_owned(), labels.clone());
            }
            if let Some(spec) = spec_mut(object) {
                set_default_zero(spec, "selector", labels);
            }
        }
        default_spec(object);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        controller_rules(object, None)
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        controller_rules(new, Some(old))
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        check_status(new)
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        warn_name_and_template(new, old)
    }
}
