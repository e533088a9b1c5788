//! Rows of volumes, claims and storage classes.

use machinery::Value;
use machinery::meta;
use machinery::time::Timestamp;
use serde_json::{Value as Json, json};

use super::cell::{access_modes, age, count, flag, joined_or, name, scalar, text, text_or, texts};

const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];
const DEFAULT_ATTRIBUTES_CLASS: &str = "volumeattributesclass.kubernetes.io/is-default-class";

pub(super) fn of_kind(kind: &str) -> Option<fn(&Value, Timestamp) -> Vec<Value>> {
    Some(match kind {
        "CSIDriver" => csi_driver,
        "CSINode" => csi_node,
        "CSIStorageCapacity" => csi_storage_capacity,
        "StorageClass" => storage_class,
        "VolumeAttachment" => volume_attachment,
        "VolumeAttributesClass" => volume_attributes_class,
        _ => return None,
    })
}

fn phase(object: &Value) -> Json {
    match meta::deletion_timestamp(object) {
        Some(_) => json!("Terminating"),
        None => json!(text(object, "/status/phase")),
    }
}

fn class(object: &Value) -> &str {
    meta::annotation(object, BETA_CLASS).unwrap_or_else(|| text(object, "/spec/storageClassName"))
}

pub(super) fn persistent_volume(pv: &Value, now: Timestamp) -> Vec<Value> {
    let claim = match (text(pv, "/spec/claimRef/namespace"), text(pv, "/spec/claimRef/name")) {
        ("", "") => String::new(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    vec![
        name(pv),
        json!(scalar(pv.pointer("/spec/capacity/storage")).unwrap_or_default()),
        json!(access_modes(&texts(pv, "/spec/accessModes", ""))),
        json!(text(pv, "/spec/persistentVolumeReclaimPolicy")),
        phase(pv),
        json!(claim),
        json!(class(pv)),
        json!(text_or(pv, "/spec/volumeAttributesClassName", "<unset>")),
        json!(text(pv, "/status/reason")),
        age(pv, now),
        json!(text_or(pv, "/spec/volumeMode", "<unset>")),
    ]
}

pub(super) fn persistent_volume_claim(pvc: &Value, now: Timestamp) -> Vec<Value> {
    let volume = text(pvc, "/spec/volumeName");
    let (mut capacity, mut modes) = (String::new(), String::new());
    if !volume.is_empty() {
        capacity = scalar(pvc.pointer("/status/capacity/storage")).unwrap_or_default();
        modes = access_modes(&texts(pvc, "/status/accessModes", ""));
    }
    vec![
        name(pvc),
        phase(pvc),
        json!(volume),
        json!(capacity),
        json!(modes),
        json!(class(pvc)),
        json!(text_or(pvc, "/spec/volumeAttributesClassName", "<unset>")),
        age(pvc, now),
        json!(text_or(pvc, "/spec/volumeMode", "<unset>")),
    ]
}

fn default_marked(object: &Value, annotations: &[&str]) -> Json {
    let default = annotations.iter().any(|a| meta::annotation(object, a) == Some("true"));
    if default { json!(format!("{} (default)", meta::name(object))) } else { name(object) }
}

fn storage_class(sc: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        default_marked(sc, &DEFAULT_CLASS),
        json!(text(sc, "/provisioner")),
        json!(text_or(sc, "/reclaimPolicy", "Delete")),
        json!(text_or(sc, "/volumeBindingMode", "Immediate")),
        json!(flag(sc, "/allowVolumeExpansion")),
        age(sc, now),
    ]
}

fn volume_attributes_class(class: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        default_marked(class, &[DEFAULT_ATTRIBUTES_CLASS]),
        json!(text(class, "/driverName")),
        age(class, now),
    ]
}

fn csi_driver(driver: &Value, now: Timestamp) -> Vec<Value> {
    let attach = driver.pointer("/spec/attachRequired").and_then(Value::as_bool).unwrap_or(true);
    vec![
        name(driver),
        json!(attach),
        json!(flag(driver, "/spec/podInfoOnMount")),
        json!(flag(driver, "/spec/storageCapacity")),
        json!(joined_or(&texts(driver, "/spec/tokenRequests", "audience"), "<unset>")),
        json!(flag(driver, "/spec/requiresRepublish")),
        json!(joined_or(&texts(driver, "/spec/volumeLifecycleModes", ""), "<none>")),
        age(driver, now),
    ]
}

fn csi_node(node: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(node), json!(count(node, "/spec/drivers")), age(node, now)]
}

fn csi_storage_capacity(capacity: &Value, _now: Timestamp) -> Vec<Value> {
    vec![
        name(capacity),
        json!(text(capacity, "/storageClassName")),
        json!(scalar(capacity.get("capacity")).unwrap_or_else(|| "<unset>".to_owned())),
    ]
}

fn volume_attachment(attachment: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(attachment),
        json!(text(attachment, "/spec/attacher")),
        json!(text(attachment, "/spec/source/persistentVolumeName")),
        json!(text(attachment, "/spec/nodeName")),
        json!(flag(attachment, "/status/attached")),
        age(attachment, now),
    ]
}
