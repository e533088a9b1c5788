use serde_json::json;

use super::plan::rules;
use super::*;

fn policy(spec: &Value, generation: i64, seen: Option<i64>) -> ValidatingAdmissionPolicy {
    serde_json::from_value(json!({
        "metadata": {"name": "p", "generation": generation}, "spec": spec,
        "status": {"observedGeneration": seen},
    }))
    .unwrap()
}

#[test]
fn resources_that_are_looked_at() {
    let check = |rule: Value, expected: &[&str]| {
        let spec = json!({"matchConstraints": {"resourceRules": [rule]}});
        let found: Vec<String> = rules(&spec)[0].iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    };
    check(
        json!({"apiGroups": ["b", "a"], "apiVersions": ["v1"], "resources": ["y", "x", "x/status", "*/scale"]}),
        &["a/v1, Resource=x", "a/v1, Resource=y", "b/v1, Resource=x", "b/v1, Resource=y"],
    );
    check(json!({"apiGroups": ["a", "*"], "apiVersions": ["v1"], "resources": ["x"]}), &[]);
    check(json!({"apiGroups": ["a"], "apiVersions": ["*"], "resources": ["x"]}), &[]);
}

#[test]
fn what_does_not_fit_is_told_once() {
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "validations": [
            {"expression": "object.replicas > 1"},
            {"expression": "object.spec.replicas > 1", "messageExpression": "params.name"},
            {"expression": "object.spec.max == 1 && object.spec.memory == '1'"},
        ],
    });
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "replicas": {"type": "integer"},
        "max": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
        "memory": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    }}}});
    let types = Types {
        subjects: vec![(GroupVersionKind::new("apps", "v1", "Deployment"), schema)],
        params: Some(json!({"type": "object"})),
    };
    let policy = policy(&spec, 2, Some(1));
    assert!(plan::is_new(&policy));
    let applied = plan(&policy, &spec, &types);
    assert_eq!(
        applied["status"],
        json!({
            "observedGeneration": 2,
            "typeChecking": {"expressionWarnings": [
                {
                    "fieldRef": "spec.validations[0].expression",
                    "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n | object.replicas > 1\n | ......^\n",
                },
                {
                    "fieldRef": "spec.validations[1].messageExpression",
                    "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'name'\n | params.name\n | ......^\n",
                },
            ]},
        })
    );
    let mut done = policy;
    done.status = serde_json::from_value(applied["status"].clone()).unwrap();
    assert!(!plan::is_new(&done));
}

#[test]
fn a_policy_without_faults_has_an_empty_list() {
    let spec = json!({"validations": [{"expression": "object.anything"}]});
    let applied = plan(&policy(&spec, 1, None), &spec, &Types::default());
    assert_eq!(applied["status"]["typeChecking"], json!({"expressionWarnings": []}));
}
