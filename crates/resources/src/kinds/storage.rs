//! Volumes, claims, and the classes they come from.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::json;

use super::pod::scheduling;
use crate::cursor::{At, copy_field, same, set_default, set_default_zero};
use crate::strategy::{Ctx, Strategy, subdomain_name};

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

fn access_modes(modes: &At<'_>, errors: &mut ErrorList) {
    let mut once = 0;
    for mode in modes.list() {
        mode.may_be_one_of(errors, &MODES);
        once += usize::from(mode.str() == "ReadWriteOncePod");
    }
    if once > 0 && modes.len() > 1 {
        modes.forbidden(errors, "may not use ReadWriteOncePod with other access modes");
    }
}

// === PersistentVolume ===

/// The rules of PersistentVolumes.
pub(super) struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, volume: &mut Value) {
        if let Some(spec) = volume.get_mut("spec").filter(|s| s.is_object()) {
            set_default_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
            set_default(spec, "volumeMode", "Filesystem");
            if let Some(path) = spec.get_mut("hostPath").filter(|p| p.is_object()) {
                set_default(path, "type", "");
            }
            if let Some(iscsi) = spec.get_mut("iscsi").filter(|p| p.is_object()) {
                set_default_zero(iscsi, "iscsiInterface", "default");
            }
        }
        set_default(volume, "status", json!({}));
        set_default_zero(&mut volume["status"], "phase", "Pending");
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn prepare_for_create(&self, ctx: &Ctx<'_>, volume: &mut Value) {
        volume["status"] = json!({"phase": "Pending",
            "lastPhaseTransitionTime": machinery::time::format(ctx.now)});
    }

    fn prepare_for_status_update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        let changed = new.pointer("/status/phase") != old.pointer("/status/phase");
        if changed && let Some(status) = new.get_mut("status").filter(|s| s.is_object()) {
            status["lastPhaseTransitionTime"] = json!(machinery::time::format(ctx.now));
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, volume: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(volume).get("spec");
        let modes = spec.get("accessModes");
        if modes.is_empty() {
            modes.required(&mut errors, "");
        }
        access_modes(&modes, &mut errors);
        let capacity = spec.get("capacity");
        capacity.must(&mut errors);
        let storage = capacity.value.get("storage");
        if storage.is_none() || capacity.len() > 1 {
            if !capacity.is_empty() {
                errors.push(Error::not_supported(
                    &capacity.path,
                    capacity.value.clone(),
                    &["storage"],
                ));
            }
        } else if let Some(quantity) = storage.and_then(Quantity::from_value)
            && quantity <= Quantity::ZERO
        {
            let path = capacity.path.key("storage");
            let detail = "must be greater than zero";
            errors.push(Error::invalid(&path, quantity.to_string(), detail));
        }
        spec.get("persistentVolumeReclaimPolicy")
            .may_be_one_of(&mut errors, &["Delete", "Recycle", "Retain"]);
        spec.get("volumeMode").may_be_one_of(&mut errors, &["Block", "Filesystem"]);
        let required = spec.get("nodeAffinity").get("required");
        if spec.get("nodeAffinity").is_set() {
            if required.is_set() {
                scheduling::node_selector(&required, &mut errors);
            } else {
                required.required(&mut errors, "must specify required node constraints");
            }
        }
        sources(&spec, &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let source_of = |spec: &At<'_>| -> Value {
            let fields = spec.value.as_object().cloned().unwrap_or_default();
            fields.into_iter().filter(|(name, _)| is_source(name)).collect()
        };
        if !same(&source_of(&spec), &source_of(&before)) {
            spec.get("persistentvolumesource")
                .forbidden(&mut errors, "spec.persistentvolumesource is immutable after creation");
        }
        spec.get("volumeMode").unchanged(&before.get("volumeMode"), &mut errors);
        if before.get("nodeAffinity").is_set() {
            spec.get("nodeAffinity").unchanged(&before.get("nodeAffinity"), &mut errors);
        }
        errors
    }
}

fn is_source(name: &str) -> bool {
    !matches!(
        name,
        "capacity"
            | "accessModes"
            | "claimRef"
            | "persistentVolumeReclaimPolicy"
            | "storageClassName"
            | "mountOptions"
            | "volumeMode"
            | "nodeAffinity"
            | "volumeAttributesClassName"
    )
}

fn sources(spec: &At<'_>, errors: &mut ErrorList) {
    let fields = spec.value.as_object().into_iter().flatten();
    let mut count = 0;
    for (name, source) in fields.filter(|(name, source)| is_source(name) && !source.is_null()) {
        count += 1;
        let source = At::new(source, spec.path.child(name.clone()));
        if count > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type");
            continue;
        }
        match name.as_str() {
            "hostPath" | "local" => {
                source.get("path").must(errors);
            }
            "nfs" => {
                source.get("server").must(errors);
                source.get("path").must(errors);
            }
            "csi" => {
                source.get("driver").must(errors);
                source.get("volumeHandle").must(errors);
            }
            _ => {}
        }
        if name == "local" && !spec.get("nodeAffinity").is_set() {
            let path = spec.path.child("nodeAffinity");
            errors.push(Error::required(&path, "Local volume requires node affinity"));
        }
    }
    if count == 0 {
        spec.required(errors, "must specify a volume type");
    }
}

// === PersistentVolumeClaim ===

/// The rules of PersistentVolumeClaims.
pub(super) struct PersistentVolumeClaim;

impl Strategy for PersistentVolumeClaim {
    fn default(&self, claim: &mut Value) {
        if let Some(spec) = claim.get_mut("spec").filter(|s| s.is_object()) {
            set_default(spec, "volumeMode", "Filesystem");
            mirror_source(spec);
        }
        set_default(claim, "status", json!({}));
        set_default_zero(&mut claim["status"], "phase", "Pending");
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn prepare_for_create(&self, _ctx: &Ctx<'_>, claim: &mut Value) {
        claim["status"] = json!({"phase": "Pending"});
    }

    fn validate(&self, _ctx: &Ctx<'_>, claim: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        claim_spec(&At::root(claim).get("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let bound = At::root(old).get("status").get("phase").str() == "Bound";
        let mut munged = spec.value.clone();
        // Binding writes the volume's name once.
        if before.get("volumeName").is_empty() {
            copy_field(&mut munged, before.value, "volumeName");
        }
        copy_field(&mut munged, before.value, "volumeAttributesClassName");
        if before.get("storageClassName").value.is_null() {
            copy_field(&mut munged, before.value, "storageClassName");
        }
        let storage = |spec: &At<'_>| {
            spec.get("resources")
                .get("requests")
                .value
                .get("storage")
                .and_then(Quantity::from_value)
        };
        if let (Some(to), Some(from)) = (munged.get_mut("resources"), before.value.get("resources"))
        {
            copy_field(to, from, "requests");
        }
        if !same(&munged, before.value) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
            spec.forbidden(&mut errors, detail);
        } else if storage(&spec) != storage(&before) {
            let requests = spec.get("resources").get("requests").path.key("storage");
            if !bound {
                let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
                spec.forbidden(&mut errors, detail);
            } else if storage(&spec) < storage(&before) {
                let detail = "field can not be less than status.capacity";
                errors.push(Error::forbidden(&requests, detail));
            }
        }
        errors
    }
}

/// `dataSource` and `dataSourceRef` say the same where both can.
fn mirror_source(spec: &mut Value) {
    let set = |v: Option<&Value>| v.filter(|v| v.is_object()).cloned();
    match (set(spec.get("dataSource")), set(spec.get("dataSourceRef"))) {
        (Some(source), None) => spec["dataSourceRef"] = source,
        (None, Some(reference)) => {
            let kind = reference.get("kind").and_then(Value::as_str).unwrap_or_default();
            let plain = reference.get("namespace").is_none_or(Value::is_null);
            if plain && matches!(kind, "PersistentVolumeClaim" | "VolumeSnapshot") {
                spec["dataSource"] = reference;
            }
        }
        _ => {}
    }
}

fn claim_spec(spec: &At<'_>, errors: &mut ErrorList) {
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        modes.required(errors, "at least 1 access mode is required");
    }
    scheduling::label_selector(&spec.get("selector"), errors);
    access_modes(&modes, errors);
    let requests = spec.get("resources").get("requests");
    match requests.value.get("storage").and_then(Quantity::from_value) {
        None => errors.push(Error::required(&requests.path.key("storage"), "")),
        Some(quantity) if quantity <= Quantity::ZERO => {
            let path = requests.path.key("storage");
            errors.push(Error::invalid(&path, quantity.to_string(), "must be greater than zero"));
        }
        Some(_) => {}
    }
    spec.get("storageClassName").may_form(errors, names::dns1123_subdomain);
    spec.get("volumeMode").may_be_one_of(errors, &["Block", "Filesystem"]);
}

// === StorageClass ===

/// The rules of StorageClasses.
pub(super) struct StorageClass;

impl Strategy for StorageClass {
    fn default(&self, class: &mut Value) {
        set_default(class, "reclaimPolicy", "Delete");
        set_default(class, "volumeBindingMode", "Immediate");
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, class: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let class = At::root(class);
        let provisioner = class.get("provisioner");
        provisioner.must(&mut errors);
        for message in names::qualified_name(&provisioner.str().to_lowercase()) {
            if !provisioner.is_empty() {
                provisioner.invalid(&mut errors, message);
            }
        }
        class.get("reclaimPolicy").may_be_one_of(&mut errors, &["Delete", "Retain"]);
        class.get("volumeBindingMode").one_of(&mut errors, &["Immediate", "WaitForFirstConsumer"]);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (new, old) = (At::root(new), At::root(old));
        for field in ["parameters", "provisioner", "reclaimPolicy"] {
            if !same(new.get(field).value, old.get(field).value) {
                let detail = format!("updates to {field} are forbidden.");
                new.get(field).forbidden(&mut errors, detail);
            }
        }
        new.get("volumeBindingMode").unchanged(&old.get("volumeBindingMode"), &mut errors);
        errors
    }
}

// === CSIDriver ===

/// The rules of CSIDrivers.
pub(super) struct CsiDriver;

impl Strategy for CsiDriver {
    fn default(&self, driver: &mut Value) {
        let Some(spec) = driver.get_mut("spec").filter(|s| s.is_object()) else { return };
        set_default(spec, "attachRequired", true);
        set_default(spec, "podInfoOnMount", false);
        set_default(spec, "storageCapacity", false);
        set_default(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        set_default_zero(spec, "volumeLifecycleModes", json!(["Persistent"]));
        set_default(spec, "requiresRepublish", false);
        set_default(spec, "seLinuxMount", false);
    }

    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}

// === VolumeAttachment ===

/// The rules of VolumeAttachments.
pub(super) struct VolumeAttachment;

impl Strategy for VolumeAttachment {
    fn check_name(&self, name: &str, prefix: bool) -> Vec<String> {
        subdomain_name(name, prefix)
    }

    fn validate(&self, _ctx: &Ctx<'_>, attachment: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(attachment).get("spec");
        spec.get("attacher").must(&mut errors);
        spec.get("nodeName").must_form(&mut errors, names::dns1123_subdomain);
        let source = spec.get("source");
        if source.get("persistentVolumeName").is_empty() && !source.get("inlineVolumeSpec").is_set()
        {
            source.required(
                &mut errors,
                "must specify exactly one of inlineVolumeSpec and persistentVolumeName",
            );
        }
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        At::root(new).get("spec").unchanged(&At::root(old).get("spec"), &mut errors);
        errors
    }

    fn allow_unconditional_update(&self) -> bool {
        false
    }
}
