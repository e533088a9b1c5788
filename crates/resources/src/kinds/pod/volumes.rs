//! Rules for volumes.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::names;
use machinery::quantity::Quantity;

use super::containers::{Volumes, field_selector, resource_selector};
use crate::cursor::At;
use crate::kinds::storage::{claim_spec, driver_name};
use crate::object_meta;

const DOWNWARD_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
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
const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Checks all volumes and gathers them by name.
pub(super) fn check<'a>(volumes: &At<'a>, errors: &mut ErrorList) -> Volumes<'a> {
    let mut by_name = Volumes::new();
    for volume in volumes.list() {
        let before = errors.len();
        source(&volume, errors);
        let name = volume.get("name");
        if name.is_empty() {
            name.required(errors, "");
        } else {
            name.form(errors, names::dns1123_label);
            if by_name.contains_key(name.str()) {
                name.duplicate(errors);
            }
        }
        if errors.len() == before || !name.is_empty() {
            by_name.entry(name.str()).or_insert(volume.value);
        }
    }
    by_name
}

fn source(volume: &At<'_>, errors: &mut ErrorList) {
    let mut count = 0;
    for (kind, given) in volume.value.as_object().into_iter().flatten() {
        if kind == "name" || given.is_null() {
            continue;
        }
        count += 1;
        let source = At::new(given, volume.path.child(kind.clone()));
        if count > 1 {
            source.forbidden(errors, "may not specify more than 1 volume type");
            continue;
        }
        one(kind, &source, errors);
    }
    if count == 0 {
        volume.required(errors, "must specify a volume type");
    }
}

fn one(kind: &str, source: &At<'_>, errors: &mut ErrorList) {
    match kind {
        "emptyDir" => {
            let limit = source.get("sizeLimit");
            if Quantity::from_value(limit.value).is_some_and(|q| q.is_negative()) {
                limit.forbidden(errors, "SizeLimit field must be a valid resource quantity");
            }
        }
        "hostPath" => {
            let path = source.get("path");
            if path.must(errors) {
                no_parent_steps(&path, errors);
            }
            source.get("type").may_be_one_of(errors, &HOST_PATH_TYPES);
        }
        "configMap" => {
            source.get("name").must(errors);
            mode(&source.get("defaultMode"), errors);
            items(&source.get("items"), errors);
        }
        "secret" => {
            source.get("secretName").must(errors);
            mode(&source.get("defaultMode"), errors);
            items(&source.get("items"), errors);
        }
        "downwardAPI" => {
            mode(&source.get("defaultMode"), errors);
            downward_items(&source.get("items"), errors);
        }
        "projected" => {
            mode(&source.get("defaultMode"), errors);
            projected(&source.get("sources"), errors);
        }
        "persistentVolumeClaim" => {
            source.get("claimName").must(errors);
        }
        "nfs" => {
            source.get("server").must(errors);
            let path = source.get("path");
            if path.must(errors) && !path.str().starts_with('/') {
                path.invalid(errors, "must be an absolute path");
            }
        }
        "csi" => {
            driver_name(&source.get("driver"), errors);
            let secret = source.get("nodePublishSecretRef");
            if secret.is_set() {
                secret.get("name").must(errors);
            }
        }
        "image" => {
            source.get("reference").must(errors);
            source.get("pullPolicy").may_be_one_of(errors, &["Always", "IfNotPresent", "Never"]);
        }
        "ephemeral" => {
            let template = source.get("volumeClaimTemplate");
            if template.must(errors) {
                claim_template(&template, errors);
            }
        }
        "gitRepo" => {
            source.get("repository").must(errors);
            no_parent_steps(&source.get("directory"), errors);
        }
        _ => older(kind, source, errors),
    }
}

/// What a claim is made from; of its metadata only labels and annotations are taken over.
fn claim_template(template: &At<'_>, errors: &mut ErrorList) {
    let metadata = template.get("metadata");
    object_meta::labels(&metadata.get("labels"), errors);
    let mut rest = metadata.value.clone();
    for field in ["labels", "annotations", "creationTimestamp"] {
        crate::cursor::remove(&mut rest, field);
    }
    if !crate::cursor::same(&rest, &serde_json::Value::Null) {
        let detail = "must not have any fields set other than labels and annotations";
        metadata.forbidden(errors, detail);
    }
    claim_spec(&template.get("spec"), errors);
}

/// Sources that came with Kubernetes itself.
fn older(kind: &str, source: &At<'_>, errors: &mut ErrorList) {
    let must = |fields: &[&'static str], errors: &mut ErrorList| {
        for field in fields {
            source.get(field).must(errors);
        }
    };
    match kind {
        "iscsi" => {
            must(&["targetPortal"], errors);
            let name = source.get("iqn");
            if name.must(errors)
                && !["iqn", "eui", "naa"].iter().any(|form| name.str().starts_with(form))
            {
                name.invalid(errors, "must be valid format starting with iqn, eui, or naa");
            }
            source.get("lun").within(errors, 0, 255);
            let chap =
                source.get("chapAuthDiscovery").bool() || source.get("chapAuthSession").bool();
            if chap {
                must(&["secretRef"], errors);
            }
        }
        "fc" => {
            let (names, ids) = (source.get("targetWWNs"), source.get("wwids"));
            match (names.is_empty(), ids.is_empty()) {
                (true, true) => {
                    let detail = "must specify either targetWWNs or wwids, but not both";
                    names.required(errors, detail);
                }
                (false, false) => {
                    let detail = "targetWWNs and wwids can not be specified simultaneously";
                    names.invalid(errors, detail);
                }
                (false, true) if !source.get("lun").is_set() => {
                    let detail = "lun is required if targetWWNs is specified";
                    source.get("lun").required(errors, detail);
                }
                (false, true) => source.get("lun").within(errors, 0, 255),
                (true, false) => {}
            }
        }
        "gcePersistentDisk" => {
            must(&["pdName"], errors);
            source.get("partition").within(errors, 0, 255);
        }
        "awsElasticBlockStore" => {
            must(&["volumeID"], errors);
            source.get("partition").within(errors, 0, 255);
        }
        "flocker" => {
            let (name, uuid) = (source.get("datasetName"), source.get("datasetUUID"));
            if name.is_empty() && uuid.is_empty() {
                source.required(errors, "one of datasetName and datasetUUID is required");
            } else if !name.is_empty() && !uuid.is_empty() {
                let detail = "resource, both datasetName and datasetUUID can not be specified simultaneously";
                errors.push(Error::invalid(&source.path, "resource", detail));
            }
        }
        "glusterfs" => must(&["endpoints", "path"], errors),
        "rbd" => must(&["monitors", "image"], errors),
        "cephfs" => must(&["monitors"], errors),
        "cinder" | "portworxVolume" => must(&["volumeID"], errors),
        "quobyte" => must(&["registry", "volume"], errors),
        "azureFile" => must(&["secretName", "shareName"], errors),
        "azureDisk" => must(&["diskURI", "diskName"], errors),
        "vsphereVolume" => must(&["volumePath"], errors),
        "photonPersistentDisk" => must(&["pdID"], errors),
        "flexVolume" => must(&["driver"], errors),
        "scaleIO" => must(&["gateway", "system", "volumeName"], errors),
        "storageos" => must(&["volumeName"], errors),
        _ => {}
    }
}

fn mode(mode: &At<'_>, errors: &mut ErrorList) {
    if mode.int().is_some_and(|m| !(0..=0o777).contains(&m)) {
        mode.invalid(errors, MODE);
    }
}

fn items(items: &At<'_>, errors: &mut ErrorList) {
    for item in items.list() {
        item.get("key").must(errors);
        let path = item.get("path");
        if path.must(errors) {
            non_reserved_path(&path, errors);
        }
        mode(&item.get("mode"), errors);
    }
}

fn downward_items(items: &At<'_>, errors: &mut ErrorList) {
    for item in items.list() {
        let path = item.get("path");
        if path.must(errors) {
            non_reserved_path(&path, errors);
        }
        let (field, resource) = (item.get("fieldRef"), item.get("resourceFieldRef"));
        if field.is_set() {
            field_selector(&field, &DOWNWARD_FIELDS, errors);
            if resource.is_set() {
                let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
                resource.invalid(errors, detail);
            }
        } else if resource.is_set() {
            resource_selector(&resource, true, errors);
        } else {
            field.required(errors, "one of fieldRef and resourceFieldRef is required");
        }
        mode(&item.get("mode"), errors);
    }
}

fn projected(sources: &At<'_>, errors: &mut ErrorList) {
    let mut paths = BTreeSet::new();
    for source in sources.list() {
        let mut count = 0;
        for (kind, given) in source.value.as_object().into_iter().flatten() {
            if given.is_null() {
                continue;
            }
            count += 1;
            let part = At::new(given, source.path.child(kind.clone()));
            if count > 1 {
                part.forbidden(errors, "may not specify more than 1 volume type");
                continue;
            }
            match kind.as_str() {
                "secret" | "configMap" => {
                    part.get("name").must(errors);
                    items(&part.get("items"), errors);
                }
                "downwardAPI" => downward_items(&part.get("items"), errors),
                "serviceAccountToken" => token(&part, errors),
                "clusterTrustBundle" => {
                    part.get("path").must(errors);
                }
                _ => {}
            }
            let items = part.get("items").list().map(|item| item.get("path"));
            for path in items.chain([part.get("path")]).filter(|p| !p.is_empty()) {
                if !paths.insert(path.str()) {
                    let error =
                        Error::invalid(&path.path, path.str(), "conflicting duplicate paths");
                    errors.push(error);
                }
            }
        }
        if count == 0 {
            source.required(errors, "must specify a volume type");
        }
    }
}

fn token(token: &At<'_>, errors: &mut ErrorList) {
    let seconds = token.get("expirationSeconds");
    match seconds.int() {
        None => seconds.required(errors, ""),
        Some(n) if n < 600 => {
            seconds.invalid(errors, "may not specify a duration less than 10 minutes")
        }
        Some(n) if n > 1 << 32 => {
            seconds.invalid(errors, "may not specify a duration larger than 2^32 seconds");
        }
        Some(_) => {}
    }
    let path = token.get("path");
    if path.must(errors) {
        non_reserved_path(&path, errors);
    }
}

/// A path below some folder: relative, and never up.
pub(super) fn descending_path(path: &At<'_>, errors: &mut ErrorList) {
    if path.str().starts_with('/') {
        path.invalid(errors, "must be a relative path");
    }
    no_parent_steps(path, errors);
}

fn no_parent_steps(path: &At<'_>, errors: &mut ErrorList) {
    if path.str().split('/').any(|step| step == "..") {
        path.invalid(errors, "must not contain '..'");
    }
}

/// A descending path that does not start like the kubelet's own files.
fn non_reserved_path(path: &At<'_>, errors: &mut ErrorList) {
    descending_path(path, errors);
    if path.str().starts_with("..") && !path.str().starts_with("../") {
        path.invalid(errors, "must not start with '..'");
    }
}
