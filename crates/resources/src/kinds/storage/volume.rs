//! PersistentVolumes.

use machinery::field::{Error, ErrorList, Path};
use machinery::quantity::Quantity;
use machinery::{Value, meta, names, time};
use serde_json::json;

use super::{VOLUME_MODES, access_modes, basic_amount};
use crate::cursor::{At, copy_field, items_mut, remove, same, set_default, set_default_zero};
use crate::kinds::pod::volumes::no_parent_steps;
use crate::kinds::pod::{scheduling, sources, warnings};
use crate::kinds::{difference, internal};
use crate::strategy::{Ctx, Strategy, subdomain_name};

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
const MAX_DRIVER_NAME: usize = 63;
/// What a volume can be made of, in the order in which the server goes through them.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// The rules of PersistentVolumes.
pub(in crate::kinds) struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, volume: &mut Value) {
        if let Some(spec) = volume.get_mut("spec").filter(|s| s.is_object()) {
            set_default_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
            set_default(spec, "volumeMode", "Filesystem");
            if let Some(path) = spec.get_mut("hostPath").filter(|path| path.is_object()) {
                set_default(path, "type", "");
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
            "lastPhaseTransitionTime": time::format(ctx.now)});
    }

    fn prepare_for_status_update(&self, ctx: &Ctx<'_>, new: &mut Value, old: &Value) {
        let changed = new.pointer("/status/phase") != old.pointer("/status/phase");
        let time = new.pointer("/status/lastPhaseTransitionTime").filter(|time| !time.is_null());
        let told = time.is_some() && time != old.pointer("/status/lastPhaseTransitionTime");
        if changed
            && !told
            && let Some(status) = new.get_mut("status").filter(|s| s.is_object())
        {
            status["lastPhaseTransitionTime"] = json!(time::format(ctx.now));
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, volume: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = At::root(volume).get("spec");
        check_spec(&spec, Some(meta::name(volume)), false, &mut errors);
        errors
    }

    fn validate_update(&self, _ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let odd_values = scheduling::has_odd_values(&before.get("nodeAffinity").get("required"));
        check_spec(&spec, Some(meta::name(new)), odd_values, &mut errors);
        let source = |spec: &At<'_>| -> Value {
            let fields = spec.value.as_object().cloned().unwrap_or_default();
            fields.into_iter().filter(|(name, _)| SOURCES.contains(&name.as_str())).collect()
        };
        let (mut now, then) = (source(&spec), source(&before));
        // The Secret for growing a volume may be named later.
        let expands = |source: &Value| {
            source.pointer("/csi/controllerExpandSecretRef").is_some_and(|r| !r.is_null())
        };
        if expands(&now) && !expands(&then) && then.get("csi").is_some() {
            remove(&mut now["csi"], "controllerExpandSecretRef");
        }
        if !same(&now, &then) {
            let difference = difference::between(&now, &then);
            spec.get("persistentvolumesource").forbidden(
                &mut errors,
                format!("spec.persistentvolumesource is immutable after creation\n{difference}"),
            );
        }
        let mode = At::new(spec.get("volumeMode").value, Path::new("volumeMode"));
        mode.unchanged(&before.get("volumeMode"), &mut errors);
        let (affinity, old_affinity) = (spec.get("nodeAffinity"), before.get("nodeAffinity"));
        if old_affinity.is_set()
            && !same(affinity.value, &with_new_labels(&old_affinity, &affinity))
        {
            let shown = internal::pointer(affinity.value, "VolumeNodeAffinity");
            let detail = "field is immutable, except for updating from beta label to GA";
            errors.push(Error::invalid(&Path::new("nodeAffinity"), shown, detail));
        }
        let class = spec.get("volumeAttributesClassName");
        if before.get("volumeAttributesClassName").is_set() && !class.is_set() {
            class.forbidden(&mut errors, "update from non-nil value to nil is forbidden");
        }
        errors
    }

    fn warnings(&self, _ctx: &Ctx<'_>, new: &Value, _old: Option<&Value>) -> Vec<String> {
        let mut given = Vec::new();
        let spec = At::root(new).get("spec");
        for (annotation, why) in [
            (CLASS, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
            (OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
        ] {
            if meta::annotation(new, annotation).is_some() {
                given.push(format!("metadata.annotations[{annotation}]: {why}"));
            }
        }
        let policy = spec.get("persistentVolumeReclaimPolicy");
        if policy.str() == "Recycle" {
            given.push(format!(
                "{}: The Recycle reclaim policy is deprecated. Instead, the recommended approach \
                 is to use dynamic provisioning.",
                policy.path
            ));
        }
        for term in spec.get("nodeAffinity").get("required").get("nodeSelectorTerms").list() {
            warnings::node_requirements(&term.get("matchExpressions"), &mut given);
        }
        warnings::volume_source(&spec, &mut given);
        let capacity = spec.get("capacity");
        if let Some(amount) = capacity.value.get("storage") {
            warnings::whole_bytes(&At::new(amount, capacity.path.key("storage")), &mut given);
        }
        given
    }
}

/// An affinity with the keys that `new` has where those are newer names of the same labels.
fn with_new_labels(affinity: &At<'_>, new: &At<'_>) -> Value {
    const RENAMED: [(&str, &str); 5] = [
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    let mut affinity = affinity.value.clone();
    let Some(required) = affinity.get_mut("required") else { return affinity };
    let new_terms = new.get("required").get("nodeSelectorTerms");
    for (term, new) in items_mut(required, "nodeSelectorTerms").iter_mut().zip(new_terms.list()) {
        for list in ["matchExpressions", "matchFields"] {
            let new = new.get(list);
            for (requirement, new) in items_mut(term, list).iter_mut().zip(new.list()) {
                let key = requirement.get("key").and_then(Value::as_str).unwrap_or_default();
                let renamed = RENAMED.contains(&(key, new.get("key").str()));
                if renamed {
                    copy_field(requirement, new.value, "key");
                }
            }
        }
    }
    affinity
}

/// Checks the spec of a volume that stands in a VolumeAttachment.
pub(super) fn inline_spec(spec: &At<'_>, errors: &mut ErrorList) {
    check_spec(spec, None, false, errors);
}

/// Checks the spec of a volume; one without a name stands in a VolumeAttachment.
fn check_spec(spec: &At<'_>, name: Option<&str>, odd_values: bool, errors: &mut ErrorList) {
    const INLINE: &str = "may not be specified in the context of inline volumes";
    let inline = name.is_none();
    if inline {
        for field in ["claimRef", "capacity"] {
            if !spec.get(field).is_empty() {
                spec.get(field).forbidden(errors, INLINE);
            }
        }
        if !spec.get("csi").is_set() {
            let detail = "has to be specified in the context of inline volumes";
            spec.get("csi").required(errors, detail);
        }
    }
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        modes.required(errors, "");
    }
    access_modes(&modes, errors);
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if !inline {
        check_capacity(&spec.get("capacity"), errors);
        policy.may_be_one_of(errors, &["Delete", "Recycle", "Retain"]);
    } else if !policy.is_empty() && policy.str() != "Retain" {
        policy.forbidden(errors, "may only be Retain in the context of inline volumes");
    }
    let affinity = spec.get("nodeAffinity");
    if affinity.is_set() && inline {
        affinity.forbidden(errors, INLINE);
    } else if affinity.is_set() {
        let required = affinity.get("required");
        if required.is_set() {
            scheduling::node_selector_with(&required, !odd_values, errors);
        } else {
            required.required(errors, "must specify required node constraints");
        }
    }
    check_source(spec, name.unwrap_or_default(), affinity.is_set() && !inline, errors);
    let path = spec.get("hostPath").get("path");
    if is_root(path.str()) && policy.str() == "Recycle" {
        policy.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = spec.get("storageClassName");
    if inline && !class.is_empty() {
        class.forbidden(errors, INLINE);
    } else {
        class.may_form(errors, names::dns1123_subdomain);
    }
    let mode = spec.get("volumeMode");
    if inline && mode.is_set() && mode.str() != "Filesystem" {
        let detail =
            "may not specify volumeMode other than Filesystem in the context of inline volumes";
        mode.forbidden(errors, detail);
    } else if !inline && mode.is_set() && !VOLUME_MODES.contains(&mode.str()) {
        mode.unsupported(errors, &VOLUME_MODES);
    }
    let class = spec.get("volumeAttributesClassName");
    if class.is_set() {
        if class.is_empty() {
            class.required(errors, "an empty string is disallowed");
        } else {
            class.form(errors, names::dns1123_subdomain);
        }
        if !spec.get("csi").is_set() {
            let detail = "has to be specified when using volumeAttributesClassName";
            spec.get("csi").required(errors, detail);
        }
    }
}

fn check_capacity(capacity: &At<'_>, errors: &mut ErrorList) {
    capacity.must(errors);
    if capacity.value.get("storage").is_none() || capacity.len() > 1 {
        let value = capacity.value.clone();
        errors.push(Error::not_supported(&capacity.path, value, &["storage"]));
    }
    for (_, amount) in capacity.entries() {
        basic_amount(&amount, errors);
        if let Some(quantity) = Quantity::from_value(amount.value)
            && quantity <= Quantity::ZERO
        {
            let text = quantity.to_string();
            errors.push(Error::invalid(&amount.path, text, "must be greater than zero"));
        }
    }
}

fn check_source(spec: &At<'_>, name: &str, has_affinity: bool, errors: &mut ErrorList) {
    let mut count = 0;
    for kind in SOURCES {
        let source = spec.get(kind);
        if !source.is_set() {
            continue;
        }
        count += 1;
        // Drivers by the older interface are not counted against what comes before them.
        if count > 1 && kind != "flexVolume" {
            let shown = if kind == "cephfs" { "cephFS" } else { kind };
            let path = spec.path.child(shown);
            errors.push(Error::forbidden(&path, "may not specify more than 1 volume type"));
            continue;
        }
        match kind {
            "local" => {
                let path = source.get("path");
                if path.must(errors) {
                    no_parent_steps(&path, errors);
                }
                if !has_affinity {
                    let detail = "Local volume requires node affinity";
                    spec.get("nodeAffinity").required(errors, detail);
                }
            }
            "csi" => {
                driver_name(&source.get("driver"), errors);
                source.get("volumeHandle").must(errors);
                for secret in [
                    "controllerPublishSecretRef",
                    "controllerExpandSecretRef",
                    "nodePublishSecretRef",
                    "nodeExpandSecretRef",
                ] {
                    let secret = source.get(secret);
                    if secret.is_set() {
                        secret.get("name").must_form(errors, names::dns1123_subdomain);
                        secret.get("namespace").must_form(errors, names::dns1123_label);
                    }
                }
            }
            _ => sources::check(kind, spec, sources::In::Volume(name), errors),
        }
    }
    if count == 0 {
        spec.required(errors, "must specify a volume type");
    }
}

/// Whether a path leads to the root of the file system.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for step in path.split('/') {
        match step {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

/// The name under which a CSI driver is registered.
pub(in crate::kinds) fn driver_name(name: &At<'_>, errors: &mut ErrorList) {
    if !name.must(errors) {
        return;
    }
    if name.str().len() > MAX_DRIVER_NAME {
        errors.push(Error::too_long(&name.path, MAX_DRIVER_NAME));
    }
    for message in names::dns1123_subdomain(&name.str().to_lowercase()) {
        errors.push(Error::invalid(&name.path, name.str(), message));
    }
}
