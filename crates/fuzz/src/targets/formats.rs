//! Decoders of objects. Whatever they accept must survive every other form.

use machinery::Value;
use machinery::codec::{self, Decoded, FieldValidation, cbor, protobuf};
use machinery::schema::{TypeRef, builtin};

use crate::{Target, corpus};

pub(super) const TARGETS: [Target; 4] = [
    Target { name: "cbor", corpus: cbor_corpus, run: cbor },
    Target { name: "json", corpus: json_corpus, run: json },
    Target { name: "protobuf", corpus: protobuf_corpus, run: protobuf },
    Target { name: "yaml", corpus: yaml_corpus, run: yaml },
];

/// The type that an object names, or one that has most of them in it.
pub(super) fn type_of(api_version: &str, kind: &str) -> TypeRef<'static> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let pod = || builtin().kind("", "v1", "Pod").expect("a built-in kind");
    builtin().kind(group, version, kind).unwrap_or_else(pod)
}

pub(super) fn type_of_value(object: &Value) -> TypeRef<'static> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    type_of(text("apiVersion"), text("kind"))
}

/// A decoded object is the same in every form, and its bytes are the same the next time.
#[track_caller]
pub(super) fn check_forms(object: &Value, ty: TypeRef<'_>) {
    let strict = FieldValidation::Strict;
    let text = codec::encode_json(object, ty);
    let again = codec::decode_json(&text, ty, strict).expect("own JSON can be read").value;
    assert_eq!(codec::encode_json(&again, ty), text, "JSON of what was read from JSON");
    assert_eq!(again, *object, "JSON");
    let pretty = codec::decode_json(&codec::pretty(&text), ty, strict);
    assert_eq!(pretty.expect("indented JSON can be read").value, *object, "indented JSON");
    // The binary forms have limits of their own, so that what they refuse is no fault.
    let bytes = cbor::encode(object, ty);
    // Numbers that are kept as they were written have no such form in CBOR.
    let verbatim = object.to_string().contains("$serde_json::private::Number");
    if let Ok(again) = cbor::decode(&bytes, ty, strict) {
        assert!(verbatim || again.value == *object, "CBOR: {:?} from {object:?}", again.value);
        assert_eq!(cbor::encode(&again.value, ty), bytes, "CBOR of what was read from CBOR");
    }
    if let Ok(message) = protobuf::encode(object, ty)
        && let Ok(again) = protobuf::decode(&message, ty)
    {
        let same = protobuf::encode(&again.value, ty).expect("it has a form");
        assert_eq!(same, message, "protobuf of what was read from protobuf");
    }
}

fn json_corpus() -> Vec<Vec<u8>> {
    corpus::objects().iter().map(|object| object.to_string().into_bytes()).collect()
}

fn json(input: &[u8]) {
    let (api_version, kind) = codec::peek_type_meta(input).unwrap_or_default();
    let ty = type_of(&api_version, &kind);
    let accepted = |validation| codec::decode_json(input, ty, validation).map(|d| d.value);
    if let Ok(Decoded { value, warnings }) = codec::decode_json(input, ty, FieldValidation::Warn) {
        check_forms(&value, ty);
        assert_eq!(accepted(FieldValidation::Ignore).as_ref(), Ok(&value), "without warnings");
        let strict = accepted(FieldValidation::Strict);
        assert_eq!(strict.is_ok(), warnings.is_empty(), "{warnings:?}");
    }
}

fn yaml_corpus() -> Vec<Vec<u8>> {
    let text = |object: &Value| codec::encode_yaml(object, type_of_value(object)).into_bytes();
    corpus::objects().iter().map(text).collect()
}

fn yaml(input: &[u8]) {
    for kind in ["Pod", "Secret"] {
        let ty = type_of("v1", kind);
        let Ok(decoded) = codec::decode_yaml(input, ty, FieldValidation::Warn) else { continue };
        check_forms(&decoded.value, ty);
        let text = codec::encode_yaml(&decoded.value, ty);
        let again = codec::decode_yaml(text.as_bytes(), ty, FieldValidation::Strict);
        assert_eq!(again.expect("own YAML can be read").value, decoded.value, "{text}");
    }
}

fn protobuf_corpus() -> Vec<Vec<u8>> {
    corpus::objects().iter().filter_map(|object| protobuf::encode_builtin(object).ok()).collect()
}

fn protobuf(input: &[u8]) {
    let Ok(envelope) = protobuf::open(input) else { return };
    let ty = type_of(envelope.api_version, envelope.kind);
    if let Ok(decoded) = protobuf::decode(input, ty) {
        check_forms(&decoded.value, ty);
    }
}

fn cbor_corpus() -> Vec<Vec<u8>> {
    corpus::objects().iter().map(cbor::encode_object).collect()
}

fn cbor(input: &[u8]) {
    if let Ok(tree) = cbor::decode_untyped(input) {
        let bytes = cbor::encode_untyped(&tree);
        assert_eq!(cbor::decode_untyped(&bytes).as_ref(), Ok(&tree), "a tree");
    }
    let (api_version, kind) = cbor::peek_type_meta(input).unwrap_or_default();
    let ty = type_of(&api_version, &kind);
    if let Ok(decoded) = cbor::decode(input, ty, FieldValidation::Ignore) {
        check_forms(&decoded.value, ty);
    }
}
