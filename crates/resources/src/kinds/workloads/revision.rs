//! Templates that are kept: ControllerRevisions and PodTemplates.

use machinery::Value;
use machinery::field::ErrorList;

use crate::cursor::{At, same};
use crate::kinds::pod::{defaults, spec as pod_spec, warnings};
use crate::strategy::{Ctx, Generation, Strategy, subdomain_name};

/// The rules of ControllerRevisions.
pub(in crate::kinds) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let object = At::root(object);
        object.get("revision").non_negative(&mut errors);
        let data = object.get("data");
        if !data.is_set() {
            data.required(&mut errors, "data is mandatory");
        } else if !data.value.is_object() {
            data.required(&mut errors, "data must be a valid JSON object");
        }
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        At::root(new).get("revision").non_negative(&mut errors);
        At::root(new).get("data").unchanged(&At::root(old).get("data"), &mut errors);
        errors
    }
}

/// The rules of PodTemplates.
pub(in crate::kinds) struct PodTemplate;

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Value) {
        if let Some(template) = object.get_mut("template") {
            defaults::template(template);
        }
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Content
    }

    fn validate(&self, _ctx: &Ctx<'_>, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        pod_spec::template(&At::root(object).get("template"), None, &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let before = At::root(old).get("template");
        pod_spec::template(&At::root(new).get("template"), Some(&before), &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let template = At::root(new).get("template");
        match old {
            Some(old) if same(template.value, At::root(old).get("template").value) => Vec::new(),
            _ => warnings::of_template(&template, true),
        }
    }
}
