//! PersistentVolumeClaims.

use machinery::field::{Error, ErrorList, Path};
use machinery::quantity::Quantity;
use machinery::{Value, features, meta, names};
use serde_json::json;

use super::{VOLUME_MODES, access_modes, basic_amount};
use crate::cursor::{At, copy_field, remove, same, set_default, set_default_zero};
use crate::kinds::difference;
use crate::kinds::pod::{defaults, requirements, scheduling, warnings};
use crate::strategy::{Ctx, Strategy, subdomain_name};

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

const FIXED: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
const RESIZE_STATES: [&str; 5] = [
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

/// The rules of PersistentVolumeClaims.
pub(in crate::kinds) struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, claim: &mut Value) {
        if let Some(spec) = claim.get_mut("spec").filter(|s| s.is_object()) {
            defaults::claim_spec(spec);
            if let Some(source) = spec.get_mut("dataSourceRef").filter(|s| s.is_object())
                && source.get("apiGroup").is_some_and(|group| group == "")
            {
                remove(source, "apiGroup");
            }
        }
        set_default(claim, "status", json!({}));
        set_default_zero(&mut claim["status"], "phase", "Pending");
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, claim: &mut Value) {
        claim["status"] = json!({"phase": "Pending"});
        if let Some(spec) = claim.get_mut("spec").filter(|s| s.is_object()) {
            drop_foreign_source(spec, None);
            drop_odd_source(spec, None);
            mirror_source(spec);
        }
    }

    fn prepare_for_update(&self, _ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        if let Some(spec) = new.get_mut("spec").filter(|s| s.is_object()) {
            drop_foreign_source(spec, old.get("spec"));
            drop_odd_source(spec, old.get("spec"));
            mirror_source(spec);
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, claim: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        claim_spec(&At::root(claim).get("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        check_spec(&spec, Kept::of(&before), &mut errors);
        let upgraded = moves_class(new, old);
        if !upgraded {
            class_annotation_stays(new, old, &mut errors);
        }
        let (now, then) = without_changeable(new, old, upgraded);
        if !same(&now, &then) {
            let difference = difference::between(&now, &then);
            spec.forbidden(&mut errors, format!("{FIXED}\n{difference}"));
        }
        let (size, size_before) = (storage(spec.value, REQUEST), storage(before.value, REQUEST));
        let status = old.get("status").unwrap_or(&Value::Null);
        // An expansion that failed may be asked for less, though never less than what is there.
        if size < size_before && size <= storage(status, "/capacity/storage") {
            let requests = spec.get("resources").get("requests").get("storage");
            requests.forbidden(&mut errors, "field can not be less than status.capacity");
        }
        let mode = At::new(spec.get("volumeMode").value, Path::new("volumeMode"));
        mode.unchanged(&before.get("volumeMode"), &mut errors);
        let class = spec.get("volumeAttributesClassName");
        let current = At::root(status).get("currentVolumeAttributesClassName");
        if current.is_set() && !same(class.value, before.get("volumeAttributesClassName").value) {
            let to = match (class.is_set(), class.is_empty()) {
                (false, _) => "nil",
                (true, true) => "empty string",
                _ => return errors,
            };
            let detail = format!(
                "update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"
            );
            class.forbidden(&mut errors, detail);
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = At::root(new).get("status");
        if At::root(new).get("spec").get("accessModes").is_empty() {
            errors.push(Error::required(&Path::new("Spec").child("accessModes"), ""));
        }
        for (_, amount) in status.get("capacity").entries() {
            basic_amount(&amount, &mut errors);
        }
        let progress = status.get("allocatedResourceStatuses");
        for (name, state) in progress.entries() {
            resource_key(name, &progress.path, &mut errors);
            if !RESIZE_STATES.contains(&state.str()) {
                errors.push(Error::not_supported(&progress.path, name, &RESIZE_STATES));
            }
        }
        let allocated = status.get("allocatedResources");
        for (name, amount) in allocated.entries() {
            let known = errors.len();
            resource_key(name, &allocated.path, &mut errors);
            if errors.len() == known {
                basic_amount(&amount, &mut errors);
            }
            if errors.len() == known {
                requirements::quantity("storage", &amount, &mut errors);
            }
        }
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut given = Vec::new();
        if old.is_none() && meta::annotation(new, CLASS_ANNOTATION).is_some() {
            given.push(format!(
                "metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        warnings::claim_sizes(&At::root(new).get("spec"), &mut given);
        given
    }
}

/// Checks what of a claim can be allocated: its size, or what drivers name.
fn resource_key(name: &str, path: &Path, errors: &mut ErrorList) {
    let messages = names::qualified_name(name);
    if messages.is_empty() && requirements::is_native(name) && name != "storage" {
        errors.push(Error::not_supported(path, name, &["storage"]));
    }
    for message in messages {
        errors.push(Error::invalid(path, name, message));
    }
}

const REQUEST: &str = "/resources/requests/storage";

fn storage(object: &Value, pointer: &str) -> Quantity {
    object.pointer(pointer).and_then(Quantity::from_value).unwrap_or_default()
}

/// Whether the class that only an annotation named moves to its field.
fn moves_class(new: &Value, old: &Value) -> bool {
    let class = |claim: &Value| claim.pointer("/spec/storageClassName").cloned();
    let noted = |claim| meta::annotation(claim, CLASS_ANNOTATION);
    let Some(before) = noted(old) else { return false };
    class(old).is_none_or(|class| class.is_null())
        && class(new).is_some_and(|class| class.as_str() == Some(before))
        && noted(new).is_none_or(|now| now == before)
}

fn class_annotation_stays(new: &Value, old: &Value, errors: &mut ErrorList) {
    let noted = |claim| meta::annotation(claim, CLASS_ANNOTATION).unwrap_or_default();
    if noted(new) != noted(old) {
        let path = Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
        errors.push(Error::immutable(&path, noted(new)));
    }
}

/// Both specs with the same in the fields that may change, so that they are the same when nothing
/// else changed.
fn without_changeable(new: &Value, old: &Value, upgraded: bool) -> (Value, Value) {
    let spec = |claim: &Value| claim.get("spec").cloned().unwrap_or_default();
    let (mut now, mut then) = (spec(new), spec(old));
    let is_set = |spec: &Value, field: &str| spec.get(field).is_some_and(|v| !v.is_null());
    // Binding names the volume, once.
    if At::root(&then).get("volumeName").is_empty() {
        copy_field(&mut then, &now, "volumeName");
    }
    // A class may be given later, unless an annotation named another.
    let noted = meta::annotation(old, CLASS_ANNOTATION);
    let class = now.get("storageClassName").and_then(Value::as_str);
    let later = class.is_some()
        && !is_set(&then, "storageClassName")
        && (noted.is_none() || noted == class);
    if upgraded || later {
        copy_field(&mut now, &then, "storageClassName");
    }
    if new.pointer("/status/phase").and_then(Value::as_str) == Some("Bound") {
        if let (Some(requests), Some(size)) =
            (now.pointer_mut("/resources/requests"), then.pointer(REQUEST))
            && requests.is_object()
        {
            requests["storage"] = size.clone();
        }
        copy_field(&mut now, &then, "volumeAttributesClassName");
    }
    (now, then)
}

/// Whether the older of the two fields for sources can say it.
fn is_plain_source(source: &Value) -> bool {
    let text = |field: &str| source.get(field).and_then(Value::as_str).unwrap_or_default();
    matches!(
        (text("apiGroup"), text("kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

fn has(spec: Option<&Value>, source: &str) -> bool {
    spec.and_then(|spec| spec.get(source)).is_some_and(Value::is_object)
}

/// Sources in other namespaces belong to a feature of their own.
fn drop_foreign_source(spec: &mut Value, before: Option<&Value>) {
    if features::enabled("CrossNamespaceVolumeDataSource") == Some(true) {
        return;
    }
    let namespace = spec.pointer("/dataSourceRef/namespace").and_then(Value::as_str);
    let foreign = namespace.is_some_and(|namespace| !namespace.is_empty());
    if foreign && !has(before, "dataSourceRef") {
        remove(spec, "dataSourceRef");
    }
}

/// Sources of other kinds were dropped from the older field before there was the newer one, and
/// still are, unless there was a source before.
fn drop_odd_source(spec: &mut Value, before: Option<&Value>) {
    let kept = has(before, "dataSource") || has(before, "dataSourceRef");
    let alone = has(Some(spec), "dataSource") && !has(Some(spec), "dataSourceRef");
    if alone && !kept && spec.get("dataSource").is_some_and(|source| !is_plain_source(source)) {
        remove(spec, "dataSource");
    }
}

/// `dataSource` and `dataSourceRef` say the same where both can.
fn mirror_source(spec: &mut Value) {
    let set = |v: Option<&Value>| v.filter(|v| v.is_object()).cloned();
    match (set(spec.get("dataSource")), set(spec.get("dataSourceRef"))) {
        (Some(source), None) => spec["dataSourceRef"] = source,
        (None, Some(mut reference)) => {
            let namespace = reference.get("namespace").and_then(Value::as_str).unwrap_or_default();
            if namespace.is_empty() {
                remove(&mut reference, "namespace");
                spec["dataSource"] = reference;
            }
        }
        _ => {}
    }
}

/// What may stay as it is in a claim because it was there before.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    /// Selectors ask for values that no label has.
    odd_values: bool,
    /// Groups of sources have any name.
    odd_groups: bool,
}

impl Kept {
    fn of(before: &At<'_>) -> Self {
        let mut errors = ErrorList::new();
        scheduling::label_selector(&before.get("selector"), &mut errors);
        let has_group = |source| before.get(source).get("apiGroup").is_set();
        Self {
            odd_values: !errors.is_empty(),
            odd_groups: has_group("dataSource") || has_group("dataSourceRef"),
        }
    }
}

/// Checks the spec of a claim or of a template of claims.
pub(in crate::kinds) fn claim_spec(spec: &At<'_>, errors: &mut ErrorList) {
    check_spec(spec, Kept::default(), errors);
}

fn check_spec(spec: &At<'_>, kept: Kept, errors: &mut ErrorList) {
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        modes.required(errors, "at least 1 access mode is required");
    }
    scheduling::label_selector_with(&spec.get("selector"), !kept.odd_values, errors);
    access_modes(&modes, errors);
    let path = spec.get("resources").path.key("storage");
    match spec.value.pointer(REQUEST).and_then(Quantity::from_value) {
        None => errors.push(Error::required(&path, "")),
        Some(quantity) if quantity <= Quantity::ZERO => {
            errors.push(Error::invalid(&path, quantity.to_string(), "must be greater than zero"));
        }
        Some(_) => {}
    }
    spec.get("storageClassName").may_form(errors, names::dns1123_subdomain);
    let mode = spec.get("volumeMode");
    if mode.is_set() && !VOLUME_MODES.contains(&mode.str()) {
        mode.unsupported(errors, &VOLUME_MODES);
    }
    let (source, reference) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    check_source(&source, kept, errors);
    check_source(&reference, kept, errors);
    let elsewhere = !reference.get("namespace").is_empty();
    reference.get("namespace").may_form(errors, names::dns1123_label);
    // Upstream gives a path for the value, of which nothing can be shown.
    let shown = json!({});
    if elsewhere && source.is_set() {
        let detail = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(Error::invalid(&spec.path, shown, detail));
    } else if source.is_set() && reference.is_set() {
        let differs = ["apiGroup", "kind", "name"]
            .iter()
            .any(|f| source.get(f).value != reference.get(f).value);
        if differs {
            errors.push(Error::invalid(&spec.path, shown, "must match dataSourceRef"));
        }
    }
    spec.get("volumeAttributesClassName").may_form(errors, names::dns1123_subdomain);
}

fn check_source(source: &At<'_>, kept: Kept, errors: &mut ErrorList) {
    if !source.is_set() {
        return;
    }
    source.get("name").must(errors);
    let (kind, group) = (source.get("kind"), source.get("apiGroup"));
    kind.must(errors);
    if group.is_empty() && kind.str() != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        errors.push(Error::invalid(&source.path, kind.str(), detail));
    }
    if !kept.odd_groups {
        group.may_form(errors, names::dns1123_subdomain);
    }
}
