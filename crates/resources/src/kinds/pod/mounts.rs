//! Rules for what of a Pod's volumes a container sees, as files or as raw devices.

use std::collections::{BTreeMap, BTreeSet};

use machinery::Value;
use machinery::field::{Error, ErrorList};

use super::volumes::{descending_path, has_parent_steps};
use crate::cursor::At;

/// The volumes of a Pod by name.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// Checks mounts and devices of a container.
pub(super) fn check(container: &At<'_>, volumes: &Volumes<'_>, errors: &mut ErrorList) {
    mounts(container, volumes, errors);
    devices(container, volumes, errors);
}

/// What a list maps names to; of several entries of one name the last counts.
fn by_name<'a>(list: &At<'a>, field: &'static str) -> BTreeMap<&'a str, &'a str> {
    list.list().map(|item| (item.get("name").str(), item.get(field).str())).collect()
}

fn mounts(container: &At<'_>, volumes: &Volumes<'_>, errors: &mut ErrorList) {
    let privileged = container.get("securityContext").get("privileged").bool();
    let mounts = container.get("volumeMounts");
    let devices = by_name(&container.get("volumeDevices"), "devicePath");
    let mut paths = BTreeSet::new();
    for mount in mounts.list() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        name.must(errors);
        if !volumes.contains_key(name.str()) {
            errors.push(Error::not_found(&name.path, name.str()));
        }
        path.must(errors);
        if !paths.insert(path.str()) {
            path.invalid(errors, "must be unique");
        }
        if devices.contains_key(name.str()) {
            name.invalid(errors, "must not already exist in volumeDevices");
        }
        if devices.values().any(|device| *device == path.str()) {
            path.invalid(errors, "must not already exist as a path in volumeDevices");
        }
        // Upstream names these without the index of the mount.
        let plain = |field: &'static str| At::new(mount.get(field).value, mounts.path.child(field));
        let (sub, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
        if !sub.is_empty() {
            descending_path(&plain("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub.is_empty() {
                expression.invalid(errors, "subPathExpr and subPath are mutually exclusive");
            }
            descending_path(&plain("subPathExpr"), errors);
        }
        propagation(&plain("mountPropagation"), privileged, errors);
        recursive_read_only(&plain("recursiveReadOnly"), &mount, errors);
    }
}

fn propagation(propagation: &At<'_>, privileged: bool, errors: &mut ErrorList) {
    const MODES: [&str; 3] = ["Bidirectional", "HostToContainer", "None"];
    if !propagation.is_set() {
        return;
    }
    if !MODES.contains(&propagation.str()) {
        propagation.unsupported(errors, &MODES);
    }
    if propagation.str() == "Bidirectional" && !privileged {
        let detail = "Bidirectional mount propagation is available only to privileged containers";
        propagation.forbidden(errors, detail);
    }
}

fn recursive_read_only(mode: &At<'_>, mount: &At<'_>, errors: &mut ErrorList) {
    match mode.str() {
        _ if !mode.is_set() => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.get("readOnly").bool() {
                mode.forbidden(errors, "may only be specified when readOnly is true");
            }
            let propagation = mount.get("mountPropagation");
            if propagation.is_set() && propagation.str() != "None" {
                let detail = "may only be specified when mountPropagation is None or not specified";
                mode.forbidden(errors, detail);
            }
        }
        _ => mode.unsupported(errors, &["Disabled", "Enabled", "IfPossible"]),
    }
}

fn devices(container: &At<'_>, volumes: &Volumes<'_>, errors: &mut ErrorList) {
    let mounts = by_name(&container.get("volumeMounts"), "mountPath");
    let (mut taken, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for device in container.get("volumeDevices").list() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        name.must(errors);
        if !name.is_empty() && !taken.insert(name.str()) {
            name.invalid(errors, "must be unique");
        }
        match volumes.get(name.str()) {
            None => errors.push(Error::not_found(&name.path, name.str())),
            Some(volume)
                if volume.get("persistentVolumeClaim").is_none_or(Value::is_null)
                    && volume.get("ephemeral").is_none_or(Value::is_null) =>
            {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                name.invalid(errors, detail);
            }
            Some(_) => {}
        }
        path.must(errors);
        if paths.contains(path.str()) {
            path.invalid(errors, "must be unique");
        }
        if has_parent_steps(path.str()) {
            path.invalid(errors, "can not contain backsteps ('..')");
        } else {
            paths.insert(path.str());
        }
        if mounts.contains_key(name.str()) {
            name.invalid(errors, "must not already exist in volumeMounts");
        }
        if mounts.values().any(|mount| *mount == path.str()) {
            path.invalid(errors, "must not already exist as a path in volumeMounts");
        }
    }
}
