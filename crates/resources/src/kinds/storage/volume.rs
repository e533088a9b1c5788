//! PersistentVolumes.

use machinery::field::{Error, ErrorList, Path};
use machinery::quantity::Quantity;
use machinery::{Value, meta, names, time};
use serde_json::json;

use super::{VOLUME_MODES, access_modes};
use crate::cursor::{At, remove, same, set_default, set_default_zero};
use crate::kinds::pod::{scheduling, warnings};
use crate::strategy::{Ctx, Strategy, subdomain_name};

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";
const MAX_DRIVER_NAME: usize = 63;
const HOST_PATH_TYPES: [&str; 8] = [
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// The rules of PersistentVolumes.
pub(in crate::kinds) struct PersistentVolume;

impl Strategy for PersistentVolume {
    fn default(&self, volume: &mut Value) {
        if let Some(spec) = volume.get_mut("spec").filter(|s| s.is_object()) {
            set_default_zero(spec, "persistentVolumeReclaimPolicy", "Retain");
            set_default(spec, "volumeMode", "Filesystem");
            default_source(spec);
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
        let told = new.pointer("/status/lastPhaseTransitionTime")
            != old.pointer("/status/lastPhaseTransitionTime");
        if changed
            && !told
            && let Some(status) = new.get_mut("status").filter(|s| s.is_object())
        {
            status["lastPhaseTransitionTime"] = json!(time::format(ctx.now));
        }
    }

    fn validate(&self, _ctx: &Ctx<'_>, volume: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        volume_spec(&At::root(volume).get("spec"), false, &mut errors);
        errors
    }

    fn validate_update(&self, ctx: &Ctx<'_>, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(ctx, new);
        let (spec, before) = (At::root(new).get("spec"), At::root(old).get("spec"));
        let source = |spec: &At<'_>| -> Value {
            let fields = spec.value.as_object().cloned().unwrap_or_default();
            fields.into_iter().filter(|(name, _)| is_source(name)).collect()
        };
        let (mut now, then) = (source(&spec), source(&before));
        // The Secret for growing a volume may be named later.
        let expands = |source: &Value| {
            source.pointer("/csi/controllerExpandSecretRef").is_some_and(|r| !r.is_null())
        };
        if expands(&now) && !expands(&then) {
            remove(&mut now["csi"], "controllerExpandSecretRef");
        }
        if !same(&now, &then) {
            spec.get("persistentvolumesource")
                .forbidden(&mut errors, "spec.persistentvolumesource is immutable after creation");
        }
        let mode = At::new(spec.get("volumeMode").value, Path::new("volumeMode"));
        mode.unchanged(&before.get("volumeMode"), &mut errors);
        if before.get("nodeAffinity").is_set() {
            let affinity = At::new(spec.get("nodeAffinity").value, Path::new("nodeAffinity"));
            affinity.unchanged(&before.get("nodeAffinity"), &mut errors);
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

fn default_source(spec: &mut Value) {
    let mut source = |name: &str, default: fn(&mut Value)| {
        if let Some(source) = spec.get_mut(name).filter(|source| source.is_object()) {
            default(source);
        }
    };
    source("hostPath", |path| set_default(path, "type", ""));
    source("iscsi", |iscsi| set_default_zero(iscsi, "iscsiInterface", "default"));
    source("rbd", |rbd| {
        set_default_zero(rbd, "pool", "rbd");
        set_default_zero(rbd, "user", "admin");
        set_default_zero(rbd, "keyring", "/etc/ceph/keyring");
    });
    source("azureDisk", |disk| {
        set_default(disk, "cachingMode", "ReadWrite");
        set_default(disk, "kind", "Shared");
        set_default(disk, "fsType", "ext4");
        set_default(disk, "readOnly", false);
    });
    source("scaleIO", |scale| {
        set_default_zero(scale, "storageMode", "ThinProvisioned");
        set_default_zero(scale, "fsType", "xfs");
    });
}

/// Everything in the spec of a volume that is not about the volume's use is the source.
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

/// Checks the spec of a volume; `inline` is one that stands in a VolumeAttachment.
pub(super) fn volume_spec(spec: &At<'_>, inline: bool, errors: &mut ErrorList) {
    const INLINE: &str = "may not be specified in the context of inline volumes";
    if inline {
        for field in ["claimRef", "capacity", "nodeAffinity", "storageClassName"] {
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
    if !inline {
        check_capacity(&spec.get("capacity"), errors);
        let policy = spec.get("persistentVolumeReclaimPolicy");
        policy.may_be_one_of(errors, &["Delete", "Recycle", "Retain"]);
    }
    let affinity = spec.get("nodeAffinity");
    if affinity.is_set() && !inline {
        let required = affinity.get("required");
        if required.is_set() {
            scheduling::node_selector(&required, errors);
        } else {
            required.required(errors, "must specify required node constraints");
        }
    }
    check_source(spec, errors);
    let root = spec.get("hostPath").get("path").str().trim_matches('/').is_empty()
        && spec.get("hostPath").is_set();
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if root && policy.str() == "Recycle" {
        policy.forbidden(errors, "may not be 'recycle' for a hostPath mount of '/'");
    }
    if !inline {
        spec.get("storageClassName").may_form(errors, names::dns1123_subdomain);
    }
    spec.get("volumeMode").may_be_one_of(errors, &VOLUME_MODES);
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
        if let Some(quantity) = Quantity::from_value(amount.value)
            && quantity <= Quantity::ZERO
        {
            let text = quantity.to_string();
            errors.push(Error::invalid(&amount.path, text, "must be greater than zero"));
        }
    }
}

fn check_source(spec: &At<'_>, errors: &mut ErrorList) {
    let fields = spec.value.as_object().into_iter().flatten();
    let mut count = 0;
    for (name, source) in fields.filter(|(name, source)| is_source(name) && !source.is_null()) {
        count += 1;
        let source = At::new(source, spec.path.child(name.clone()));
        if count > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type");
            continue;
        }
        let must = |fields: &[&'static str], errors: &mut ErrorList| {
            for field in fields {
                source.get(field).must(errors);
            }
        };
        match name.as_str() {
            "hostPath" => {
                check_path(&source.get("path"), errors);
                let kind = source.get("type");
                if kind.is_set() && !HOST_PATH_TYPES.contains(&kind.str()) {
                    kind.unsupported(errors, &HOST_PATH_TYPES);
                }
            }
            "local" => {
                check_path(&source.get("path"), errors);
                if !spec.get("nodeAffinity").get("required").is_set() {
                    let detail = "Local volume requires node affinity";
                    spec.get("nodeAffinity").required(errors, detail);
                }
            }
            "nfs" => {
                must(&["server", "path"], errors);
                let path = source.get("path");
                if !path.is_empty() && !path.str().starts_with('/') {
                    path.invalid(errors, "must be an absolute path");
                }
            }
            "csi" => {
                driver_name(&source.get("driver"), errors);
                must(&["volumeHandle"], errors);
                for secret in [
                    "controllerPublishSecretRef",
                    "controllerExpandSecretRef",
                    "nodePublishSecretRef",
                    "nodeExpandSecretRef",
                    "nodeStageSecretRef",
                ] {
                    let secret = source.get(secret);
                    if secret.is_set() {
                        secret.get("name").must(errors);
                        secret.get("namespace").must(errors);
                    }
                }
            }
            "iscsi" => {
                must(&["targetPortal", "iqn"], errors);
                source.get("lun").within(errors, 0, 255);
            }
            "glusterfs" => must(&["endpoints", "path"], errors),
            "rbd" => must(&["monitors", "image"], errors),
            "cephfs" => must(&["monitors"], errors),
            "cinder" => must(&["volumeID"], errors),
            "flexVolume" => must(&["driver"], errors),
            "gcePersistentDisk" => must(&["pdName"], errors),
            "awsElasticBlockStore" => must(&["volumeID"], errors),
            "azureDisk" => must(&["diskURI"], errors),
            "vsphereVolume" => must(&["volumePath"], errors),
            _ => {}
        }
    }
    if count == 0 {
        spec.required(errors, "must specify a volume type");
    }
}

fn check_path(path: &At<'_>, errors: &mut ErrorList) {
    if path.must(errors) && path.str().split('/').any(|part| part == "..") {
        path.invalid(errors, "must not contain '..'");
    }
}

/// The name under which a CSI driver is registered.
pub(in crate::kinds) fn driver_name(name: &At<'_>, errors: &mut ErrorList) {
    name.must(errors);
    if name.str().len() > MAX_DRIVER_NAME {
        errors.push(Error::too_long(&name.path, MAX_DRIVER_NAME));
    }
    for message in names::dns1123_subdomain(&name.str().to_lowercase()) {
        errors.push(Error::invalid(&name.path, name.str(), message));
    }
}
