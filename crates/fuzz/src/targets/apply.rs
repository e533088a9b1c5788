//! Server-side apply: field sets, and configurations that are applied to an object and to nothing.

use machinery::Value;
use machinery::apply::{
    ConvertError, Request, Reset, Versions, apply, decode_fields, encode_fields,
};
use machinery::codec::{self, FieldValidation};
use machinery::schema::TypeRef;
use serde_json::json;

use super::formats::{check_forms, type_of_value};
use crate::{Target, corpus};

pub(super) const TARGETS: [Target; 2] = [
    Target { name: "apply", corpus: configurations, run: applied },
    Target { name: "fields-v1", corpus: field_sets, run: fields },
];

fn texts(values: &[Value]) -> Vec<Vec<u8>> {
    values.iter().map(|value| value.to_string().into_bytes()).collect()
}

fn field_sets() -> Vec<Vec<u8>> {
    texts(&[
        json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:replicas": {}}}),
        json!({"f:a": {"k:{\"name\":\"c\",\"port\":80}": {".": {}, "f:image": {}}, "v:\"x\"": {}, "i:3": {}}}),
    ])
}

/// A set that is read is written in one way only.
fn fields(input: &[u8]) {
    let Ok(tree) = serde_json::from_slice::<Value>(input) else { return };
    let Ok(set) = decode_fields(&tree) else { return };
    let canonical = encode_fields(&set);
    let again = decode_fields(&canonical).expect("what was written can be read");
    assert_eq!(encode_fields(&again).to_string(), canonical.to_string());
}

fn configurations() -> Vec<Vec<u8>> {
    let pod = |spec: Value| json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": spec});
    texts(&[
        pod(
            json!({"containers": [{"name": "c", "image": "j", "ports": [{"containerPort": 80, "protocol": "TCP"}]}]}),
        ),
        pod(
            json!({"containers": [{"name": "c", "env": [{"name": "A", "value": "2"}, {"name": "B"}]}],
            "nodeSelector": {"x": "z"}, "tolerations": [{"key": "q"}]}),
        ),
    ])
}

/// The one version that there is.
struct Only<'a>(TypeRef<'a>);

impl Versions for Only<'_> {
    fn ty(&self, _: &str) -> Option<TypeRef<'_>> {
        Some(self.0)
    }

    fn convert(&self, object: &Value, _: &str, _: &str) -> Result<Value, ConvertError> {
        Ok(object.clone())
    }
}

/// What results is an object, and applying the same again changes nothing.
fn applied(input: &[u8]) {
    let Ok(configuration) = serde_json::from_slice::<Value>(input) else { return };
    let original = corpus::objects().swap_remove(0);
    let ty = type_of_value(&original);
    let (versions, reset) = (Only(ty), Reset::default());
    let request = Request {
        ty,
        api_version: "v1",
        kind: "Pod",
        manager: "fuzz",
        subresource: "",
        now: "2024-01-02T03:04:05Z",
        reset: &reset,
        versions: &versions,
    };
    for live in [Some(&original), None] {
        let Ok(once) = apply(&request, live, &configuration, true) else { continue };
        let Ok(once) = codec::decode_value(once, ty, FieldValidation::Ignore) else { continue };
        check_forms(&once.value, ty);
        let twice = apply(&request, Some(&once.value), &configuration, false);
        let twice = twice.expect("nobody objects to what is there already");
        let twice = codec::decode_value(twice, ty, FieldValidation::Ignore);
        let twice = twice.expect("the first time, it could be decoded").value;
        assert_eq!(twice, once.value, "a second application changes something");
    }
}
