use super::*;
use crate::schema;
use serde_json::json;

fn patched(group: &str, kind: &str, object: Value, patch: Value) -> Result<Value, Error> {
    let ty = schema::builtin().kind(group, "v1", kind).unwrap();
    let mut object = object;
    apply(&mut object, &patch, ty)?;
    Ok(object)
}

fn check(object: Value, patch: Value, expected: Value) {
    assert_eq!(patched("", "Pod", object, patch).unwrap(), expected);
}

#[test]
fn lists_of_maps_merge_by_key() {
    check(
        json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b"}]}}),
        json!({"spec": {"containers": [{"name": "c"}, {"name": "a", "image": "y"}]}}),
        json!({"spec": {"containers": [{"name": "a", "image": "y"}, {"name": "b"}, {"name": "c"}]}}),
    );
    check(
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
        json!({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}}),
        json!({"spec": {"containers": [{"name": "b"}]}}),
    );
    check(
        json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}}),
        json!({"spec": {"containers": [{"name": "c"}, {"$patch": "replace"}]}}),
        json!({"spec": {"containers": [{"name": "c"}]}}),
    );
    check(
        json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}}),
        json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 81}]}]}}),
        json!({"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}, {"containerPort": 81}]}]}}),
    );
}

#[test]
fn atomic_lists_and_nulls() {
    check(
        json!({"spec": {"containers": [{"name": "a", "args": ["1"], "image": "x"}]}}),
        json!({"spec": {"containers": [{"name": "a", "args": ["2"], "image": null}]}}),
        json!({"spec": {"containers": [{"name": "a", "args": ["2"]}]}}),
    );
    check(
        json!({"metadata": {"labels": {"a": "b", "c": "d"}}}),
        json!({"metadata": {"labels": {"a": null, "e": "f"}, "annotations": {"x": null}}}),
        json!({"metadata": {"labels": {"c": "d", "e": "f"}, "annotations": {}}}),
    );
}

#[test]
fn scalars_as_sets() {
    check(
        json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["d", "a"]}}),
        json!({"metadata": {"finalizers": ["a", "c", "d"]}}),
    );
    check(
        json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        json!({"metadata": {"$setElementOrder/finalizers": ["d", "a"], "finalizers": ["d"]}}),
        json!({"metadata": {"finalizers": ["d", "a", "b", "c"]}}),
    );
}

#[test]
fn element_order() {
    check(
        json!({"spec": {"containers": [{"name": "a"}, {"name": "s"}, {"name": "b"}]}}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}, {"name": "n"}],
            "containers": [{"name": "n"}]}}),
        json!({"spec": {"containers": [{"name": "s"}, {"name": "b"}, {"name": "a"}, {"name": "n"}]}}),
    );
    let error = patched(
        "",
        "Pod",
        json!({"spec": {"containers": []}}),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "n"}]}}),
    );
    assert!(error.unwrap_err().to_string().starts_with("The order in patch list:"));
}

#[test]
fn directives_on_maps() {
    let strategy =
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let expected = json!({"spec": {"strategy": {"type": "Recreate"}}});
    assert_eq!(patched("apps", "Deployment", strategy, patch).unwrap(), expected);
    check(
        json!({"metadata": {"labels": {"a": "b"}}}),
        json!({"metadata": {"labels": {"$patch": "replace", "c": "d"}}}),
        json!({"metadata": {"labels": {"c": "d"}}}),
    );
    check(
        json!({"spec": {"securityContext": {"runAsUser": 1}}}),
        json!({"spec": {"securityContext": {"$patch": "delete"}}}),
        json!({"spec": {"securityContext": {}}}),
    );
}

#[test]
fn errors() {
    let fails = |patch: Value, expected: &str| {
        let object = json!({"spec": {"containers": [{"name": "a"}]}});
        let error = patched("", "Pod", object, patch).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    fails(
        json!({"spec": {"containers": [{"image": "x"}]}}),
        "does not contain declared merge key: name",
    );
    fails(json!({"spec": {"$patch": "burn"}}), "unknown patch type 'burn' in map");
    fails(json!({"spec": {"$retainKeys": 1}}), "invalid patch format of retainKeys");
}
