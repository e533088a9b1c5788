//! Writes in a row.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::*;
use super::{Story, ty};
use crate::codec;

fn data(body: Value) -> Value {
    json!({"metadata": {"name": "m"}, "data": body})
}

#[test]
fn appliers_share_an_object() {
    Story::of("v1", "ConfigMap")
        .apply("one", data(json!({"a": "1", "b": "1"})))
        .owned(&["one Apply 1: .data.a .data.b"])
        .apply("two", data(json!({"c": "2", "b": "1"})))
        .owned(&["one Apply 1: .data.a .data.b", "two Apply 2: .data.b .data.c"])
        // What only one owned goes with it; what both own stays.
        .apply("one", data(json!({})))
        .is(data(json!({"b": "1", "c": "2"})))
        .owned(&["two Apply 2: .data.b .data.c", "one Apply 3: .data"])
        .apply("one", json!({"metadata": {"name": "m"}}))
        .owned(&["two Apply 2: .data.b .data.c"]);
}

#[test]
fn conflicts_are_told_and_forced() {
    let mut story = Story::of("v1", "ConfigMap");
    story
        .update("editor", data(json!({"a": "1", "b": "1"})))
        .owned(&["editor Update 1: .data .data.a .data.b"])
        .refused(
            "one",
            data(json!({"a": "2"})),
            "Apply failed with 1 conflict: conflict with \"editor\" using v1: .data.a",
        )
        .apply("one", data(json!({"a": "1", "b": "1", "c": "1"})))
        .owned(&["one Apply 3: .data.a .data.b .data.c", "editor Update 1: .data .data.a .data.b"])
        .refused(
            "two",
            data(json!({"a": "2", "b": "2"})),
            "Apply failed with 4 conflicts: conflicts with \"editor\" using v1:\n- .data.a\n- .data.b\n\
             conflicts with \"one\":\n- .data.a\n- .data.b",
        )
        .force("two", data(json!({"a": "2"})))
        .is(data(json!({"a": "2", "b": "1", "c": "1"})))
        .owned(&[
            "one Apply 3: .data.b .data.c",
            "two Apply 5: .data.a",
            "editor Update 1: .data .data.b",
        ]);
    let Err(Error::Conflicts(conflicts)) = story.apply_with("x", data(json!({"b": "9"})), false)
    else {
        panic!("no conflict")
    };
    let status = conflicts.to_status();
    assert_eq!((status.code, status.reason.as_str()), (409, "Conflict"));
    let causes = status.details.unwrap().causes;
    assert_eq!(causes.len(), 2);
    assert_eq!(causes[0].reason, "FieldManagerConflict");
    assert_eq!(causes[0].message, "conflict with \"one\"");
    assert_eq!(causes[0].field, ".data.b");
}

#[test]
fn nothing_new_keeps_times() {
    let body = || data(json!({"a": "1"}));
    Story::of("v1", "ConfigMap")
        .apply("one", body())
        .apply("one", body())
        .owned(&["one Apply 1: .data.a"])
        .update("editor", body())
        .owned(&["one Apply 1: .data.a"])
        // One more owner of the same: nothing has changed, so there is no time of a change.
        .apply("two", body())
        .owned(&["two Apply -: .data.a", "one Apply 1: .data.a"]);
}

#[test]
fn updates_take_over_and_remove() {
    Story::of("v1", "ConfigMap")
        .apply("one", data(json!({"a": "1", "b": "1", "c": "1"})))
        .update("editor", data(json!({"a": "2", "b": "1"})))
        .owned(&["one Apply 1: .data.b", "editor Update 2: .data.a"])
        .update("editor", data(json!({"a": "2"})))
        .owned(&["editor Update 2: .data.a"])
        .update("other", data(json!({"a": "2", "z": "1"})))
        .owned(&["editor Update 2: .data.a", "other Update 4: .data.z"]);
}

#[test]
fn lists_have_owners_by_item() {
    let pod =
        |containers: Value| json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
    let key = |name: &str| format!(".spec.containers[name=\"{name}\"]");
    let (a, b) = (key("a"), key("b"));
    Story::of("v1", "Pod")
        .apply("one", pod(json!([{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}])))
        .owned(&[&format!(
            "one Apply 1: {a} {a}.image {a}.name {a}.ports[containerPort=80,protocol=\"TCP\"] \
             {a}.ports[containerPort=80,protocol=\"TCP\"].containerPort"
        )])
        .apply("two", pod(json!([{"name": "b", "image": "y"}])))
        .is(pod(json!([
            {"name": "a", "image": "x", "ports": [{"containerPort": 80}]},
            {"name": "b", "image": "y"},
        ])))
        .apply("one", pod(json!([{"name": "a", "image": "x"}])))
        .owned(&[
            &format!("two Apply 2: {b} {b}.image {b}.name"),
            &format!("one Apply 3: {a} {a}.image {a}.name"),
        ])
        .is(pod(json!([{"name": "a", "image": "x"}, {"name": "b", "image": "y"}])))
        .apply("two", pod(json!([{"name": "a", "image": "x"}])))
        .is(pod(json!([{"name": "a", "image": "x"}])));
}

#[test]
fn sets_have_owners_by_value_and_atomic_lists_one() {
    let meta = |finalizers: Value| json!({"metadata": {"name": "m", "finalizers": finalizers}});
    Story::of("v1", "ConfigMap")
        .apply("one", meta(json!(["a/a", "a/b"])))
        .apply("two", meta(json!(["a/c"])))
        .is(meta(json!(["a/a", "a/b", "a/c"])))
        .apply("one", meta(json!(["a/b"])))
        .is(meta(json!(["a/b", "a/c"])))
        .owned(&[
            "two Apply 2: .metadata.finalizers[=\"a/c\"]",
            "one Apply 3: .metadata.finalizers[=\"a/b\"]",
        ]);
    // What is there twice is one, new or not.
    let twice = meta(json!(["a/b", "a/a", "a/b"]));
    let owner = "x Update 1: .metadata.finalizers .metadata.finalizers[=\"a/a\"] .metadata.finalizers[=\"a/b\"]";
    Story::of("v1", "ConfigMap").update("x", twice.clone()).owned(&[owner]);
    let fields = fields_of(&twice, ty("v1", "ConfigMap").into());
    assert_eq!(fields.paths().len(), 3, "{:?}", fields.paths());
    let args = |args: Value| json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "a", "args": args}]}});
    Story::of("v1", "Pod")
        .apply("one", args(json!(["x", "y"])))
        .refused(
            "two",
            args(json!(["x"])),
            "Apply failed with 1 conflict: conflict with \"one\": .spec.containers[name=\"a\"].args",
        )
        .apply("one", args(json!(["z"])))
        .is(args(json!(["z"])));
}

#[test]
fn objects_from_before_have_an_owner() {
    let mut story = Story::of("v1", "ConfigMap");
    story.keep(story.typed(data(json!({"a": "1", "b": "1"}))));
    story
        // Nobody tracks until the first apply.
        .update("editor", data(json!({"a": "1", "b": "2"})))
        .owned(&[])
        .refused(
            "one",
            data(json!({"a": "2"})),
            "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a",
        )
        .apply("one", data(json!({"a": "1"})))
        .owned(&["one Apply -: .data.a", "before-first-apply Update 3: .data .data.a .data.b"]);
}

#[test]
fn clients_may_send_managed_fields() {
    let mut story = Story::of("v1", "ConfigMap");
    story.apply("one", data(json!({"a": "1"})));
    let with = |fields: Value| json!({"metadata": {"name": "m", "managedFields": fields}, "data": {"a": "1"}});
    let mine = json!([{"manager": "me", "operation": "Update", "apiVersion": "v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {"f:a": {}}}}]);
    // What cannot be read does not count.
    for bad in [
        json!([{"manager": "me", "operation": "Read", "apiVersion": "v1", "fieldsType": "FieldsV1"}]),
        json!([{"manager": "me", "operation": "Apply", "fieldsType": "FieldsV1"}]),
        json!([{"manager": "me", "operation": "Apply", "apiVersion": "v1"}]),
    ] {
        story.update("editor", with(bad)).owned(&["one Apply 1: .data.a"]);
    }
    story
        .update("editor", with(mine.clone()))
        .owned(&["me Update -: .data.a"])
        // Through a subresource they are not looked at.
        .update_at("editor", "status", with(json!([{}])))
        .owned(&["me Update -: .data.a"])
        .update("editor", with(json!([{}])))
        .owned(&[]);
}

#[test]
fn a_part_that_is_not_written_has_no_owner_from_it() {
    let pod = |status: &str, label: &str| json!({"metadata": {"name": "p", "labels": {"l": label}}, "status": {"message": status}});
    let mut story = Story::of("v1", "Pod");
    story.reset = Reset::Except(Set::of([["status"].as_slice()]));
    story
        .update("editor", pod("a", "1"))
        .owned(&["editor Update 1: .metadata.labels .metadata.labels.l"]);
    story.reset = Reset::Except(Set::of([["spec"].as_slice()]));
    story.update_at("kubelet", "status", pod("b", "1"));
    story.reset = Reset::Except(Set::of([["status"].as_slice()]));
    story.update("editor", pod("c", "2")).owned(&[
        "kubelet/status Update 2: .status.message",
        "editor Update 3: .metadata.labels .metadata.labels.l",
    ]);
    story.refused(
        "one",
        json!({"metadata": {"name": "p", "labels": {"l": "3"}}, "status": {"message": "x"}}),
        "Apply failed with 1 conflict: conflict with \"editor\" using v1: .metadata.labels.l",
    );
    story.reset = Reset::Except(Set::of([["spec"].as_slice()]));
    let text = "Apply failed with 1 conflict: conflict with \"kubelet\" with subresource \"status\" \
                using v1: .status.message";
    story.refused("one", json!({"metadata": {"name": "p"}, "status": {"message": "x"}}), text);
}

#[test]
fn old_updates_are_merged_into_the_entry_that_there_is() {
    // All at the same second, so that the merged entry is not the first by name.
    let entry = |manager: &str, field: &str| {
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {(format!("f:{field}")): {}}}})
    };
    let mut entries: Vec<Value> =
        (10..20).map(|n| entry(&format!("a{n}"), &n.to_string())).collect();
    entries.push(entry("ancient-changes", "old"));
    let mut story = Story::of("v1", "ConfigMap");
    let all: Map<String, Value> =
        (10..20).map(|n| (n.to_string(), "v".into())).chain([("old".into(), "v".into())]).collect();
    story.update("maker", data(Value::Object(all.clone())));
    let mut live = data(Value::Object(all));
    live["metadata"]["managedFields"] = Value::Array(entries);
    story.update("nobody", live);
    let list = story.live.as_ref().unwrap()["metadata"]["managedFields"].clone();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), 10);
    let merged: Vec<&Value> =
        list.iter().filter(|entry| entry["manager"] == "ancient-changes").collect();
    assert_eq!(merged.len(), 1, "{list:?}");
    assert_eq!(merged[0]["fieldsV1"], json!({"f:data": {"f:10": {}, "f:old": {}}}));
}

#[test]
fn old_updates_are_merged() {
    let mut story = Story::of("v1", "ConfigMap");
    let mut body = serde_json::Map::new();
    for n in 0..13 {
        body.insert(format!("k{n:02}"), "x".into());
        story.update(&format!("m{n:02}"), data(Value::Object(body.clone())));
    }
    let mut expected =
        vec!["ancient-changes Update 4: .data .data.k00 .data.k01 .data.k02 .data.k03".to_owned()];
    expected.extend((4..13).map(|n| format!("m{n:02} Update {}: .data.k{n:02}", n + 1)));
    story.owned(&expected.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn what_kubectl_applied_before_is_its_own() {
    const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
    let before = r#"{"apiVersion":"v1","data":{"a":"1","b":"1"},"kind":"ConfigMap","metadata":{"name":"m"}}"#;
    let live = json!({"metadata": {"name": "m", "annotations": {ANNOTATION: before}},
        "data": {"a": "1", "b": "2"}});
    let mut story = Story::of("v1", "ConfigMap");
    story
        .update("kubectl-client-side-apply", live)
        // `b` is not any more what was applied.
        .refused(
            "kubectl",
            data(json!({"a": "9", "b": "9"})),
            "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.b",
        )
        .refused(
            "other",
            data(json!({"a": "9"})),
            "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.a",
        )
        .apply("kubectl", data(json!({"a": "9"})));
    let live = story.live.clone().unwrap();
    assert_eq!(
        live["metadata"]["annotations"][ANNOTATION],
        "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"9\"},\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"m\"}}\n"
    );
    let annotation = ".metadata.annotations .metadata.annotations.kubectl.kubernetes.io/last-applied-configuration";
    story.owned(&[
        "kubectl Apply 4: .data.a",
        &format!("kubectl-client-side-apply Update 1: .data .data.b {annotation}"),
    ]);
}

#[test]
fn what_is_applied_must_be_for_the_request() {
    let mut story = Story::of("apps/v1", "Deployment");
    let mut refused = |body: Value, text: &str| {
        let error = story.apply_with("one", body, false).unwrap_err();
        assert_eq!(error.to_string(), text);
    };
    refused(json!({"kind": "Pod"}), "invalid object type: apps/v1, Kind=Pod");
    refused(json!({"apiVersion": "v1"}), "invalid object type: /v1, Kind=Deployment");
    refused(json!({"apiVersion": null, "kind": null}), "invalid object type: /, Kind=");
    refused(json!({"metadata": {"managedFields": []}}), "metadata.managedFields must be nil");
    refused(
        json!({"metadata": {"name": "d", "namespace": "n"}, "spec": {"x": 1}}),
        "failed to create typed patch object (n/d; apps/v1, Kind=Deployment): .spec.x: field not \
         declared in schema",
    );
}

#[test]
fn replicas_have_the_owners_of_the_scale() {
    let replicas = scale::Replicas { api_version: "apps/v1", path: &["spec", "replicas"] };
    let mut story = Story::of("apps/v1", "Deployment");
    let spec = json!({"replicas": 1, "minReadySeconds": 5});
    story.apply("one", json!({"metadata": {"name": "d"}, "spec": spec}));
    let list = |story: &Story| story.live.as_ref().unwrap()["metadata"]["managedFields"].clone();
    let shown = scale::of_scale(&list(&story), replicas).unwrap();
    let object = |n: i64, fields: Option<Value>| {
        let mut scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {"name": "d", "uid": "u"}, "spec": {"replicas": n}});
        put(&mut scale, fields);
        scale
    };
    let mut new = object(3, None);
    let reset = Reset::default();
    let request = Request {
        ty: ty("autoscaling/v1", "Scale"),
        api_version: "autoscaling/v1",
        kind: "Scale",
        manager: "scaler",
        subresource: "scale",
        now: "2026-01-01T00:00:09Z",
        reset: &reset,
        versions: &super::OneVersion,
    };
    update(&request, Some(&object(1, shown.clone())), &mut new);
    let after = scale::of_parent(&list(&story), &take(&mut new), replicas).unwrap();
    put(story.live.as_mut().unwrap(), after);
    story.owned(&["one Apply 1: .spec.minReadySeconds", "scaler/scale Update -: .spec.replicas"]);
    // Nobody has taken it: entries stay.
    let same = scale::of_parent(
        &list(&story),
        &scale::of_scale(&list(&story), replicas).unwrap().unwrap(),
        replicas,
    );
    assert_eq!(same.unwrap().unwrap(), list(&story));
}

/// Objects with something of every sort of list and map.
fn pod() -> impl Strategy<Value = Value> {
    let labels = prop::option::of(prop::collection::btree_map("[a-c]", "[xy]?", 0..3));
    let ports = prop::collection::btree_set((80..83u16, prop::bool::ANY), 0..3).prop_map(|ports| {
        ports
            .into_iter()
            .map(|(port, udp)| {
                if udp {
                    json!({"containerPort": port, "protocol": "UDP"})
                } else {
                    json!({"containerPort": port})
                }
            })
            .collect::<Vec<_>>()
    });
    let container =
        (prop::option::of(ports), prop::option::of("[xy]"), prop::option::of(Just(json!(["a"]))));
    let containers = prop::collection::btree_map("[a-c]", container, 0..3).prop_map(|containers| {
        containers
            .into_iter()
            .map(|(name, (ports, image, args))| {
                let mut container = json!({"name": name});
                for (field, value) in [
                    ("ports", ports.map(Value::from)),
                    ("image", image.map(Value::from)),
                    ("args", args),
                ] {
                    if let Some(value) = value {
                        container[field] = value;
                    }
                }
                container
            })
            .collect::<Vec<_>>()
    });
    let host = prop::option::of("[hi]");
    (labels, containers, host).prop_map(|(labels, containers, host)| {
        let mut object = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
        if let Some(labels) = labels {
            object["metadata"]["labels"] = json!(labels);
        }
        if let Some(host) = host {
            object["spec"]["hostname"] = host.into();
            object["spec"]["securityContext"] = json!({});
        }
        object
    })
}

/// What is removed may leave nothing behind, or an empty list.
fn without_empty(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, without_empty(value)));
            Value::Object(
                members.filter(|(_, value)| *value != json!({}) && !value.is_null()).collect(),
            )
        }
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Array(items) => items.into_iter().map(without_empty).collect(),
        other => other,
    }
}

proptest! {
    #[test]
    fn applying_again_changes_nothing(a in pod(), b in pod(), c in pod()) {
        let mut story = Story::of("v1", "Pod");
        story.update("editor", a).force("other", b).force("one", c.clone());
        let once = story.live.clone();
        story.apply("one", c);
        prop_assert_eq!(&story.live, &once);
    }

    #[test]
    fn what_is_no_longer_applied_is_gone(a in pod(), b in pod()) {
        let mut story = Story::of("v1", "Pod");
        story.apply("one", a).apply("one", b.clone());
        let mut fresh = Story::of("v1", "Pod");
        fresh.apply("one", b);
        let fields = |story: &Story| {
            let mut live = story.live.clone().unwrap();
            take(&mut live);
            fields_of(&without_empty(live), ty("v1", "Pod").into()).leaves()
        };
        prop_assert_eq!(fields(&story), fields(&fresh));
    }

    #[test]
    fn new_objects_are_owned_as_by_comparison(body in pod()) {
        let story = Story::of("v1", "Pod");
        let mut object = story.typed(body);
        codec::normalize(&mut object, ty("v1", "Pod")).unwrap();
        let mut empty = story.typed(json!({}));
        codec::normalize(&mut empty, ty("v1", "Pod")).unwrap();
        let untracked = Set::of([
            ["metadata", "name"].as_slice(), &["metadata"], &["apiVersion"], &["kind"],
        ]);
        let ignored = Set::of([["spec", "hostname"].as_slice()]);
        let direct = create::fields(&object, ty("v1", "Pod"), &untracked, &ignored);
        let set = compare(&empty, &object, ty("v1", "Pod").into()).changed();
        let set = set.recursive_difference(&ignored).difference(&untracked);
        prop_assert_eq!(direct.unwrap_or_else(|| json!({})).to_string(), encode_fields(&set).to_string());
    }
}
