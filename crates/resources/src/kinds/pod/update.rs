//! What may change about a Pod once it exists.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;

use super::{resources, scheduling};
use crate::cursor::{At, copy_field, items_mut, same};

const MIRROR: &str = "kubernetes.io/config.mirror";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const RULE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks the change of a Pod through the main resource.
pub(super) fn check(new: &Value, old: &Value, errors: &mut ErrorList) {
    annotations(new, old, errors);
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    for list in ["containers", "initContainers"] {
        let (containers, old_containers) = (spec.get(list), before.get(list));
        if containers.len() != old_containers.len() {
            containers.forbidden(errors, "pod updates may not add or remove containers");
            return;
        }
        for container in containers.list() {
            let image = container.get("image");
            image.must(errors);
            if image.str().trim() != image.str() {
                image.invalid(errors, "must not have leading or trailing whitespace");
            }
        }
    }
    if !deadline(&spec, &before, errors) {
        return;
    }
    let (tolerations, old_tolerations) = (spec.get("tolerations"), before.get("tolerations"));
    scheduling::only_added_tolerations(&tolerations, &old_tolerations, errors);
    gates(&spec, &before, errors);

    let mut munged = spec.value.clone();
    for list in ["containers", "initContainers"] {
        for (i, container) in items_mut(&mut munged, list).iter_mut().enumerate() {
            if let Some(old_container) = before.get(list).items().get(i) {
                copy_field(container, old_container, "image");
            }
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        copy_field(&mut munged, before.value, field);
    }
    let grace = |spec: &At<'_>| spec.get("terminationGracePeriodSeconds").int_or_zero();
    if grace(&before) < 0 && grace(&spec) == 1 {
        copy_field(&mut munged, before.value, "terminationGracePeriodSeconds");
    }
    if !before.get("schedulingGates").is_empty() {
        narrowed(&mut munged, &spec, &before, errors);
    }
    if !same(&munged, before.value) {
        let mut detail = RULE.to_owned();
        detail.push('\n');
        differences(&mut detail, "", &munged, before.value);
        spec.forbidden(errors, detail);
    }
}

/// Checks the change of a Pod's status.
pub(super) fn check_status(new: &Value, old: &Value, errors: &mut ErrorList) {
    annotations(new, old, errors);
    let status = At::root(new).get("status");
    for (i, condition) in status.get("conditions").list().enumerate() {
        let kind = condition.get("type").str();
        // Upstream places this below metadata.
        let path = Path::new("metadata").child("conditions").index(i).child("Type");
        for message in machinery::names::qualified_name(kind) {
            errors.push(Error::invalid(&path, kind, message));
        }
    }
    for list in ["podIPs", "hostIPs"] {
        for entry in status.get(list).list() {
            let ip = entry.get("ip").str();
            for message in machinery::names::ip_address(ip) {
                errors.push(Error::invalid(&entry.path, ip, message));
            }
        }
    }
    let nominated = status.get("nominatedNodeName");
    nominated.may_form(errors, machinery::names::dns1123_subdomain);
    let policy = At::root(old).get("spec").get("restartPolicy").str();
    let sidecar = |name: &str| {
        let containers = At::root(old).get("spec").get("initContainers");
        containers
            .list()
            .any(|c| c.get("name").str() == name && c.get("restartPolicy").str() == "Always")
    };
    if policy != "Always" {
        for list in ["containerStatuses", "initContainerStatuses"] {
            let statuses = status.get(list);
            for (i, before) in At::root(old).get("status").get(list).list().enumerate() {
                let terminated = before.get("state").get("terminated");
                let failed = terminated.get("exitCode").int_or_zero() != 0;
                let name = before.get("name").str();
                if !terminated.is_set() || failed && policy == "OnFailure" || sidecar(name) {
                    continue;
                }
                let restarted = statuses.list().any(|s| {
                    s.get("name").str() == name && !s.get("state").get("terminated").is_set()
                });
                if restarted {
                    let path = statuses.path.index(i).child("state");
                    let detail = "may not be transitioned to non-terminated state";
                    errors.push(Error::forbidden(&path, detail));
                }
            }
        }
    }
}

/// Ephemeral containers may be added, never changed or removed.
pub(super) fn check_ephemeral(new: &Value, old: &Value, errors: &mut ErrorList) {
    if meta::annotation(old, MIRROR).is_some() {
        let detail = "static pods do not support ephemeral containers";
        *errors = Error::forbidden(&Path::new(""), detail).into();
        return;
    }
    let list = At::root(new).get("spec").get("ephemeralContainers");
    let before = At::root(old).get("spec").get("ephemeralContainers");
    for old_container in before.list() {
        let name = old_container.get("name").str();
        match list.list().find(|c| c.get("name").str() == name) {
            None => {
                let detail = format!(
                    "existing ephemeral containers {} may not be removed\n",
                    machinery::field::quote(name)
                );
                list.forbidden(errors, detail);
            }
            Some(container) if !same(container.value, old_container.value) => {
                let detail = format!(
                    "existing ephemeral containers {} may not be changed\n",
                    machinery::field::quote(name)
                );
                list.forbidden(errors, detail);
            }
            Some(_) => {}
        }
    }
}

/// Checks a change of a running Pod's resources.
pub(super) fn check_resize(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    if meta::annotation(old, MIRROR).is_some() {
        errors.push(Error::forbidden(&Path::new(""), "static pods cannot be resized"));
        return;
    }
    if before.get("os").get("name").str() == "windows" {
        errors.push(Error::forbidden(&Path::new(""), "windows pods cannot be resized"));
        return;
    }
    if resources::qos_class(new) != resources::qos_class(old) {
        let class = At::root(new).get("status").get("qosClass");
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(&spec.path, class.str(), detail));
    }
    let mut munged = spec.value.clone();
    for list in ["initContainers", "containers"] {
        if spec.get(list).len() != before.get(list).len() {
            spec.forbidden(errors, "only cpu and memory resources are mutable");
            return;
        }
        for (i, container) in spec.get(list).list().enumerate() {
            let old_container = At::root(&before.get(list).items()[i]);
            let sidecar = old_container.get("restartPolicy").str() == "Always";
            if list == "containers" || sidecar {
                nothing_removed(&container, &old_container, errors);
            }
        }
        for (i, container) in items_mut(&mut munged, list).iter_mut().enumerate() {
            let Some(old_container) = before.get(list).items().get(i) else { continue };
            let sidecar =
                old_container.get("restartPolicy").and_then(Value::as_str) == Some("Always");
            if list == "initContainers" && !sidecar {
                if !same(container, old_container) {
                    let detail = "resources for non-sidecar init containers are immutable";
                    spec.forbidden(errors, detail);
                }
                continue;
            }
            for amounts in ["requests", "limits"] {
                for resource in ["cpu", "memory"] {
                    restore_amount(container, old_container, amounts, resource);
                }
            }
            if !same(container, old_container) {
                spec.forbidden(
                    errors,
                    match list {
                        "containers" => "only cpu and memory resources are mutable",
                        _ => "only cpu and memory resources for sidecar containers are mutable",
                    },
                );
            }
        }
    }
    if errors.is_empty() && !same(&munged, before.value) {
        spec.forbidden(errors, "only cpu and memory resources are mutable");
    }
}

fn nothing_removed(container: &At<'_>, old: &At<'_>, errors: &mut ErrorList) {
    for amounts in ["requests", "limits"] {
        let field = |c: &At<'_>| {
            c.value.pointer(&format!("/resources/{amounts}")).cloned().unwrap_or_default()
        };
        let (new, old) = (field(container), field(old));
        let gone = old.as_object().into_iter().flatten().any(|(name, _)| new.get(name).is_none());
        if gone {
            let path = container.path.child("resources").child(amounts);
            errors.push(Error::forbidden(&path, format!("resource {amounts} cannot be removed")));
        }
    }
}

/// Undoes a change of one amount, so that what is left can be compared.
fn restore_amount(container: &mut Value, old: &Value, amounts: &str, resource: &str) {
    let pointer = format!("/resources/{amounts}");
    let before = old.pointer(&pointer).and_then(|list| list.get(resource));
    match (container.pointer_mut(&pointer).filter(|list| list.is_object()), before) {
        (Some(list), Some(amount)) => list[resource] = amount.clone(),
        (Some(list), None) => crate::cursor::remove(list, resource),
        (None, _) => {}
    }
}

fn annotations(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata").child("annotations");
    let mut check = |key: &str, change: &str, change_mirror: &str| {
        if key.starts_with(APP_ARMOR) {
            let detail = format!("may not {change} AppArmor annotations");
            errors.push(Error::forbidden(&path.key(key), detail));
        }
        if key == MIRROR {
            let detail = format!("may not {change_mirror} mirror pod annotation");
            errors.push(Error::forbidden(&path.key(key), detail));
        }
    };
    for (key, value) in meta::annotations(old).into_iter().flatten() {
        if meta::annotation(new, key) != value.as_str() {
            check(key, "remove or update", "remove or update");
        }
    }
    for (key, _) in meta::annotations(new).into_iter().flatten() {
        if meta::annotation(old, key).is_none() {
            check(key, "add", "add");
        }
    }
}

/// The deadline may be set, and drawn nearer. Says whether to go on.
fn deadline(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) -> bool {
    let (new, old) = (spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"));
    match (new.int(), old.int()) {
        (Some(n), _) if !(0..=i64::from(i32::MAX)).contains(&n) => {
            new.within(errors, 0, i64::from(i32::MAX));
            false
        }
        (Some(n), Some(o)) if o < n => {
            new.invalid(errors, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            new.invalid(errors, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

fn gates(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let old = before.get("schedulingGates");
    for gate in spec.get("schedulingGates").list() {
        if !old.items().contains(gate.value) {
            let name = gate.get("name").str();
            let detail =
                format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(Error::forbidden(&gate.path.child("name"), detail));
        }
    }
}

/// While a Pod is gated, its node selector may gain entries and its node affinity may be set.
fn narrowed(munged: &mut Value, spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (selector, old_selector) = (spec.get("nodeSelector"), before.get("nodeSelector"));
    let kept = old_selector.entries().all(|(k, v)| selector.value.get(k) == Some(v.value));
    if !kept {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        selector.invalid(errors, detail);
    }
    copy_field(munged, before.value, "nodeSelector");
    let required = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution";
    if before.value.pointer(required).is_none_or(Value::is_null) {
        let pods_kept = ["podAffinity", "podAntiAffinity"].iter().all(|kind| {
            let null = Value::Null;
            let part = |spec: &At<'_>| {
                spec.get("affinity").value.get(kind).cloned().unwrap_or(null.clone())
            };
            same(&part(spec), &part(before))
        });
        if pods_kept {
            copy_field(munged, before.value, "affinity");
        }
    }
}

/// Says where two values differ: what was in lines with a minus, what is in lines with a plus.
fn differences(out: &mut String, path: &str, new: &Value, old: &Value) {
    let line = |out: &mut String, sign: char, value: Option<&Value>| {
        if let Some(value) = value.filter(|v| !v.is_null()) {
            out.push_str(&format!("{sign} {path}: {value}\n"));
        }
    };
    match (new, old) {
        (Value::Object(a), Value::Object(b)) => {
            let null = Value::Null;
            let mut names: Vec<&String> =
                b.keys().chain(a.keys().filter(|k| !b.contains_key(*k))).collect();
            names.dedup();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let (a, b) = (a.get(name).unwrap_or(&null), b.get(name).unwrap_or(&null));
                if !same(a, b) {
                    differences(out, &path, a, b);
                }
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                if !same(a, b) {
                    differences(out, &format!("{path}[{i}]"), a, b);
                }
            }
        }
        (a, b) => {
            line(out, '-', Some(b));
            line(out, '+', Some(a));
        }
    }
}
