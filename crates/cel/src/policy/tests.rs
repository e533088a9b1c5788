//! Policies: what they refuse, in which words, and what is wrong with them.

use std::sync::Arc;

use machinery::field::Path;
use serde_json::{Value as Json, json};

use super::{Input, Outcome, Policy};
use crate::{Authorize, Authorizer, Decision, Request};

/// Allows only what is called `allowed`, and for service accounts everything.
struct ByName;

impl Authorize for ByName {
    fn authorize(&self, service_account: Option<&(String, String)>, request: &Request) -> Decision {
        let allowed = service_account.is_some() || request.name == "allowed";
        Decision { allowed, reason: format!("{} {}", request.verb, request.resource), error: None }
    }
}

fn evaluate(spec: &Json, object: &Json) -> (Result<bool, String>, Outcome) {
    let policy = Policy::new(spec);
    let request = json!({
        "operation": "CREATE", "name": "web", "namespace": "default",
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "userInfo": {"username": "jane", "groups": ["devs"]},
    });
    let input = Input {
        object,
        old_object: &Json::Null,
        request: &request,
        params: &json!({"max": 3}),
        namespace: &json!({"metadata": {"name": "default", "labels": {"env": "test"}}}),
        authorizer: Authorizer::new(Arc::new(ByName)),
    };
    (policy.matches(&input), policy.evaluate(&input))
}

#[track_caller]
fn check(spec: &Json, expected: &[&str]) {
    let object = json!({"metadata": {"name": "web"}, "spec": {"replicas": 5}});
    let (_, outcome) = evaluate(spec, &object);
    let messages: Vec<_> = outcome.failures.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(messages, expected);
}

#[test]
fn validations() {
    let one = |validation: Json| json!({"paramKind": {"kind": "X"}, "validations": [validation]});
    for expression in [
        "object.spec.replicas == 5",
        "oldObject == null",
        "request.operation == 'CREATE' && request.userInfo.username == 'jane'",
        "request.resource.group == 'apps' && 'devs' in request.userInfo.groups",
        "namespaceObject.metadata.labels['env'] == 'test'",
        "params.max < object.spec.replicas",
        "!authorizer.group('apps').resource('deployments').check('get').allowed()",
        "authorizer.group('apps').resource('deployments').name('allowed').check('get').allowed()",
        "authorizer.serviceAccount('default', 'bot').path('/x').check('get').allowed()",
        "authorizer.requestResource.check('use').reason() == 'use deployments'",
        "!authorizer.requestResource.check('use').errored()",
        "!has(object.status)",
    ] {
        check(&one(json!({"expression": expression})), &[]);
    }
    check(
        &one(json!({"expression": "object.spec.replicas < 5"})),
        &["failed expression: object.spec.replicas < 5"],
    );
    check(&one(json!({"expression": "false", "message": " no "})), &["no"]);
    check(
        &one(
            json!({"expression": "false", "message": "no", "messageExpression": "'got ' + string(object.spec.replicas)"}),
        ),
        &["got 5"],
    );
    // A message that cannot be computed falls back.
    check(
        &one(
            json!({"expression": "false", "message": "no", "messageExpression": "'got ' + object.spec.replicas"}),
        ),
        &["no"],
    );
    check(
        &one(json!({"expression": "object.spec.missing > 1"})),
        &["expression 'object.spec.missing > 1' resulted in error: no such key: missing"],
    );
}

#[test]
fn variables_and_annotations() {
    let spec = json!({
        "variables": [
            {"name": "replicas", "expression": "object.spec.replicas"},
            {"name": "double", "expression": "variables.replicas * 2"},
            {"name": "broken", "expression": "object.nothing"},
        ],
        "validations": [
            {"expression": "variables.double == 10"},
            {"expression": "variables.double > 10", "reason": "Forbidden"},
            {"expression": "variables.broken == 1"},
        ],
        "auditAnnotations": [
            {"key": "size", "valueExpression": "string(variables.double)"},
            {"key": "none", "valueExpression": "null"},
        ],
    });
    let (_, outcome) = evaluate(&spec, &json!({"spec": {"replicas": 5}}));
    assert_eq!(
        outcome.annotations.into_iter().collect::<Vec<_>>(),
        [("size".to_owned(), "10".to_owned())]
    );
    assert_eq!(outcome.failures.len(), 2);
    assert_eq!(outcome.failures[0].message, "failed expression: variables.double > 10");
    assert_eq!(outcome.failures[0].reason, "Forbidden");
    assert!(outcome.failures[1].error);
    assert_eq!(
        outcome.failures[1].message,
        "expression 'variables.broken == 1' resulted in error: composited variable \"broken\" fails to evaluate: no such key: nothing"
    );
}

#[test]
fn conditions() {
    let matches = |conditions: Json| {
        evaluate(&json!({"matchConditions": conditions}), &json!({"spec": {}})).0
    };
    assert_eq!(matches(json!([])), Ok(true));
    assert_eq!(matches(json!([{"name": "a", "expression": "request.name == 'web'"}])), Ok(true));
    assert_eq!(
        matches(
            json!([{"name": "a", "expression": "object.x == 1"}, {"name": "b", "expression": "false"}])
        ),
        Ok(false)
    );
    assert_eq!(
        matches(json!([{"name": "a", "expression": "object.x == 1"}])),
        Err("a: no such key: x".to_owned())
    );
}

#[test]
fn mistakes() {
    let spec = json!({
        "matchConditions": [{"name": "a", "expression": "1"}],
        "variables": [{"name": "v", "expression": "request.nothing"}],
        "validations": [
            {"expression": "variables.w"},
            {"expression": "true", "messageExpression": "1"},
            {"expression": "params.x"},
        ],
        "auditAnnotations": [{"key": "k", "valueExpression": "1"}],
    });
    let errors: Vec<String> =
        Policy::check(&spec, &Path::new("spec")).iter().map(ToString::to_string).collect();
    let expected = [
        ("spec.matchConditions[0].expression: ", "must evaluate to bool"),
        (
            "spec.variables[0].expression: ",
            "undefined field 'nothing'\n | request.nothing\n | .......^",
        ),
        ("spec.validations[0].expression: ", "undefined field 'w'\n | variables.w\n | .........^"),
        ("spec.validations[1].messageExpression: ", "must evaluate to string"),
        (
            "spec.validations[2].expression: ",
            "undeclared reference to 'params' (in container '')\n | params.x\n | ^",
        ),
        ("spec.auditAnnotations[0].valueExpression: ", "must evaluate to one of [string, null]"),
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, (start, end)) in errors.iter().zip(expected) {
        assert!(error.starts_with(start) && error.ends_with(end), "{error}");
    }
}
