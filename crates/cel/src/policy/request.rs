//! The types of `request` and `namespaceObject`, which leave out what expressions have no use for.

use std::sync::LazyLock;

use machinery::Value as Json;
use serde_json::json;

use crate::schema::Decl;

/// The type of `request`.
pub(super) static REQUEST: LazyLock<Decl> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let kind =
        json!({"type": "object", "properties": {"group": text, "version": text, "kind": text}});
    let resource =
        json!({"type": "object", "properties": {"group": text, "version": text, "resource": text}});
    let extra = json!({"type": "object", "additionalProperties": {"type": "array", "items": text}});
    declare(
        "kubernetes.AdmissionRequest",
        &json!({
            "kind": kind, "resource": resource, "subResource": text, "requestKind": kind,
            "requestResource": resource, "requestSubResource": text, "name": text, "namespace": text,
            "operation": text, "dryRun": {"type": "boolean"}, "options": {"x-kubernetes-int-or-string": true},
            "userInfo": {"type": "object", "properties": {
                "username": text, "uid": text, "groups": {"type": "array", "items": text}, "extra": extra}},
        }),
    )
});

/// The type of `namespaceObject`.
pub(super) static NAMESPACE: LazyLock<Decl> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let texts = json!({"type": "object", "additionalProperties": text});
    let list = json!({"type": "array", "items": text});
    let condition = json!({"type": "object", "properties": {"status": text, "type": text,
        "lastTransitionTime": time, "message": text, "reason": text}});
    declare(
        "kubernetes.Namespace",
        &json!({
            "metadata": {"type": "object", "properties": {
                "name": text, "generateName": text, "namespace": text, "labels": texts,
                "annotations": texts, "uid": text, "creationTimestamp": time,
                "deletionTimestamp": time, "deletionGracePeriodSeconds": {"type": "integer"},
                "generation": {"type": "integer"}, "resourceVersion": text, "finalizers": list}},
            "spec": {"type": "object", "properties": {"finalizers": list}},
            "status": {"type": "object", "properties": {
                "phase": text, "conditions": {"type": "array", "items": condition}}},
        }),
    )
});

fn declare(name: &str, properties: &Json) -> Decl {
    let schema = json!({"type": "object", "properties": properties});
    Decl::of_schema(&schema, false, name).expect("a schema of an object has a declaration")
}
