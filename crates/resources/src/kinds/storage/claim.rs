//! PersistentVolumeClaims.

use machinery::field::{Error, ErrorList, Path};
use machinery::quantity::Quantity;
use machinery::{Value, meta, names};
use serde_json::json;

use super::{VOLUME_MODES, access_modes};
use crate::cursor::{At, copy_field, remove, same, set_default, set_default_zero};
use crate::kinds::pod::scheduling;
use crate::strategy::{Ctx, Strategy, subdomain_name};

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The rules of PersistentVolumeClaims.
pub(in crate::kinds) struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, claim: &mut Value) {
        if let Some(spec) = claim.get_mut("spec").filter(|s| s.is_object()) {
            set_default(spec, "volumeMode", "Filesystem");
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

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        if !same(&without_changeable(new, old), before.value) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            spec.forbidden(&mut errors, detail);
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
        if before.get("volumeAttributesClassName").is_set() {
            if !class.is_set() {
                class.forbidden(&mut errors, "update from non-nil value to nil is forbidden");
            } else if class.is_empty() {
                let detail = "update from non-nil value to an empty string is forbidden";
                class.forbidden(&mut errors, detail);
            }
        }
        errors
    }

    fn validate_status_update(&self, _ctx: &Ctx<'_>, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let status = At::root(new).get("status");
        for (_, amount) in status.get("capacity").entries() {
            if Quantity::from_value(amount.value).is_some_and(|amount| amount.is_negative()) {
                amount.invalid(&mut errors, "must be a valid resource quantity");
            }
        }
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = Vec::new();
        if old.is_none() && meta::annotation(new, CLASS_ANNOTATION).is_some() {
            warnings.push(format!(
                "metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        let request = At::root(new).get("spec").get("resources").get("requests").get("storage");
        if Quantity::from_value(request.value).is_some_and(|amount| !amount.is_integer()) {
            warnings.push(format!(
                "spec.resources.requests[storage]: fractional byte value {} is invalid, must be an integer",
                machinery::field::quote(request.str())
            ));
        }
        warnings
    }
}

const REQUEST: &str = "/resources/requests/storage";

fn storage(object: &Value, pointer: &str) -> Quantity {
    object.pointer(pointer).and_then(Quantity::from_value).unwrap_or_default()
}

/// The new spec with the old values in the fields that may change, so that the two are the same
/// when nothing else changed.
fn without_changeable(new: &Value, old: &Value) -> Value {
    let before = old.get("spec").unwrap_or(&Value::Null);
    let mut spec = new.get("spec").cloned().unwrap_or_default();
    let set = |spec: &Value, field: &str| {
        spec.get(field).and_then(Value::as_str).is_some_and(|text| !text.is_empty())
    };
    // Binding names the volume, once.
    if !set(before, "volumeName") {
        copy_field(&mut spec, before, "volumeName");
    }
    // A class may be given later, unless an annotation named another.
    let annotation = meta::annotation(old, CLASS_ANNOTATION);
    let class = spec.get("storageClassName").and_then(Value::as_str);
    if before.get("storageClassName").is_none_or(Value::is_null)
        && class.is_some()
        && (annotation.is_none() || annotation == class)
    {
        copy_field(&mut spec, before, "storageClassName");
    }
    let bound = new.pointer("/status/phase").and_then(Value::as_str) == Some("Bound");
    if bound {
        if let (Some(requests), Some(size)) =
            (spec.pointer_mut("/resources/requests"), before.pointer(REQUEST))
            && requests.is_object()
        {
            requests["storage"] = size.clone();
        }
        if spec.get("volumeAttributesClassName").is_some_and(|class| !class.is_null()) {
            copy_field(&mut spec, before, "volumeAttributesClassName");
        }
    }
    spec
}

/// Whether the older of the two fields for sources can say it.
fn is_plain_source(source: &Value) -> bool {
    let text = |field: &str| source.get(field).and_then(Value::as_str).unwrap_or_default();
    matches!(
        (text("apiGroup"), text("kind")),
        ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot")
    )
}

/// Sources in other namespaces belong to a feature that is off (CrossNamespaceVolumeDataSource).
fn drop_foreign_source(spec: &mut Value, before: Option<&Value>) {
    let foreign = |spec: &Value| {
        let namespace = spec.pointer("/dataSourceRef/namespace").and_then(Value::as_str);
        namespace.is_some_and(|namespace| !namespace.is_empty())
    };
    if foreign(spec) && !before.is_some_and(foreign) {
        remove(spec, "dataSourceRef");
    }
}

/// Sources of other kinds were dropped from the older field before there was the newer one, and
/// still are, unless they got in through the newer one.
fn drop_odd_source(spec: &mut Value, before: Option<&Value>) {
    let kept = before.is_some_and(|before| before.get("dataSource").is_some_and(Value::is_object));
    if !kept && spec.get("dataSource").is_some_and(|source| !is_plain_source(source)) {
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

/// Checks the spec of a claim or of a template of claims.
pub(in crate::kinds) fn claim_spec(spec: &At<'_>, errors: &mut ErrorList) {
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        modes.required(errors, "at least 1 access mode is required");
    }
    scheduling::label_selector(&spec.get("selector"), errors);
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
    spec.get("volumeMode").may_be_one_of(errors, &VOLUME_MODES);
    let (source, reference) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    check_source(&source, errors);
    check_source(&reference, errors);
    let elsewhere = !reference.get("namespace").is_empty();
    reference.get("namespace").may_form(errors, names::dns1123_label);
    // Upstream shows the path of the field where the value belongs.
    let shown = source.path.to_string();
    if elsewhere && source.is_set() {
        let detail = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(Error::invalid(&spec.path, shown, detail));
    } else if source.is_set() && reference.is_set() {
        let differs = ["apiGroup", "kind", "name"]
            .iter()
            .any(|f| source.get(f).str() != reference.get(f).str());
        if differs {
            errors.push(Error::invalid(&spec.path, shown, "must match dataSourceRef"));
        }
    }
    spec.get("volumeAttributesClassName").may_form(errors, names::dns1123_subdomain);
}

fn check_source(source: &At<'_>, errors: &mut ErrorList) {
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
    group.may_form(errors, names::dns1123_subdomain);
}
