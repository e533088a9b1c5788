//! Rules for a Pod's volumes.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, quote};
use machinery::names;
use machinery::quantity::Quantity;

use super::containers::pull_policy;
use super::environment::{field_selector, resource_selector};
use super::mounts::Volumes;
use super::options::Options;
use super::{projected, sources};
use crate::cursor::At;
use crate::kinds::storage::{claim_spec, driver_name};
use crate::object_meta;

/// What a volume can be made of, in the order in which the server goes through them.
const KINDS: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];
const DOWNWARD_FIELDS: [&str; 5] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];
const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// Checks all volumes and gathers those that are fine by name.
pub(super) fn check<'a>(
    volumes: &At<'a>,
    options: &Options<'_>,
    errors: &mut ErrorList,
) -> Volumes<'a> {
    // What claims will be made can be said once the Pod has a name.
    let pod = options.pod.map(|metadata| At::root(metadata).get("name").str()).unwrap_or_default();
    let made: BTreeSet<String> = volumes
        .list()
        .filter(|volume| !pod.is_empty() && volume.get("ephemeral").is_set())
        .map(|volume| format!("{pod}-{}", volume.get("name").str()))
        .collect();
    let mut by_name = Volumes::new();
    for volume in volumes.list() {
        let before = errors.len();
        source(&volume, pod, options, errors);
        let name = volume.get("name");
        name.must_form(errors, names::dns1123_label);
        if by_name.contains_key(name.str()) {
            name.duplicate(errors);
        }
        if errors.len() == before {
            by_name.insert(name.str(), volume.value);
        }
        let claim = volume.get("persistentVolumeClaim").get("claimName");
        if made.contains(claim.str()) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            claim.invalid(errors, detail);
        }
    }
    by_name
}

fn source(volume: &At<'_>, pod: &str, options: &Options<'_>, errors: &mut ErrorList) {
    let mut count = 0;
    for kind in KINDS {
        let source = volume.get(kind);
        if !source.is_set() {
            continue;
        }
        if count == 0 {
            one(kind, &source, volume, pod, options, errors);
        } else {
            // Upstream shows two of them by other names.
            let shown = match kind {
                "cephfs" => "cephFS",
                "downwardAPI" => "downwarAPI",
                other => other,
            };
            let path = volume.path.child(shown);
            errors.push(Error::forbidden(&path, "may not specify more than 1 volume type"));
        }
        count += 1;
        if kind == "iscsi" {
            sources::initiator_fits(&source, volume.get("name"), errors);
        }
    }
    if count == 0 {
        volume.required(errors, "must specify a volume type");
    }
}

fn one(
    kind: &'static str,
    source: &At<'_>,
    volume: &At<'_>,
    pod: &str,
    options: &Options<'_>,
    errors: &mut ErrorList,
) {
    match kind {
        "emptyDir" => {
            let limit = source.get("sizeLimit");
            if Quantity::from_value(limit.value).is_some_and(|q| q.is_negative()) {
                limit.forbidden(errors, "SizeLimit field must be a valid resource quantity");
            }
        }
        "gitRepo" => {
            source.get("repository").must(errors);
            descending_path(&source.get("directory"), errors);
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
            for item in source.get("items").list() {
                downward_item(&At::new(item.value, source.path.clone()), errors);
            }
        }
        "projected" => {
            mode(&source.get("defaultMode"), errors);
            projected::check(source, options, errors);
        }
        "persistentVolumeClaim" => {
            source.get("claimName").must(errors);
        }
        "csi" => {
            driver_name(&source.get("driver"), errors);
            let secret = source.get("nodePublishSecretRef");
            let name = secret.get("name");
            if secret.is_set() && name.must(errors) {
                At::new(name.value, source.path.child("name"))
                    .form(errors, names::dns1123_subdomain);
            }
        }
        "image" => {
            if options.pod.is_some() {
                source.get("reference").must(errors);
            }
            pull_policy(&source.get("pullPolicy"), errors);
        }
        "ephemeral" => {
            let template = source.get("volumeClaimTemplate");
            if template.is_set() {
                claim_template(&template, errors);
            } else {
                template.required(errors, "");
            }
            let name = volume.get("name");
            if !pod.is_empty() && !name.is_empty() {
                let claim = format!("{pod}-{}", name.str());
                for message in names::dns1123_subdomain(&claim) {
                    name.invalid(errors, format!("PVC name {}: {message}", quote(&claim)));
                }
            }
        }
        _ => sources::check(kind, volume, sources::In::Pod, errors),
    }
}

/// What a claim is made from; of its metadata only labels and annotations are taken over.
fn claim_template(template: &At<'_>, errors: &mut ErrorList) {
    let metadata = template.get("metadata");
    object_meta::annotations(&metadata.get("annotations"), errors);
    object_meta::labels(&metadata.get("labels"), errors);
    for field in [
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ] {
        if !metadata.get(field).is_empty() {
            // Shown as in Go, but for the first letter.
            let shown = if field == "uid" { "uID" } else { field };
            errors.push(Error::forbidden(&metadata.path.child(shown), "cannot be set"));
        }
    }
    claim_spec(&template.get("spec"), errors);
}

fn mode(mode: &At<'_>, errors: &mut ErrorList) {
    if mode.int().is_some_and(|m| !(0..=0o777).contains(&m)) {
        mode.invalid(errors, MODE);
    }
}

fn items(items: &At<'_>, errors: &mut ErrorList) {
    for item in items.list() {
        key_to_path(&item, errors);
    }
}

/// Checks which file an entry of a ConfigMap or Secret becomes.
pub(super) fn key_to_path(item: &At<'_>, errors: &mut ErrorList) {
    item.get("key").must(errors);
    let path = item.get("path");
    path.must(errors);
    local_path(&path, errors);
    mode(&item.get("mode"), errors);
}

/// Checks a file made of one of the Pod's own fields.
pub(super) fn downward_item(item: &At<'_>, errors: &mut ErrorList) {
    let path = item.get("path");
    path.must(errors);
    local_path(&path, errors);
    let (field, resource) = (item.get("fieldRef"), item.get("resourceFieldRef"));
    if field.is_set() {
        field_selector(&field, &DOWNWARD_FIELDS, errors);
        if resource.is_set() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(Error::invalid(&item.path, "resource", detail));
        }
    } else if resource.is_set() {
        resource_selector(&resource, true, errors);
    } else {
        item.required(errors, "one of fieldRef and resourceFieldRef is required");
    }
    mode(&item.get("mode"), errors);
}

/// Whether a token of some volume is put outside it.
pub(super) fn has_odd_token_paths(volumes: &At<'_>) -> bool {
    let mut errors = ErrorList::new();
    for volume in volumes.list() {
        for source in volume.get("projected").get("sources").list() {
            local_path(&source.get("serviceAccountToken").get("path"), &mut errors);
        }
    }
    !errors.is_empty()
}

/// A path below some folder: relative, and never up.
pub(super) fn descending_path(path: &At<'_>, errors: &mut ErrorList) {
    if path.str().starts_with('/') {
        path.invalid(errors, "must be a relative path");
    }
    no_parent_steps(path, errors);
}

/// A path that never goes up.
pub(in crate::kinds) fn no_parent_steps(path: &At<'_>, errors: &mut ErrorList) {
    if has_parent_steps(path.str()) {
        path.invalid(errors, "must not contain '..'");
    }
}

pub(super) fn has_parent_steps(path: &str) -> bool {
    path.split('/').any(|step| step == "..")
}

/// A descending path that does not start like the kubelet's own files.
pub(super) fn local_path(path: &At<'_>, errors: &mut ErrorList) {
    descending_path(path, errors);
    if path.str().starts_with("..") && !path.str().starts_with("../") {
        path.invalid(errors, "must not start with '..'");
    }
}
