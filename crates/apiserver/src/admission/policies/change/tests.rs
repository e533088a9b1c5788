use machinery::{Value, schema};
use serde_json::json;

use super::merged;

/// A Deployment with a template of this Pod spec.
fn deployment(pod: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1,
        "template": {"spec": pod}}})
}

#[track_caller]
fn check(pod: Value, configuration: Value, expected: Result<Value, &str>) {
    let ty = schema::builtin().kind("apps", "v1", "Deployment").unwrap();
    let found = merged(&deployment(pod), configuration, ty.into());
    let found = found.map(|object| object["spec"].clone());
    assert_eq!(found, expected.map_err(str::to_owned));
}

fn template(pod: Value) -> Value {
    json!({"spec": {"template": {"spec": pod}}})
}

#[test]
fn lists_merge_by_their_keys() {
    check(
        json!({"volumes": [{"name": "x"}, {"name": "y"}]}),
        template(json!({"volumes": [{"name": "y", "hostPath": {"path": "a"}}, {"name": "z"}]})),
        Ok(json!({"replicas": 1, "template": {"spec": {"volumes": [
            {"name": "x"}, {"name": "y", "hostPath": {"path": "a"}}, {"name": "z"}]}}})),
    );
    // What is there twice is left alone, unless the configuration says it.
    let twice = json!({"containers": [{"name": "c", "env": [
        {"name": "e", "value": "a"}, {"name": "e", "value": "b"}, {"name": "f", "value": "c"}]}]});
    check(
        twice.clone(),
        json!({"spec": {"replicas": 3}}),
        Ok(json!({"replicas": 3, "template": {"spec": twice}})),
    );
    check(
        twice,
        template(json!({"containers": [{"name": "c", "env": [{"name": "e", "value": "x"}]}]})),
        Ok(json!({"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "env": [
            {"name": "e", "value": "x"}, {"name": "f", "value": "c"}]}]}}})),
    );
}

#[test]
fn what_does_not_fit() {
    check(
        json!({}),
        json!({"spec": {"selector": {"matchLabels": {"l": "v"}}}}),
        Err(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.selector",
        ),
    );
    check(
        json!({}),
        json!({"spec": {"replicasx": 1}}),
        Err(
            "error applying patch: failed to convert patch object to typed object: .spec.replicasx: field not declared in schema",
        ),
    );
    check(
        json!({}),
        template(json!({"tolerations": [{"key": "a"}], "containers": [{"name": "c", "args": []}]})),
        Err(
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.tolerations, .spec.template.spec.containers[0].args",
        ),
    );
}
