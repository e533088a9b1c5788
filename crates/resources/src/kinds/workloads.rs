//! Kinds that keep Pods running: Deployment, ReplicaSet, ReplicationController, DaemonSet,
//! StatefulSet, and the revisions some of them keep.

mod daemon_set;
mod deployment;
mod replicas;
mod revision;
mod stateful_set;
pub(super) mod status;
#[cfg(test)]
mod tests;

use machinery::Value;
use machinery::field::ErrorList;
use machinery::selector::LabelSelector;
use machinery::{meta, names};

pub(super) use self::daemon_set::DaemonSet;
pub(super) use self::deployment::Deployment;
pub(super) use self::replicas::{ReplicaSet, ReplicationController};
pub(super) use self::revision::{ControllerRevision, PodTemplate};
pub(super) use self::stateful_set::StatefulSet;
use super::pod::{defaults, scheduling, spec as pod_spec, warnings};
use crate::cursor::At;

/// The spec of an object, when it has one.
pub(super) fn spec_mut(object: &mut Value) -> Option<&mut Value> {
    object.get_mut("spec").filter(|s| s.is_object())
}

/// A number that is not negative or a percentage.
pub(super) fn int_or_percent(at: &At<'_>, errors: &mut ErrorList) {
    match at.value {
        Value::String(text) => {
            for message in names::percent(text) {
                at.invalid(errors, message);
            }
        }
        Value::Number(_) => at.non_negative(errors),
        _ => {}
    }
}

/// The percentage must not exceed the whole.
pub(super) fn at_most_all(at: &At<'_>, errors: &mut ErrorList) {
    let percent = at.str().strip_suffix('%').and_then(|n| n.parse::<i64>().ok());
    if percent.is_some_and(|n| n > 100) {
        at.invalid(errors, "must not be greater than 100%");
    }
}

fn amount(at: &At<'_>) -> i64 {
    match at.value {
        Value::String(text) => text.strip_suffix('%').unwrap_or(text).parse().unwrap_or(0),
        value => value.as_i64().unwrap_or(0),
    }
}

/// How a kind words what is wrong with its selector.
struct SelectorWords {
    empty: &'static str,
    malformed: &'static str,
}

/// The selector must be there, well-formed, and select something, the template included. Says
/// whether it can be understood; where it cannot, upstream leaves the template alone.
fn selector(spec: &At<'_>, words: &SelectorWords, errors: &mut ErrorList) -> bool {
    let selector = spec.get("selector");
    if selector.is_set() {
        scheduling::label_selector(&selector, errors);
        if selector.get("matchLabels").is_empty() && selector.get("matchExpressions").is_empty() {
            selector.invalid(errors, words.empty);
        }
    } else {
        selector.required(errors, "");
    }
    let understood = selects_template(spec, errors);
    if !understood {
        selector.invalid(errors, words.malformed);
    }
    understood
}

/// The selector, unless it selects everything, must select the template. Says whether it can be
/// understood; no selector selects nothing.
fn selects_template(spec: &At<'_>, errors: &mut ErrorList) -> bool {
    let Ok(parsed) = LabelSelector::from_value(Some(spec.get("selector").value)) else {
        return false;
    };
    let labels = spec.get("template").get("metadata").get("labels");
    if !parsed.is_everything() && !parsed.matches(&labels.value.as_object()) {
        labels.invalid(errors, "`selector` does not match template `labels`");
    }
    true
}

/// A template whose Pods are restarted for ever.
fn always_running(template: &At<'_>, what: &str, errors: &mut ErrorList) {
    let policy = template.get("spec").get("restartPolicy");
    if policy.str() != "Always" {
        policy.unsupported(errors, &["Always"]);
    }
    let deadline = template.get("spec").get("activeDeadlineSeconds");
    if deadline.is_set() {
        deadline.forbidden(errors, format!("activeDeadlineSeconds in {what} is not Supported"));
    }
}

/// The spec of an object that is replaced.
fn spec_before(old: Option<&Value>) -> Option<At<'_>> {
    old.map(|old| At::root(old).get("spec"))
}

/// Checks the template of a spec that replaces another, if it does.
fn checked_template(spec: &At<'_>, before: Option<&At<'_>>, errors: &mut ErrorList) {
    let before = before.map(|before| before.get("template"));
    pod_spec::template(&spec.get("template"), before.as_ref(), errors);
}

/// What Deployments and ReplicaSets ask of selector and template.
fn replicated_template(spec: &At<'_>, before: Option<&At<'_>>, errors: &mut ErrorList) {
    // Upstream says deployment for both.
    let words = SelectorWords {
        empty: "empty selector is invalid for deployment",
        malformed: "invalid label selector",
    };
    if selector(spec, &words, errors) {
        checked_template(spec, before, errors);
        always_running(&spec.get("template"), "ReplicaSet", errors);
    }
}

fn default_template(spec: &mut Value) {
    if let Some(template) = spec.get_mut("template") {
        defaults::template(template);
    }
}

fn immutable_selector(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    spec.get("selector").unchanged(&before.get("selector"), errors);
}

/// What users are told about a template, when it is new or came with a new generation.
fn warn_template(new: &Value, old: Option<&Value>) -> Vec<String> {
    if old.is_some_and(|old| meta::generation(new) == meta::generation(old)) {
        return Vec::new();
    }
    warnings::of_template(&At::root(new).get("spec").get("template"), true)
}

/// As [`warn_template`], for kinds whose names become those of Pods.
fn warn_name_and_template(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut given = Vec::new();
    if old.is_none() {
        warnings::host_name(meta::name(new), "Pod names and hostnames", &mut given);
    }
    given.extend(warn_template(new, old));
    given
}
