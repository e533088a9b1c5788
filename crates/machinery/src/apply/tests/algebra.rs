//! Sets of fields and their text.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::ty;

fn set(fields: Value) -> Set {
    decode_fields(&fields).unwrap()
}

#[track_caller]
fn same(set: &Set, fields: Value) {
    assert_eq!(encode_fields(set), fields);
    // Order is part of the form.
    assert_eq!(encode_fields(set).to_string(), fields.to_string());
}

#[test]
fn fields_are_written_in_order() {
    let given = json!({"f:b": {}, "i:2": {}, "v:3": {}, "v:\"a\"": {}, "f:a": {"f:y": {}, ".": {}},
        "k:{\"b\":1,\"a\":\"x\"}": {"f:z": {}}, "x:unknown": {}});
    same(
        &set(given),
        json!({"f:a": {".": {}, "f:y": {}}, "f:b": {}, "k:{\"a\":\"x\",\"b\":1}": {"f:z": {}},
            "v:3": {}, "v:\"a\"": {}, "i:2": {}}),
    );
    for (text, error) in [
        (json!({"f": {}}), "parsing key as path element: key must be 2 characters long"),
        (json!({"k:[]": {}}), "parsing key as path element: key is not an object"),
        (json!({"f:a": 1}), "fieldsV1 is not an object"),
        (json!([]), "fieldsV1 is not an object"),
    ] {
        assert_eq!(decode_fields(&text).unwrap_err().to_string(), error);
    }
}

#[test]
fn sets_combine() {
    let a = || set(json!({"f:a": {".": {}, "f:x": {}}, "f:b": {"f:y": {}}}));
    let b = || set(json!({"f:a": {}, "f:b": {"f:y": {}, "f:z": {}}}));
    same(&a().union(&b()), json!({"f:a": {".": {}, "f:x": {}}, "f:b": {"f:y": {}, "f:z": {}}}));
    same(&a().intersection(&b()), json!({"f:a": {}, "f:b": {"f:y": {}}}));
    same(&a().difference(&b()), json!({"f:a": {"f:x": {}}}));
    same(&a().recursive_difference(&b()), json!({}));
    same(&b().difference(&a()), json!({"f:b": {"f:z": {}}}));
    same(&a().leaves(), json!({"f:a": {"f:x": {}}, "f:b": {"f:y": {}}}));
    assert!(a().intersects(&b()));
    assert!(!set(json!({"f:a": {}})).intersects(&set(json!({"f:a": {"f:x": {}}}))));
    let path = [Element::field("a"), Element::field("x")];
    assert!(a().has(&path) && !b().has(&path));
}

#[test]
fn a_reset_keeps_what_counts() {
    let all = set(json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:containers": {
        "k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:resources": {"f:limits": {}}}}}}));
    let except = Reset::Except(Set::of([["spec"].as_slice()]));
    same(&except.keep(&all), json!({"f:metadata": {"f:labels": {"f:a": {}}}}));
    const PATHS: &[&[Step]] = &[&[
        Step::Member("spec"),
        Step::Member("containers"),
        Step::Any,
        Step::Member("resources"),
    ]];
    same(
        &Reset::Only(PATHS).keep(&all),
        json!({"f:spec": {"f:containers": {
            "k:{\"name\":\"a\"}": {".": {}, "f:resources": {"f:limits": {}}}}}}),
    );
}

#[track_caller]
fn fields(api_version: &str, kind: &str, value: Value, expected: Value) {
    same(&fields_of(&value, ty(api_version, kind).into()), expected);
}

#[test]
fn fields_of_values() {
    fields(
        "v1",
        "Pod",
        json!({"metadata": {"labels": {"b": "1", "a": "2"}, "finalizers": ["x/y"]},
            "spec": {"nodeSelector": {"a": "b"}, "securityContext": {}, "containers": [
                {"name": "c", "ports": [{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}],
                    "args": ["x"], "resources": {"limits": {"cpu": 1}}, "env": null}]}}),
        json!({"f:metadata": {"f:finalizers": {"v:\"x/y\"": {}}, "f:labels": {"f:a": {}, "f:b": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:args": {}, "f:env": {},
                "f:name": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}},
                    "k:{\"containerPort\":80,\"protocol\":\"UDP\"}":
                        {".": {}, "f:containerPort": {}, "f:protocol": {}}},
                "f:resources": {"f:limits": {"f:cpu": {}}}}},
                "f:nodeSelector": {}, "f:securityContext": {}}}),
    );
    // A raw object shows itself what it is; a selector is one whole.
    fields(
        "apps/v1",
        "ControllerRevision",
        json!({"data": {"a": {"b": [1]}}, "revision": 1}),
        json!({"f:data": {"f:a": {".": {}, "f:b": {}}}, "f:revision": {}}),
    );
    fields(
        "apps/v1",
        "Deployment",
        json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "replicas": 1}}),
        json!({"f:spec": {"f:replicas": {}, "f:selector": {}}}),
    );
}

#[track_caller]
fn misfit(api_version: &str, kind: &str, value: Value, text: &str) {
    let error = validate(&value, ty(api_version, kind).into()).unwrap_err();
    assert_eq!(error.to_string(), text);
}

#[test]
fn misfits_are_told() {
    let d = |spec: Value| json!({"spec": spec});
    misfit(
        "apps/v1",
        "Deployment",
        d(json!({"foo": 1})),
        ".spec.foo: field not declared in schema",
    );
    misfit(
        "apps/v1",
        "Deployment",
        d(json!({"replicas": "3"})),
        ".spec.replicas: expected numeric (int or float), got string",
    );
    misfit(
        "v1",
        "ConfigMap",
        json!({"data": {"a": 1, "b": true}}),
        "errors:\n  .data.a: expected string, got &value.valueUnstructured{Value:1}\n  .data.b: \
         expected string, got &value.valueUnstructured{Value:true}",
    );
    misfit(
        "v1",
        "ConfigMap",
        json!({"immutable": "yes"}),
        ".immutable: expected boolean, got &{yes}",
    );
    misfit(
        "v1",
        "Pod",
        d(json!({"containers": {}})),
        ".spec.containers: expected list, got &{map[]}",
    );
    misfit("v1", "Pod", d(json!([])), ".spec: expected map, got &{[]}");
    misfit(
        "v1",
        "Pod",
        d(json!({"containers": [{"image": "a"}]})),
        ".spec.containers: element 0: associative list with keys has an element that omits key \
         field \"name\" (and doesn't have default value)",
    );
    misfit(
        "v1",
        "Pod",
        d(json!({"containers": [{"name": "a", "ports": [
            {"containerPort": 1}, {"containerPort": 1, "protocol": "TCP"}]}]})),
        ".spec.containers[name=\"a\"].ports: duplicate entries for key \
         [containerPort=1,protocol=\"TCP\"]",
    );
    misfit(
        "v1",
        "Pod",
        json!({"metadata": {"finalizers": ["a/b", "a/b"]}}),
        ".metadata.finalizers: duplicate entries for key [=\"a/b\"]",
    );
}

#[track_caller]
fn merged(live: Value, applied: Value, expected: Value) {
    let list = |names: Value| {
        let containers: Vec<Value> =
            names.as_array().unwrap().iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"containers": containers}})
    };
    let object = merge(&list(live), &list(applied), ty("v1", "Pod").into());
    assert_eq!(object, list(expected));
}

#[test]
fn items_come_in_the_applied_order() {
    merged(json!(["a", "b"]), json!(["b", "a"]), json!(["b", "a"]));
    merged(json!(["a", "b", "c"]), json!(["c", "a"]), json!(["b", "c", "a"]));
    merged(json!(["a", "x", "b"]), json!(["a", "b"]), json!(["a", "x", "b"]));
    merged(json!(["x"]), json!(["a", "b"]), json!(["x", "a", "b"]));
    merged(json!(["a"]), json!(["n", "a", "m"]), json!(["n", "a", "m"]));
    merged(json!([]), json!(["a"]), json!(["a"]));
}

fn field_set() -> impl Strategy<Value = Set> {
    let step = prop_oneof![
        "[a-c]".prop_map(|name| Element::field(&name)),
        (0..3i64).prop_map(Element::Index),
        "[a-c]".prop_map(|value| Element::Value(value.into())),
        "[a-c]".prop_map(|name| Element::key(vec![("name".into(), name.into())])),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..4), 0..12).prop_map(|paths| {
        let mut set = Set::default();
        for path in paths {
            set.insert(path);
        }
        set
    })
}

proptest! {
    #[test]
    fn text_round_trips(set in field_set()) {
        prop_assert_eq!(decode_fields(&encode_fields(&set)).unwrap(), set);
    }

    #[test]
    fn differences_and_intersections_make_up_the_whole(a in field_set(), b in field_set()) {
        let both = a.intersection(&b);
        prop_assert_eq!(a.difference(&b).union(&both), a.clone());
        prop_assert_eq!(a.intersects(&b), !both.is_empty());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert!(a.recursive_difference(&b).difference(&a).is_empty());
    }
}
