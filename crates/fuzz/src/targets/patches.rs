//! Patch engines. The input is a patch of the first object of the corpus.

use machinery::codec::{self, FieldValidation};
use machinery::{Value, patch};
use serde_json::json;

use super::formats::{check_forms, type_of_value};
use crate::{Target, corpus};

pub(super) const TARGETS: [Target; 3] = [
    Target { name: "json-patch", corpus: json_patches, run: json_patch },
    Target { name: "merge-patch", corpus: merge_patches, run: merge_patch },
    Target { name: "strategic-merge-patch", corpus: strategic_patches, run: strategic_patch },
];

/// What a patch leaves is decoded as if it had been sent, and is then an object like any other.
fn check_result(patched: Value, original: &Value) {
    let ty = type_of_value(original);
    if let Ok(decoded) = codec::decode_value(patched, ty, FieldValidation::Warn) {
        check_forms(&decoded.value, ty);
    }
}

fn pod() -> Value {
    corpus::objects().swap_remove(0)
}

fn texts(patches: &[Value]) -> Vec<Vec<u8>> {
    patches.iter().map(|patch| patch.to_string().into_bytes()).collect()
}

fn json_patches() -> Vec<Vec<u8>> {
    texts(&[
        json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"},
            {"op": "test", "path": "/metadata/name", "value": "a"},
            {"op": "remove", "path": "/spec/containers/0/ports/0"}]),
        json!([{"op": "replace", "path": "/spec/containers/0/image", "value": "j"},
            {"op": "copy", "from": "/spec/containers/0", "path": "/spec/containers/-"},
            {"op": "move", "from": "/metadata/labels/app", "path": "/metadata/labels/b~1c"}]),
    ])
}

fn json_patch(input: &[u8]) {
    let Ok(patch) = serde_json::from_slice::<Value>(input) else { return };
    let original = pod();
    let mut patched = original.clone();
    if patch::json::apply(&mut patched, &patch).is_ok() {
        check_result(patched, &original);
    }
}

fn merge_patches() -> Vec<Vec<u8>> {
    texts(&[
        json!({"metadata": {"labels": {"app": null, "x": "y"}}, "spec": {"hostNetwork": null}}),
        json!({"spec": {"containers": [{"name": "d", "image": "j"}], "nodeSelector": {"a": {"b": null}}}}),
    ])
}

fn merge_patch(input: &[u8]) {
    let Ok(patch) = serde_json::from_slice::<Value>(input) else { return };
    let original = pod();
    let mut once = original.clone();
    patch::merge::apply(&mut once, &patch);
    let mut twice = once.clone();
    patch::merge::apply(&mut twice, &patch);
    assert_eq!(once, twice, "a second application changes something");
    check_result(once, &original);
}

fn strategic_patches() -> Vec<Vec<u8>> {
    texts(&[
        json!({"spec": {"containers": [{"name": "c", "image": "j", "ports": [{"containerPort": 81}]}, {"name": "d"}]}}),
        json!({"metadata": {"finalizers": ["new"], "$deleteFromPrimitiveList/finalizers": ["z"]},
            "spec": {"$setElementOrder/containers": [{"name": "d"}, {"name": "c"}],
            "containers": [{"name": "c", "$patch": "delete"}, {"name": "d", "env": [{"name": "B", "value": "2"}]}]}}),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}],
            "nodeSelector": {"$patch": "replace", "q": "r"}, "tolerations": null}}),
    ])
}

fn strategic_patch(input: &[u8]) {
    let Ok(patch) = serde_json::from_slice::<Value>(input) else { return };
    let original = pod();
    let ty = type_of_value(&original);
    let mut once = original.clone();
    if patch::strategic::apply(&mut once, &patch, ty).is_err() {
        return;
    }
    // Directives may well find other things the second time.
    if !input.contains(&b'$') && !input.contains(&b'\\') {
        let mut twice = once.clone();
        let again = patch::strategic::apply(&mut twice, &patch, ty);
        assert!(again.is_ok(), "a second application is refused: {again:?}");
        assert_eq!(once, twice, "a second application changes something");
    }
    check_result(once, &original);
}
