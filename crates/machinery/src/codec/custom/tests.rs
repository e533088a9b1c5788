use serde_json::json;

use super::super::{FieldValidation, decode_json, decode_value, encode_json, prune};
use crate::schema::{Builder, Facts, Leaf, ListType, Member, Type};

/// spec: {size: integer, tags: set of strings, free: preserves and knows `known: {a}`,
/// limits: map of integers, template: embedded, port: int-or-string}
fn widget() -> Type {
    let mut b = Builder::default();
    let plain = Facts::default();
    let integer = b.leaf(Leaf::Integer, Facts { nullable: true, ..plain });
    let text = b.leaf(Leaf::String, plain);
    let tags = b.list(text, Facts { list_type: Some(ListType::Set), ..plain });
    let limits = b.map(integer, plain);
    let member = |name, node| Member { name, node, required: false };
    let known = b.object("known", &[member("a", text)], plain);
    let preserves = Facts { preserves_unknown_fields: true, ..plain };
    let free = b.object("free", &[member("known", known)], preserves);
    let template = b.object("", &[], Facts { embedded_resource: true, ..preserves });
    let port = b.leaf(Leaf::IntOrString, plain);
    let members = [
        member("size", integer),
        member("tags", tags),
        member("limits", limits),
        member("free", free),
        member("template", template),
        member("port", port),
    ];
    let spec = b.object("spec", &members, plain);
    let metadata = b.builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    let root = b.object("Widget", &[member("metadata", metadata), member("spec", spec)], plain);
    b.finish(root)
}

#[track_caller]
fn check(json: &str, expected: Result<(&str, &[&str]), &str>) {
    let ty = widget();
    let ty = ty.type_ref();
    let decoded = decode_json(json.as_bytes(), ty, FieldValidation::Warn);
    match (decoded, expected) {
        (Ok(decoded), Ok((text, warnings))) => {
            let written = encode_json(&decoded.value, ty);
            assert_eq!(String::from_utf8(written).unwrap(), text);
            assert_eq!(decoded.warnings, warnings);
        }
        (decoded, expected) => {
            let found = decoded.map(|_| "decoded").map_err(|error| error.to_string());
            assert_eq!(found, expected.map(|_| "decoded").map_err(str::to_owned));
        }
    }
}

#[test]
fn objects_are_pruned_and_sorted() {
    check(
        r#"{"spec":{"size":1,"b":2,"tags":["x"]},"kind":"Widget","apiVersion":"a/v1"}"#,
        Ok((
            r#"{"apiVersion":"a/v1","kind":"Widget","spec":{"size":1,"tags":["x"]}}"#,
            &[r#"unknown field "spec.b""#],
        )),
    );
    check(
        r#"{"spec":{"free":{"x":{"y":1},"known":{"a":"","b":1}},"limits":{"q":1}}}"#,
        Ok((
            r#"{"spec":{"free":{"known":{"a":""},"x":{"y":1}},"limits":{"q":1}}}"#,
            &[r#"unknown field "spec.free.known.b""#],
        )),
    );
    check(
        r#"{"status":{"a":1},"spec":{"size":1,"size":2}}"#,
        Ok((
            r#"{"spec":{"size":2}}"#,
            &[r#"duplicate field "spec.size""#, r#"unknown field "status""#],
        )),
    );
    check(
        r#"{"spec":{"template":{"kind":"Pod","metadata":{"name":"x","odd":1},"spec":{"a":1}}}}"#,
        Ok((
            r#"{"spec":{"template":{"kind":"Pod","metadata":{"name":"x"},"spec":{"a":1}}}}"#,
            &[r#"unknown field "spec.template.metadata.odd""#],
        )),
    );
}

#[test]
fn wrong_types_outside_metadata_are_left_to_validation() {
    check(
        r#"{"spec":{"size":"big","tags":{"a":1}}}"#,
        Ok((r#"{"spec":{"size":"big","tags":{}}}"#, &[r#"unknown field "spec.tags.a""#])),
    );
    check(
        r#"{"spec":{"size":1.50,"port":"http"}}"#,
        Ok((r#"{"spec":{"port":"http","size":1.5}}"#, &[])),
    );
    check(
        r#"{"metadata":{"labels":"x"}}"#,
        Err(
            "json: cannot unmarshal string into Go struct field ObjectMeta.labels of type map[string]string",
        ),
    );
    check(
        r#"{"metadata":{"name":"x","odd":1}}"#,
        Ok((r#"{"metadata":{"name":"x"}}"#, &[r#"unknown field "metadata.odd""#])),
    );
    check("[]", Err("json: cannot unmarshal array into Go value of type map[string]interface {}"));
}

#[test]
fn embedded_objects_are_well_formed() {
    check(
        r#"{"spec":{"template":{"kind":1}}}"#,
        Err("spec.template.kind: Invalid value: 1: must be a string"),
    );
    check(
        r#"{"spec":{"template":{"metadata":{"labels":"x"}}}}"#,
        Err(
            r#"spec.template.metadata: Invalid value: {"labels":"x"}: json: cannot unmarshal string into Go struct field ObjectMeta.labels of type map[string]string"#,
        ),
    );
    check(
        r#"{"spec":{"template":{"metadata":{"name":"a","creationTimestamp":null}}}}"#,
        Ok((r#"{"spec":{"template":{"metadata":{"name":"a"}}}}"#, &[])),
    );
    // One that has been stored is read all the same.
    let ty = widget();
    let mut stored = json!({"spec": {"template": {
        "kind": 1, "metadata": {"name": "a", "labels": "x", "odd": 1}, "spec": {"b": 1}}}});
    prune(&mut stored, ty.type_ref());
    assert_eq!(
        stored,
        json!({"spec": {"template": {"metadata": {"name": "a"}, "spec": {"b": 1}}}})
    );
}

#[test]
fn strictness_refuses_what_pruning_drops() {
    let ty = widget();
    let object = json!({"spec": {"b": 1, "a": 2}});
    let error = decode_value(object, ty.type_ref(), FieldValidation::Strict).unwrap_err();
    let text = r#"strict decoding error: unknown field "spec.a", unknown field "spec.b""#;
    assert_eq!(error.to_string(), text);
}

#[test]
fn types_carry_their_facts() {
    let ty = widget();
    let spec = ty.type_ref().field("spec").unwrap().type_ref();
    let field = |name| spec.field(name).unwrap();
    assert_eq!(field("tags").type_ref().list_type(), Some(ListType::Set));
    assert_eq!(field("tags").list_type(), Some(ListType::Set));
    assert!(field("size").type_ref().is_nullable());
    assert!(!field("tags").type_ref().is_nullable());
    assert!(field("free").type_ref().preserves_unknown_fields());
    assert!(field("template").type_ref().is_embedded_resource());
    let owners = ty.type_ref().field("metadata").unwrap().type_ref();
    let owners = owners.field("ownerReferences").unwrap();
    assert_eq!(owners.merge_key(), Some("uid"));
    assert_eq!(owners.type_ref().element().unwrap().short_name(), Some("OwnerReference"));
}

/// As upstream: 64 bits with a sign, or else a float.
#[test]
fn whole_numbers_are_kept_as_far_as_64_bits_go() {
    check(
        r#"{"spec":{"free":{"a":9223372036854775807,"b":9223372036854775808,"c":1.0,"d":123456789012345678901234567890}}}"#,
        Ok((
            r#"{"spec":{"free":{"a":9223372036854775807,"b":9223372036854776000,"c":1,"d":1.2345678901234568e+29}}}"#,
            &[],
        )),
    );
}
