//! What is to be said about a definition next: which of its names it has, whether it is
//! established, and how far its removal is.
//!
//! One step at a time, as upstream writes them; planning again on the result gives the next step
//! and in the end none.

use machinery::{Value, meta};
use serde_json::json;

use crate::definition::is_true;

/// Keeps a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

const APPROVAL: &str = "api-approved.kubernetes.io";
const APPROVAL_PAGE: &str = "https://github.com/kubernetes/enhancements/pull/1111";

/// What to do about a definition.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Its status becomes this one.
    Status(Value),
    /// Its objects are to be deleted, and then it is [`finished`].
    CleanUp,
}

/// The next step for `crd`, given all definitions there are. `now` is the time in the API's form.
pub fn next(crd: &Value, all: &[&Value], now: &str) -> Option<Step> {
    if meta::deletion_timestamp(crd).is_some() {
        if !meta::finalizers(crd).any(|finalizer| finalizer == FINALIZER) {
            return None;
        }
        let under_way = condition(crd, "Terminating")
            .is_some_and(|c| c["status"] == "True" && c["reason"] == "InstanceDeletionInProgress");
        if under_way {
            return Some(Step::CleanUp);
        }
        let mut status = status_of(crd);
        let text = "CustomResource deletion is in progress";
        set(&mut status, "Terminating", ["True", "InstanceDeletionInProgress", text], now);
        return Some(Step::Status(status));
    }
    let mut status = status_of(crd);
    names(crd, all, &mut status, now);
    approval(crd, &mut status, now);
    if status == status_of(crd) && is_true(crd, "NamesAccepted") && !is_true(crd, "Established") {
        let text = "the initial names have been accepted";
        set(&mut status, "Established", ["True", "InitialNamesAccepted", text], now);
    }
    (status != status_of(crd)).then_some(Step::Status(status))
}

/// The parts of a definition that [`next`] looks at: little, whatever its schemas are.
#[must_use]
pub fn outline(crd: &Value) -> Value {
    let metadata = &crd["metadata"];
    json!({
        "metadata": {
            "name": metadata["name"],
            "uid": metadata["uid"],
            "deletionTimestamp": metadata["deletionTimestamp"],
            "finalizers": metadata["finalizers"],
            "annotations": {APPROVAL: metadata["annotations"][APPROVAL]},
        },
        "spec": {"group": crd["spec"]["group"], "names": crd["spec"]["names"]},
        "status": crd["status"],
    })
}

/// The definition once its objects are gone.
#[must_use]
pub fn finished(crd: &Value, now: &str) -> Value {
    let mut crd = crd.clone();
    let mut status = status_of(&crd);
    let condition = ["False", "InstanceDeletionCompleted", "removed all instances"];
    set(&mut status, "Terminating", condition, now);
    crd["status"] = status;
    let finalizers: Vec<String> =
        meta::finalizers(&crd).filter(|f| *f != FINALIZER).map(str::to_owned).collect();
    meta::set_finalizers(&mut crd, finalizers);
    crd
}

fn status_of(crd: &Value) -> Value {
    match crd.get("status") {
        Some(status @ Value::Object(_)) => status.clone(),
        _ => json!({}),
    }
}

fn condition<'c>(crd: &'c Value, kind: &str) -> Option<&'c Value> {
    let conditions = crd.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// Sets a condition; its time moves only with its status.
fn set(status: &mut Value, kind: &str, [value, reason, message]: [&str; 3], now: &str) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let mut new = json!({
        "type": kind,
        "status": value,
        "lastTransitionTime": now,
        "reason": reason,
        "message": message,
    });
    match conditions.iter_mut().find(|condition| condition["type"] == kind) {
        Some(old) => {
            if old["status"] == new["status"] {
                new["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            // Fields of later releases stay.
            for (field, value) in new.as_object().into_iter().flatten() {
                old[field.as_str()] = value.clone();
            }
        }
        None => conditions.push(new),
    }
}

/// Accepts the names that no other definition of the group has.
fn names(crd: &Value, all: &[&Value], status: &mut Value, now: &str) {
    let null = Value::Null;
    let wanted = crd.pointer("/spec/names").unwrap_or(&null);
    let own = meta::name(crd);
    let group = crd.pointer("/spec/group");
    let mut resources: Vec<String> = Vec::new();
    let mut kinds: Vec<String> = Vec::new();
    let others = all.iter().filter(|other| meta::name(other) != own);
    for other in others.filter(|other| other.pointer("/spec/group") == group) {
        let Some(accepted) = other.pointer("/status/acceptedNames") else { continue };
        let text = |name: &str| accepted[name].as_str().map(str::to_owned);
        resources.extend(text("plural"));
        resources.extend(text("singular"));
        resources.extend(texts(&accepted["shortNames"]));
        kinds.extend(text("kind"));
        kinds.extend(text("listKind"));
    }
    let mut accepted = status["acceptedNames"].clone();
    if !accepted.is_object() {
        accepted = json!({});
    }
    let mut conflict: Option<(&str, String)> = None;
    for (field, taken, reason) in [
        ("plural", &resources, "PluralConflict"),
        ("singular", &resources, "SingularConflict"),
        ("shortNames", &resources, "ShortNamesConflict"),
        ("kind", &kinds, "KindConflict"),
        ("listKind", &kinds, "ListKindConflict"),
    ] {
        let (list, before) = (texts(&wanted[field]), texts(&accepted[field]));
        let refused: Vec<String> = list
            .iter()
            .filter(|name| !before.contains(name) && taken.contains(name))
            .map(|name| format!("{name:?} is already in use"))
            .collect();
        match refused.len() {
            0 => put(&mut accepted, field, &wanted[field]),
            1 => conflict = Some((reason, refused[0].clone())),
            _ => conflict = Some((reason, format!("[{}]", refused.join(", ")))),
        }
    }
    put(&mut accepted, "categories", &wanted["categories"]);
    status["acceptedNames"] = accepted;
    match &conflict {
        Some((reason, message)) => set(status, "NamesAccepted", ["False", reason, message], now),
        None => {
            set(status, "NamesAccepted", ["True", "NoConflicts", "no conflicts found"], now);
        }
    }
    if is_true(crd, "Established") {
        return;
    }
    let established = match conflict {
        None => ["False", "Installing", "the initial names have been accepted"],
        Some(_) if condition(crd, "Established").is_some() => return,
        Some(_) => ["False", "NotAccepted", "not all names are accepted"],
    };
    set(status, "Established", established, now);
}

fn put(names: &mut Value, field: &str, value: &Value) {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let Some(names) = names.as_object_mut() else { return };
    if empty {
        names.shift_remove(field);
    } else {
        names.insert(field.to_owned(), value.clone());
    }
}

/// A text, or the texts of a list.
fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) if !text.is_empty() => vec![text.clone()],
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Definitions in the API's own groups say who approved them.
fn approval(crd: &Value, status: &mut Value, now: &str) {
    let group = crd.pointer("/spec/group").and_then(Value::as_str).unwrap_or_default();
    let own = ["k8s.io", "kubernetes.io"];
    let protected = own.iter().any(|o| group == *o || group.ends_with(&format!(".{o}")));
    if !protected {
        return;
    }
    let given = meta::annotation(crd, APPROVAL).unwrap_or_default();
    let missing =
        format!("protected groups must have approval annotation {APPROVAL:?}, see {APPROVAL_PAGE}");
    let malformed = format!(
        "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason \
         starting with \"unapproved\", see {APPROVAL_PAGE}"
    );
    let (not_approved, approved) =
        (format!("not approved: {given:?}"), format!("approved in {given}"));
    let condition = match given {
        "" => ["False", "MissingAnnotation", &missing],
        _ if given.starts_with("unapproved") => ["False", "UnapprovedAPI", &not_approved],
        _ if given.starts_with("https://") || given.starts_with("http://") => {
            ["True", "ApprovedAnnotation", &approved]
        }
        _ => ["False", "InvalidAnnotation", &malformed],
    };
    set(status, "KubernetesAPIApprovalPolicyConformant", condition, now);
}

#[cfg(test)]
mod tests;
