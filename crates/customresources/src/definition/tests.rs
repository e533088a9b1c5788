use std::cmp::Reverse;

use machinery::codec::{self, FieldValidation};
use machinery::{Value, meta};
use resources::{Conversion, Registration};
use serde_json::json;

use super::{Definition, rank};

fn definition(versions: &str) -> Definition {
    let mut crd: Value = json!({
        "metadata": {"name": "widgets.ex.io"},
        "spec": {"group": "ex.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"}},
        "status": {"conditions": [{"type": "Established", "status": "True"}],
            "acceptedNames": {"plural": "widgets", "singular": "widget", "kind": "Widget",
                "listKind": "WidgetList", "shortNames": ["w"], "categories": ["all"]}},
    });
    crd["spec"]["versions"] = serde_yaml::from_str(versions).unwrap();
    Definition::of(&crd).unwrap()
}

const TWO: &str = "
- {name: v1beta1, served: true, storage: false, deprecated: true,
   schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties:
     {old: {type: string}, both: {type: string}}}}}}}
- {name: v1, served: true, storage: true,
   subresources: {status: {}, scale: {specReplicasPath: .spec.n, statusReplicasPath: .status.n}},
   selectableFields: [{jsonPath: .spec.both}],
   schema: {openAPIV3Schema: {type: object, properties: {
     spec: {type: object, properties: {both: {type: string}, n: {type: integer, default: 1}}},
     status: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}
- {name: v0, served: false, storage: false, schema: {openAPIV3Schema: {type: object}}}
";

#[test]
fn versions_become_registrations() {
    let definition = definition(TWO);
    let all = definition.registrations();
    let names: Vec<&str> = all.iter().map(|r| &*r.version).collect();
    assert_eq!(names, ["v1", "v1beta1", "v0"]);
    let served: Vec<bool> = definition.versions.iter().map(|version| version.served).collect();
    assert_eq!(served, [true, true, false]);
    let (v1, beta) = (&all[0], &all[1]);
    assert_eq!(v1.storage.prefix, "ex.io/widgets");
    let subresources: Vec<&str> = v1.subresources.iter().map(|s| &*s.name).collect();
    assert_eq!(subresources, ["scale", "status"]);
    assert!(beta.subresources.is_empty());
    assert!(v1.selectable_fields.find("spec.both").is_some());
    assert!(beta.selectable_fields.find("spec.both").is_none());
    assert!(definition.selectable_fields().find("spec.both").is_some());
    assert_eq!(
        beta.deprecation.as_deref(),
        Some("ex.io/v1beta1 Widget is deprecated; use ex.io/v1 Widget")
    );
    assert_eq!(v1.deprecation, None);
}

fn stored(registration: &Registration, mut object: Value) -> Value {
    let Some(Conversion::Pure { to_storage, .. }) = &registration.storage.conversion else {
        panic!("a pure conversion")
    };
    to_storage(&mut object);
    object
}

fn shown(registration: &Registration, mut object: Value) -> Value {
    let Some(Conversion::Pure { from_storage, .. }) = &registration.storage.conversion else {
        panic!("a pure conversion")
    };
    from_storage(&mut object);
    object
}

#[test]
fn versions_see_the_same_objects() {
    let all = definition(TWO).registrations();
    let (v1, beta) = (&all[0], &all[1]);
    let object = json!({"apiVersion": "ex.io/v1beta1", "spec": {"old": "a", "both": "b"}});
    let kept = stored(beta, object);
    assert_eq!(kept, json!({"apiVersion": "ex.io/v1", "spec": {"both": "b"}}));
    // Defaults apply to what was stored before they were.
    let expected = json!({"apiVersion": "ex.io/v1", "spec": {"both": "b", "n": 1}});
    assert_eq!(shown(v1, kept.clone()), expected);
    let expected = json!({"apiVersion": "ex.io/v1beta1", "spec": {"both": "b"}});
    assert_eq!(shown(beta, kept), expected);
}

#[test]
fn objects_are_pruned_defaulted_and_validated() {
    let all = definition(TWO).registrations();
    let v1 = &all[0];
    let object = json!({"apiVersion": "ex.io/v1", "kind": "Widget", "spec": {"x": 1, "both": 2}});
    let decoded = codec::decode_value(object, v1.ty(), FieldValidation::Warn).unwrap();
    assert_eq!(decoded.warnings, [r#"unknown field "spec.x""#]);
    let mut object = decoded.value;
    v1.default(&mut object);
    assert_eq!(object["spec"], json!({"both": 2, "n": 1}));
    meta::set_name(&mut object, "x");
    meta::set_namespace(&mut object, "n");
    let ctx = resources::Ctx { now: machinery::time::Timestamp::UNIX_EPOCH, user: &Value::Null };
    let errors = v1.check_create(&ctx, &object);
    let wrong = r#"spec.both: Invalid value: "integer": spec.both in body must be of type string: "integer""#;
    assert_eq!(errors.aggregate(), wrong);
    object["spec"] = json!({"n": -1});
    let errors = v1.check_create(&ctx, &object);
    assert_eq!(errors.aggregate(), ".spec.n: Invalid value: -1: should be a non-negative integer");
}

#[test]
fn versions_in_order() {
    let mut versions = ["foo10", "v1", "v1alpha1", "v10beta3", "v2", "foo1", "v11alpha2", "v10"];
    versions.sort_by_key(|version| Reverse(rank(version)));
    let expected = ["v10", "v2", "v1", "v10beta3", "v11alpha2", "v1alpha1", "foo1", "foo10"];
    assert_eq!(versions, expected);
}
