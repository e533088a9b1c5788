//! Jobs.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::selector::LabelSelector;
use machinery::{meta, names};
use serde_json::{Map, json};

use super::{default_spec, spec as rules, spec_warnings, status};
use crate::cursor::{At, copy_field, items_mut, remove, same, set_default};
use crate::kinds::pod::{scheduling, warnings};
use crate::kinds::workloads::spec_mut;
use crate::strategy::{Ctx, Generation, Propagation, Strategy, subdomain_name};

const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const OLD_UID_LABEL: &str = "controller-uid";
const OLD_NAME_LABEL: &str = "job-name";

/// The rules of Jobs.
pub(in crate::kinds) struct Job;

impl Strategy for Job {
    /// As before there was a choice.
    fn default_propagation(&self) -> Propagation {
        Propagation::Orphan
    }

    fn default(&self, object: &mut Value) {
        let labels = object.pointer("/spec/template/metadata/labels").cloned();
        if let Some(labels) = labels.filter(|l| l.as_object().is_some_and(|l| !l.is_empty()))
            && meta::labels(object).is_none_or(Map::is_empty)
        {
            meta::metadata_mut(object).insert("labels".to_owned(), labels);
        }
        let Some(spec) = spec_mut(object) else { return };
        default_spec(spec);
        let unset = |spec: &Value, field: &str| spec.get(field).is_none_or(Value::is_null);
        if unset(spec, "completions") && unset(spec, "parallelism") {
            set_default(spec, "completions", 1);
        }
        set_default(spec, "parallelism", 1);
        let per_index = !unset(spec, "backoffLimitPerIndex");
        set_default(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
        set_default(spec, "completionMode", "NonIndexed");
        set_default(spec, "suspend", false);
        set_default(spec, "manualSelector", false);
        let policy = if unset(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
        set_default(spec, "podReplacementPolicy", policy);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn generation(&self) -> Generation {
        Generation::Spec
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, job: &mut Value) {
        if job.pointer("/spec/manualSelector").and_then(Value::as_bool) == Some(true) {
            return;
        }
        let (uid, name) = (meta::uid(job).to_owned(), meta::name(job).to_owned());
        let Some(template) = job.pointer_mut("/spec/template").filter(|t| t.is_object()) else {
            return;
        };
        // A label given by hand may be that of another Job; the check finds it.
        for (key, value) in
            [(UID_LABEL, &uid), (NAME_LABEL, &name), (OLD_UID_LABEL, &uid), (OLD_NAME_LABEL, &name)]
        {
            if meta::label(template, key).is_none() {
                meta::set_label(template, key, value.as_str());
            }
        }
        if let Some(spec) = spec_mut(job) {
            set_default(spec, "selector", json!({}));
            let selector = &mut spec["selector"];
            set_default(selector, "matchLabels", json!({}));
            set_default(&mut selector["matchLabels"], UID_LABEL, uid);
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, job: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        check(job, None, true, &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let had = |key: &str| {
            old.pointer("/spec/template").is_some_and(|t| meta::label(t, key).is_some())
        };
        // Jobs from before lack the newer labels.
        check(new, Some(old), had(UID_LABEL) && had(NAME_LABEL), &mut errors);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let (completions, old_completions) = (spec.get("completions"), before.get("completions"));
        if !rules::is_indexed(&spec) {
            completions.unchanged(&old_completions, &mut errors);
        } else if completions.is_set()
            && !same(completions.value, old_completions.value)
            && !same(completions.value, spec.get("parallelism").value)
        {
            let detail = "can only be modified in tandem with spec.parallelism";
            completions.invalid(&mut errors, detail);
        }
        spec.get("selector").unchanged(&before.get("selector"), &mut errors);
        template_unchanged(&spec, old, &mut errors);
        for field in [
            "completionMode",
            "podFailurePolicy",
            "backoffLimitPerIndex",
            "managedBy",
            "successPolicy",
        ] {
            spec.get(field).unchanged(&before.get(field), &mut errors);
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        status::check(new, old, &mut errors);
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut given = Vec::new();
        match old {
            None => warnings::host_name(meta::name(new), "Pod names and hostnames", &mut given),
            Some(old) if meta::generation(new) == meta::generation(old) => return given,
            Some(_) => {}
        }
        spec_warnings(&At::root(new).get("spec"), &mut given);
        given
    }
}

fn check(job: &Value, old: Option<&Value>, newer_labels: bool, errors: &mut ErrorList) {
    let spec = At::root(job).get("spec");
    let (selector, template) = (spec.get("selector"), spec.get("template"));
    if !spec.get("manualSelector").bool() && selector.is_set() {
        generated_selector(job, newer_labels, errors);
    }
    let before = old.map(|old| At::root(old).get("spec"));
    rules::check(&spec, before.as_ref(), errors);
    if selector.is_set() {
        scheduling::label_selector(&selector, errors);
    } else {
        selector.required(errors, "");
    }
    let labels = template.get("metadata").get("labels");
    let parsed = LabelSelector::from_value(Some(selector.value));
    if parsed.is_ok_and(|parsed| !parsed.matches(&labels.value.as_object())) {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
    let completions = spec.get("completions").int_or_zero();
    if rules::is_indexed(&spec) && completions > 0 {
        let last = format!("{}-{}", meta::name(job), completions - 1);
        if !names::dns1123_label(&last).is_empty() {
            let name = At::root(job).get("metadata").get("name");
            let detail = format!("will not able to create pod with invalid DNS label: {last}");
            name.invalid(errors, detail);
        }
    }
}

/// The labels and the selector that the server makes up.
fn generated_selector(job: &Value, newer_labels: bool, errors: &mut ErrorList) {
    let spec = At::root(job).get("spec");
    let template = spec.get("template");
    let labels = template.get("metadata").get("labels");
    let older = [(OLD_UID_LABEL, meta::uid(job)), (OLD_NAME_LABEL, meta::name(job))];
    let newer = [(UID_LABEL, meta::uid(job)), (NAME_LABEL, meta::name(job))];
    let expected: Vec<(&str, &str)> =
        older.into_iter().chain(newer.into_iter().filter(|_| newer_labels)).collect();
    if meta::uid(job).is_empty() {
        At::root(job).get("metadata").get("uid").required(errors, "");
    }
    for (key, value) in &expected {
        let path = labels.path.key(*key);
        let detail = format!("must be '{value}'");
        match meta::label(template.value, key) {
            None => errors.push(Error::required(&path, detail)),
            Some(label) if label != *value => {
                errors.push(Error::invalid(&path, labels.value.clone(), detail));
            }
            Some(_) => {}
        }
    }
    let selector = spec.get("selector");
    let parsed = LabelSelector::from_value(Some(selector.value));
    if parsed.is_ok_and(|parsed| !parsed.matches(&expected[..])) {
        selector.invalid(errors, "`selector` not auto-generated");
    }
}

/// The template stays. While a Job is suspended and none of its Pods runs, what schedules them and
/// what they ask for may change.
fn template_unchanged(spec: &At<'_>, old: &Value, errors: &mut ErrorList) {
    let template = spec.get("template");
    let (before, status) = (At::root(old).get("spec"), At::root(old).get("status"));
    let mut expected = before.get("template").value.clone();
    if before.get("suspend").bool() && status.get("active").int_or_zero() == 0 {
        allow_rescheduling(&mut expected, template.value);
        allow_resizing(&mut expected, template.value);
    }
    if !same(template.value, &expected) {
        errors.push(Error::immutable(&template.path, template.value.clone()));
    }
}

fn allow_rescheduling(expected: &mut Value, template: &Value) {
    let null = Value::Null;
    let part = |name: &str| template.get(name).unwrap_or(&null);
    if expected.get("metadata").is_none() {
        expected["metadata"] = json!({});
    }
    for field in ["labels", "annotations"] {
        copy_field(&mut expected["metadata"], part("metadata"), field);
    }
    let Some(pod) = expected.get_mut("spec").filter(|s| s.is_object()) else { return };
    for field in ["nodeSelector", "tolerations", "schedulingGates"] {
        copy_field(pod, part("spec"), field);
    }
    // Of the affinities only that to nodes.
    let affinity = part("spec").get("affinity").filter(|a| a.is_object());
    if affinity.is_some() {
        set_default(pod, "affinity", json!({}));
    }
    if let Some(expected) = pod.get_mut("affinity") {
        copy_field(expected, affinity.unwrap_or(&null), "nodeAffinity");
    }
    if affinity.is_none() && pod.get("affinity").is_some_and(|a| same(a, &json!({}))) {
        remove(pod, "affinity");
    }
}

fn allow_resizing(expected: &mut Value, template: &Value) {
    let Some(pod) = expected.get_mut("spec").filter(|s| s.is_object()) else { return };
    for list in ["containers", "initContainers"] {
        let now = template.pointer(&format!("/spec/{list}")).and_then(Value::as_array);
        let now = now.map(Vec::as_slice).unwrap_or_default();
        for (container, now) in items_mut(pod, list).iter_mut().zip(now) {
            let resources = now.get("resources").unwrap_or(&Value::Null);
            set_default(container, "resources", json!({}));
            for field in ["requests", "limits"] {
                copy_field(&mut container["resources"], resources, field);
            }
        }
    }
}
