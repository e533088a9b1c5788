//! Types that are made at run time merge by what they say about themselves.

use serde_json::{Value, json};

use super::super::*;
use crate::schema::{Builder, Facts, Leaf, ListType, Member, StructType, Type};

fn ty() -> Type {
    let mut builder = Builder::default();
    let none = Facts::default();
    let text = builder.leaf(Leaf::String, none);
    let number = builder.leaf(Leaf::Integer, none);
    let metadata = builder.builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
    let member = |name, node| Member { name, node, required: false };
    let port = [member("port", number), member("protocol", text), member("note", text)];
    let port = builder.object("", &port, none);
    let keys = ["port".to_owned(), "protocol".to_owned()];
    let defaults = [String::new(), "\"TCP\"".to_owned()];
    let ports = Facts { list_type: Some(ListType::Map), list_keys: &keys, ..none };
    let ports = builder.list(port, ports);
    builder.set_key_defaults(ports, &defaults);
    let tags = builder.list(text, Facts { list_type: Some(ListType::Set), ..none });
    let steps = builder.list(text, none);
    let whole = Facts { struct_type: Some(StructType::Atomic), ..none };
    let selector = builder.map(text, whole);
    let labels = builder.map(text, none);
    let place = builder.object("", &[member("x", number), member("y", number)], whole);
    let free = Facts { preserves_unknown_fields: true, ..none };
    let free = builder.object("", &[member("known", text)], free);
    let embedded = Facts { embedded_resource: true, ..none };
    let embedded = builder.object("", &[member("spec", text)], embedded);
    let root = [
        member("apiVersion", text),
        member("kind", text),
        member("metadata", metadata),
        member("ports", ports),
        member("tags", tags),
        member("steps", steps),
        member("selector", selector),
        member("labels", labels),
        member("place", place),
        member("free", free),
        member("embedded", embedded),
    ];
    let root = builder.object("Thing", &root, none);
    builder.finish(root)
}

fn object() -> Value {
    json!({
        "ports": [{"port": 80, "note": "n"}, {"port": 80, "protocol": "UDP"}],
        "tags": ["b", "a"],
        "steps": ["b", "a"],
        "selector": {"a": "b"},
        "labels": {"a": "b"},
        "place": {"x": 1, "y": 2},
        "free": {"known": "k", "other": {"deep": [1]}},
        "embedded": {"apiVersion": "v1", "metadata": {"labels": {"a": "b"}}, "spec": "s"},
    })
}

#[test]
fn fields() {
    let ty = ty();
    assert_eq!(validate(&object(), ty.type_ref().into()).map_err(|e| e.to_string()), Ok(()));
    assert_eq!(
        encode_fields(&fields_of(&object(), ty.type_ref().into())),
        json!({
            "f:embedded": {"f:apiVersion": {}, "f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {}},
            "f:free": {"f:known": {}, "f:other": {".": {}, "f:deep": {}}},
            "f:labels": {"f:a": {}},
            "f:place": {},
            "f:ports": {
                "k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:note": {}, "f:port": {}},
                "k:{\"port\":80,\"protocol\":\"UDP\"}":
                    {".": {}, "f:port": {}, "f:protocol": {}},
            },
            "f:selector": {},
            "f:steps": {},
            "f:tags": {"v:\"a\"": {}, "v:\"b\"": {}},
        })
    );
}

#[test]
fn what_is_not_declared_is_refused() {
    let ty = ty();
    let misfit = |value: Value| validate(&value, ty.type_ref().into()).unwrap_err().to_string();
    assert_eq!(misfit(json!({"other": 1})), ".other: field not declared in schema");
    assert_eq!(misfit(json!({"embedded": {"x": 1}})), ".embedded.x: field not declared in schema");
    assert_eq!(
        misfit(json!({"ports": [{"protocol": "TCP"}]})),
        ".ports: element 0: associative list with keys has an element that omits key field \
         \"port\" (and doesn't have default value)"
    );
}

#[test]
fn a_whole_that_had_owners_inside_has_one_now() {
    let ty = ty();
    let before = decode_fields(&json!({"f:place": {"f:x": {}}, "f:labels": {"f:a": {}}})).unwrap();
    let after = before.reconciled(ty.type_ref().into()).unwrap();
    assert_eq!(encode_fields(&after), json!({"f:labels": {"f:a": {}}, "f:place": {}}));
    assert!(after.reconciled(ty.type_ref().into()).is_none());
}

#[test]
fn new_objects_are_owned_as_by_comparison() {
    let ty = ty();
    let mut object = object();
    object["metadata"] = json!({"name": "n", "labels": {"l": "m"}});
    let untracked = Set::of([["metadata", "name"].as_slice(), &["metadata"]]);
    let ignored = Set::default();
    let direct = create::fields(&object, ty.type_ref(), &untracked, &ignored);
    let set = compare(&json!({}), &object, ty.type_ref().into()).changed();
    let set = set.difference(&untracked);
    assert_eq!(direct, Some(encode_fields(&set)));
}
