//! Annotations of Pods and templates that mean something to the server, and profiles of AppArmor
//! and seccomp that were given by annotations before there were fields for them.

use machinery::field::{Error, ErrorList, Path, quote};
use machinery::{Value, meta};
use serde_json::json;

use super::containers::all_containers;
use super::options::Options;
use super::scheduling::tolerations_with;
use super::security::PROFILE_MAX;
use super::volumes::descending_path;
use crate::cursor::{At, items_mut, same};
use crate::kinds::forms::go_json;

/// Marks what a kubelet shows of a Pod that it was given as a file.
pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";
/// Before the name of a container: its profile of AppArmor.
pub(super) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
/// The profile of seccomp of all containers.
pub(super) const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
/// Before the name of a container: its profile of seccomp.
pub(super) const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";

/// Checks the annotations at `path` of a Pod or template.
pub(super) fn check(holder: &At<'_>, path: &Path, options: &Options<'_>, errors: &mut ErrorList) {
    let (spec, metadata) = (holder.get("spec"), holder.get("metadata"));
    let noted = |key: &str| meta::annotation(holder.value, key);
    if let Some(mirror) = noted(MIRROR).filter(|_| spec.get("nodeName").is_empty()) {
        let detail = "must set spec.nodeName if mirror pod annotation is set";
        errors.push(Error::invalid(&path.key(MIRROR), mirror, detail));
    }
    if let Some(text) = noted(TOLERATIONS).filter(|text| !text.is_empty()) {
        match go_json(text.as_bytes(), "[]core.Toleration") {
            Err(detail) => errors.push(Error::invalid(path, TOLERATIONS, detail)),
            Ok(list) => {
                let list = At::new(&list, path.child(TOLERATIONS));
                tolerations_with(&list, options.numeric_tolerations, errors);
            }
        }
    }
    if !options.odd_deletion_cost && !has_deletion_cost_or_none(&metadata) {
        let cost = noted(DELETION_COST).unwrap_or_default();
        errors.push(Error::invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer"));
    }
    let all = || meta::annotations(holder.value).into_iter().flatten();
    for (key, profile) in all().filter(|(key, _)| *key == SECCOMP_POD) {
        seccomp(&At::new(profile, path.child(key.clone())), errors);
    }
    for (key, profile) in all().filter(|(key, _)| key.starts_with(SECCOMP_CONTAINER)) {
        seccomp(&At::new(profile, path.child(key.clone())), errors);
    }
    for (key, profile) in all() {
        let Some(name) = key.strip_prefix(APP_ARMOR) else { continue };
        if !all_containers(&spec).any(|(_, container)| container.get("name").str() == name) {
            errors.push(Error::invalid(&path.key(key.as_str()), name, "container not found"));
        }
        let profile = profile.as_str().unwrap_or_default();
        if !is_app_armor(profile) {
            let detail = format!("invalid AppArmor profile name: {}", quote(profile));
            errors.push(Error::invalid(&path.key(key.as_str()), profile, detail));
        }
    }
}

/// Whether the cost of deletion, if one is noted, is a number.
pub(super) fn has_deletion_cost_or_none(metadata: &At<'_>) -> bool {
    let cost = metadata.get("annotations").value.get(DELETION_COST).and_then(Value::as_str);
    cost.is_none_or(|text| {
        let plain = text == "0" || text.starts_with(|c: char| c == '-' || ('1'..='9').contains(&c));
        plain && text.parse::<i32>().is_ok()
    })
}

fn seccomp(profile: &At<'_>, errors: &mut ErrorList) {
    match profile.str() {
        "runtime/default" | "docker/default" | "unconfined" => {}
        text => match text.strip_prefix("localhost/") {
            Some(path) => {
                descending_path(&At::new(&Value::from(path), profile.path.clone()), errors);
            }
            None => profile.invalid(errors, "must be a valid seccomp profile"),
        },
    }
}

fn is_app_armor(profile: &str) -> bool {
    matches!(profile, "" | "runtime/default" | "unconfined") || profile.starts_with("localhost/")
}

/// Checks that profiles given both ways are the same.
pub(super) fn check_profiles(holder: &At<'_>, errors: &mut ErrorList) {
    let (spec, pod) = (holder.get("spec"), holder.get("spec").get("securityContext"));
    let noted = |key: &str| meta::annotation(holder.value, key);
    let compare = |key: &str, profile: &At<'_>, what: &str, default: &[&str], errors: &mut _| {
        if let Some(text) = noted(key).filter(|_| profile.is_set()) {
            same_profile(text, profile, what, default, errors);
        }
    };
    const DEFAULT: [&str; 2] = ["runtime/default", "docker/default"];
    compare(SECCOMP_POD, &pod.get("seccompProfile"), "seccomp", &DEFAULT, errors);
    for (_, container) in all_containers(&spec) {
        let key = format!("{SECCOMP_CONTAINER}{}", container.get("name").str());
        let profile = container.get("securityContext").get("seccompProfile");
        compare(&key, &profile, "seccomp", &DEFAULT, errors);
    }
    if spec.get("os").get("name").str() == "windows" {
        return;
    }
    for (_, container) in all_containers(&spec) {
        let key = format!("{APP_ARMOR}{}", container.get("name").str());
        let own = container.get("securityContext").get("appArmorProfile");
        // What holds for the Pod is compared where the container's own would be.
        let value = if own.is_set() { own.value } else { pod.get("appArmorProfile").value };
        compare(&key, &At::new(value, own.path), "apparmor", &DEFAULT[..1], errors);
    }
}

fn same_profile(
    noted: &str,
    profile: &At<'_>,
    what: &str,
    default: &[&str],
    errors: &mut ErrorList,
) {
    let (kind, local) = (profile.get("type"), profile.get("localhostProfile"));
    let same_type = match kind.str() {
        "Unconfined" => noted == "unconfined",
        "RuntimeDefault" => default.contains(&noted),
        "Localhost" => noted.starts_with("localhost/"),
        _ => true,
    };
    if !same_type {
        kind.forbidden(errors, format!("{what} type in annotation and field must match"));
    } else if kind.str() == "Localhost" {
        let named = noted.strip_prefix("localhost/");
        if !local.is_set() || named != Some(local.str()) {
            local.forbidden(errors, format!("{what} profile in annotation and field must match"));
        }
    }
}

/// Checks a change of annotations.
pub(super) fn check_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata").child("annotations");
    let mut check = |key: &str, change: &str| {
        if key.starts_with(APP_ARMOR) {
            let detail = format!("may not {change} AppArmor annotations");
            errors.push(Error::forbidden(&path.key(key), detail));
        }
        if key == MIRROR {
            let detail = format!("may not {change} mirror pod annotation");
            errors.push(Error::forbidden(&path.key(key), detail));
        }
    };
    for (key, value) in meta::annotations(old).into_iter().flatten() {
        if meta::annotation(new, key) != value.as_str() {
            check(key, "remove or update");
        }
    }
    for (key, _) in meta::annotations(new).into_iter().flatten() {
        if meta::annotation(old, key).is_none() {
            check(key, "add");
        }
    }
}

/// Gives containers the profiles of AppArmor that only annotations name.
pub(super) fn app_armor_fields(pod: &mut Value) {
    for (key, profile) in profiles_to_set(pod) {
        let Some(profile) = profile else { continue };
        let name = key.strip_prefix(APP_ARMOR).unwrap_or_default();
        let Some(spec) = pod.get_mut("spec") else { return };
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            for container in items_mut(spec, list) {
                if container.get("name").and_then(Value::as_str) == Some(name) {
                    if !container.get("securityContext").is_some_and(Value::is_object) {
                        container["securityContext"] = json!({});
                    }
                    container["securityContext"]["appArmorProfile"] = profile.clone();
                }
            }
        }
    }
}

/// The annotations whose profile a container of a new Pod is to get, or would if it were one.
pub(super) fn profiles_to_set(pod: &Value) -> Vec<(String, Option<Value>)> {
    let spec = At::root(pod).get("spec");
    if spec.get("os").get("name").str() == "windows" {
        return Vec::new();
    }
    let whole = spec.get("securityContext").get("appArmorProfile");
    let mut found = Vec::new();
    for (_, container) in all_containers(&spec) {
        let key = format!("{APP_ARMOR}{}", container.get("name").str());
        let Some(noted) = meta::annotation(pod, &key) else { continue };
        if container.get("securityContext").get("appArmorProfile").is_set() {
            continue;
        }
        let profile = app_armor_profile(noted);
        match &profile {
            Some(profile) if whole.is_set() && same(profile, whole.value) => {}
            _ => found.push((key, profile)),
        }
    }
    found
}

fn app_armor_profile(noted: &str) -> Option<Value> {
    match noted {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => noted
            .strip_prefix("localhost/")
            .filter(|name| !name.is_empty() && name.trim() == *name && name.len() <= PROFILE_MAX)
            .map(|name| json!({"type": "Localhost", "localhostProfile": name})),
    }
}
