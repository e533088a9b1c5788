//! What may change about the resources of a running Pod. KEP-1287, KEP-5419.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path};
use machinery::meta;
use serde_json::json;

use super::annotations::MIRROR;
use super::resources::qos_class;
use crate::cursor::{At, copy_field, items_mut, remove, same};

const LISTS: [&str; 2] = ["initContainers", "containers"];

/// Whether two Pods have the same number of containers, so that they can be compared one by one.
pub(super) fn has_same_number(new: &Value, old: &Value) -> bool {
    let number = |pod: &Value, list| At::root(pod).get("spec").get(list).len();
    LISTS.iter().all(|list| number(new, list) == number(old, list))
}

/// Takes over what a resize may change, which is nothing if containers have other names; the check
/// then says so.
pub(super) fn take(spec: &mut Value, asked: &Value) {
    copy_field(spec, asked, "resources");
    for list in LISTS {
        let asked = At::root(asked).get(list);
        let containers = items_mut(spec, list);
        let same_names = containers
            .iter()
            .zip(asked.items())
            .all(|(old, new)| old.get("name") == new.get("name"));
        for (container, asked) in containers.iter_mut().zip(asked.items()) {
            if !same_names {
                *container = asked.clone();
                continue;
            }
            copy_field(container, asked, "resources");
            copy_field(container, asked, "resizePolicy");
        }
    }
}

/// Checks a change of a running Pod's resources.
pub(super) fn check(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    let mut only = |detail: &str| *errors = Error::forbidden(&Path::new(""), detail).into();
    if meta::annotation(old, MIRROR).is_some() {
        only("static pods cannot be resized");
        return;
    }
    if before.get("os").get("name").str() == "windows" {
        only("windows pods cannot be resized");
        return;
    }
    let class = At::root(old).get("status").get("qosClass").str();
    if qos_class(new) != if class.is_empty() { qos_class(old) } else { class } {
        let shown = At::root(new).get("status").get("qosClass").str();
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(&spec.path, shown, detail));
    }
    if !is_supported(&At::root(old).get("status")) {
        spec.forbidden(errors, "Pod running on node without support for resize");
    }
    let mut munged = spec.value.clone();
    whole(&spec, &before, &mut munged, errors);
    if !At::root(old).get("status").get("nodeAllocatableResourceClaimStatuses").is_empty() {
        let detail = "pods with node allocatable resource claims cannot be resized";
        spec.forbidden(errors, detail);
    }
    if !same_order(&spec, &before, errors) {
        return;
    }
    for list in LISTS {
        for (container, old) in spec.get(list).list().zip(before.get(list).list()) {
            nothing_removed(&container.get("resources"), &old.get("resources"), "resource", errors);
        }
    }
    for (i, container) in items_mut(&mut munged, "containers").iter_mut().enumerate() {
        if !restored(container, &before.get("containers").items()[i]) {
            spec.forbidden(errors, "only cpu and memory resources are mutable");
        }
    }
    for (i, container) in items_mut(&mut munged, "initContainers").iter_mut().enumerate() {
        let old = &before.get("initContainers").items()[i];
        let path = spec.get("initContainers").path.index(i);
        let changed = !same(container, old);
        if !restored(container, old) {
            let detail = "only cpu and memory resources for init or sidecar containers are mutable";
            errors.push(Error::forbidden(&path, detail));
        }
        let container = At::root(container);
        if !changed || super::containers::is_sidecar(&container) {
            continue;
        }
        for policy in container.get("resizePolicy").list() {
            if policy.get("restartPolicy").str() == "RestartContainer" {
                let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                errors.push(Error::forbidden(&path, detail));
            }
        }
    }
    if errors.is_empty() && !same(&munged, before.value) {
        spec.forbidden(errors, "only cpu and memory resources are mutable");
    }
}

/// Whether the node that runs a Pod says what its containers have, and so can change it.
fn is_supported(status: &At<'_>) -> bool {
    let mut statuses = status.get("containerStatuses").list();
    let running = statuses.find(|container| container.get("state").get("running").is_set());
    running.is_none_or(|container| container.get("resources").is_set())
}

/// Checks what the Pod asks for as a whole.
fn whole(spec: &At<'_>, before: &At<'_>, munged: &mut Value, errors: &mut ErrorList) {
    let (resources, old) = (spec.get("resources"), before.get("resources"));
    let is_used = |resources: &At<'_>| {
        !resources.get("requests").is_empty() || !resources.get("limits").is_empty()
    };
    if !is_used(&resources) && !is_used(&old) {
        return;
    }
    if old.is_set() && !resources.is_set() {
        resources.forbidden(errors, "pod-level resources cannot be removed");
        return;
    }
    nothing_removed(&resources, &old, "pod-level resource", errors);
    restore_amounts(&mut munged["resources"], old.value);
    let empty = ["requests", "limits", "claims"]
        .into_iter()
        .all(|list| At::root(&munged["resources"]).get(list).is_empty());
    if empty && !old.is_set() {
        remove(munged, "resources");
    }
    if !same(At::root(munged).get("resources").value, old.value) {
        spec.forbidden(errors, "only cpu and memory resources are mutable at pod-level");
    }
}

fn same_order(spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) -> bool {
    let known = errors.len();
    for list in ["containers", "initContainers"] {
        let (containers, old) = (spec.get(list), before.get(list));
        if containers.len() != old.len() {
            containers.forbidden(errors, format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (container, old) in containers.list().zip(old.list()) {
            let (name, old) = (container.get("name"), old.get("name"));
            if name.str() != old.str() {
                let detail = format!("{list} may not be renamed or reordered on resize");
                name.forbidden(errors, detail);
            }
        }
    }
    errors.len() == known
}

fn nothing_removed(resources: &At<'_>, old: &At<'_>, what: &str, errors: &mut ErrorList) {
    for list in ["requests", "limits"] {
        let (now, old) = (resources.get(list), old.get(list));
        if old.entries().any(|(name, _)| now.value.get(name).is_none()) {
            now.forbidden(errors, format!("{what} {list} cannot be removed"));
        }
    }
}

/// Undoes the changes that are allowed; says whether nothing else changed.
fn restored(container: &mut Value, old: &Value) -> bool {
    if container.get("resources").is_none_or(Value::is_null) {
        container["resources"] = json!({});
    }
    restore_amounts(&mut container["resources"], old.get("resources").unwrap_or(&Value::Null));
    // Claims are left out of the comparison on this side only, as upstream leaves them.
    remove(&mut container["resources"], "claims");
    same(container, old)
}

fn restore_amounts(resources: &mut Value, old: &Value) {
    for list in ["requests", "limits"] {
        let before = old.get(list);
        let mut amounts = resources.get(list).cloned().unwrap_or_else(|| json!({}));
        for name in ["cpu", "memory"] {
            match before.and_then(|before| before.get(name)) {
                Some(amount) => amounts[name] = amount.clone(),
                None => remove(&mut amounts, name),
            }
        }
        resources[list] = amounts;
    }
}
