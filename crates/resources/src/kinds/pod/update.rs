//! What may change about a Pod once it exists.

use machinery::Value;
use machinery::field::{Error, ErrorList, Path, quote};
use machinery::meta;
use serde_json::json;

use super::affinity::REQUIRED;
use super::annotations::MIRROR;
use super::options::Options;
use super::{containers, scheduling};
use crate::cursor::{At, copy_field, items_mut, remove, same};
use crate::kinds::{difference, internal};

const RULE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Checks the change of a Pod through the main resource.
pub(super) fn check(new: &Value, old: &Value, options: &Options<'_>, errors: &mut ErrorList) {
    let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
    for list in ["containers", "initContainers"] {
        let (containers, old_containers) = (spec.get(list), before.get(list));
        if containers.len() != old_containers.len() {
            containers.forbidden(errors, "pod updates may not add or remove containers");
            return;
        }
        for container in containers.list() {
            container.get("image").must(errors);
            self::containers::own_image(&container, errors);
        }
    }
    if !deadline(&spec, &before, errors) {
        return;
    }
    let (tolerations, old_tolerations) = (spec.get("tolerations"), before.get("tolerations"));
    let numeric = options.numeric_tolerations;
    scheduling::only_added_tolerations(&tolerations, &old_tolerations, numeric, errors);
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
        let difference = difference::between(&munged, before.value);
        spec.forbidden(errors, format!("{RULE}\n{difference}"));
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
        let shown = quote(name);
        match list.list().filter(|c| c.get("name").str() == name).last() {
            None => {
                let detail = format!("existing ephemeral containers {shown} may not be removed\n");
                list.forbidden(errors, detail);
            }
            Some(container) if !same(container.value, old_container.value) => {
                let difference = difference::between(container.value, old_container.value);
                let detail = format!(
                    "existing ephemeral containers {shown} may not be changed\n{difference}"
                );
                list.forbidden(errors, detail);
            }
            Some(_) => {}
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
        let name = gate.get("name").str();
        if !old.list().any(|old| old.get("name").str() == name) {
            let detail =
                format!("only deletion is allowed, but found new scheduling gate '{name}'");
            errors.push(Error::forbidden(&gate.path.child("name"), detail));
        }
    }
}

/// While a Pod is gated, its choice of Nodes may become narrower. KEP-3838.
fn narrowed(munged: &mut Value, spec: &At<'_>, before: &At<'_>, errors: &mut ErrorList) {
    let (selector, old_selector) = (spec.get("nodeSelector"), before.get("nodeSelector"));
    let kept = old_selector.entries().all(|(k, v)| selector.value.get(k) == Some(v.value));
    if !kept {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        selector.invalid(errors, detail);
    }
    copy_field(munged, before.value, "nodeSelector");

    let node = |spec: &At<'_>| spec.get("affinity").get("nodeAffinity").value.clone();
    let (affinity, old_affinity) = (node(spec), node(before));
    if same(&affinity, &old_affinity) {
        return;
    }
    narrowed_affinity(
        &At::new(&affinity, spec.path.child("affinity.nodeAffinity")),
        &old_affinity,
        errors,
    );
    if !munged.get("affinity").is_some_and(Value::is_object) {
        munged["affinity"] = json!({});
    }
    if old_affinity.is_null() {
        remove(&mut munged["affinity"], "nodeAffinity");
    } else {
        munged["affinity"]["nodeAffinity"] = old_affinity;
    }
    let nothing = munged["affinity"].as_object().is_some_and(serde_json::Map::is_empty);
    if nothing && !before.get("affinity").is_set() {
        remove(munged, "affinity");
    }
}

fn narrowed_affinity(new: &At<'_>, old: &Value, errors: &mut ErrorList) {
    const TERM: &str = "NodeSelectorTerm";
    let old_terms = At::root(old).get(REQUIRED).get("nodeSelectorTerms");
    let terms = new.get(REQUIRED).get("nodeSelectorTerms");
    if old_terms.is_empty() {
        return;
    }
    if terms.len() != old_terms.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let shown = if terms.is_set() { internal::forms(terms.items(), TERM) } else { Value::Null };
        errors.push(Error::invalid(&terms.path, shown, detail));
        return;
    }
    for (term, old_term) in terms.list().zip(old_terms.list()) {
        let both = ["matchExpressions", "matchFields"].map(|f| (term.get(f), old_term.get(f)));
        let was_empty = both.iter().all(|(_, old)| old.is_empty());
        // A term without requirements matches nothing; with some it would match more.
        let only_added = if was_empty {
            both.iter().all(|(new, _)| new.is_empty())
        } else {
            both.iter().all(|(new, old)| {
                new.len() >= old.len()
                    && new.items().iter().zip(old.items()).all(|(n, o)| same(n, o))
            })
        };
        if !only_added {
            let detail = "only additions are allowed (no mutations or deletions)";
            errors.push(Error::invalid(&term.path, internal::form(term.value, TERM), detail));
        }
    }
}
