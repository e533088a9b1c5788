//! Policies: what they refuse, in which words, and what is wrong with them.

use std::sync::Arc;

use machinery::field::{ErrorList, Path};
use serde_json::{Value as Json, json};

use super::{
    Change, Input, Judgement, Mutating, Outcome, Subject, Validating, expression_warnings,
};
use crate::{Authorize, Authorizer, Decision, Decl, Request};

/// Allows only what is called `allowed`, and for service accounts everything.
struct ByName;

impl Authorize for ByName {
    fn authorize(&self, service_account: Option<&(String, String)>, request: &Request) -> Decision {
        let allowed = service_account.is_some() || request.name == "allowed";
        Decision { allowed, reason: format!("{} {}", request.verb, request.resource), error: None }
    }
}

fn asked<T>(object: &Json, ask: impl FnOnce(&Input<'_>) -> T) -> T {
    let request = json!({
        "operation": "CREATE", "name": "web", "namespace": "default",
        "resource": {"group": "apps", "version": "v1", "resource": "deployments"},
        "requestResource": {"group": "apps", "version": "v1beta2", "resource": "deployments"},
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
    ask(&input)
}

fn evaluate(spec: &Json, object: &Json) -> (Judgement, Outcome) {
    let policy = Validating::new(spec);
    asked(object, |input| (policy.conditions.judge(input), policy.evaluate(input)))
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
    assert_eq!(outcome.annotations, [("size".to_owned(), "10".to_owned())]);
    assert_eq!(outcome.failures.len(), 2);
    assert_eq!((outcome.failures[0].index, outcome.failures[1].index), (1, 2));
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
        let spec = json!({"paramKind": {"kind": "X"}, "matchConditions": conditions});
        evaluate(&spec, &json!({"spec": {}})).0
    };
    let unknown = "expression 'object.x == 1' resulted in error: no such key: x";
    assert_eq!(matches(json!([])), Judgement::Hold);
    assert_eq!(
        matches(json!([{"name": "a", "expression": "request.name == 'web' && params.max == 3"}])),
        Judgement::Hold
    );
    assert_eq!(
        matches(
            json!([{"name": "a", "expression": "object.x == 1"}, {"name": "b", "expression": "false"}])
        ),
        Judgement::Fail
    );
    assert_eq!(
        matches(json!([{"name": "a", "expression": "object.x == 1"}])),
        Judgement::Unknown(unknown.to_owned())
    );
    assert_eq!(
        matches(
            json!([{"name": "a", "expression": "object.x == 1"}, {"name": "b", "expression": "object.x == 1"}])
        ),
        Judgement::Unknown(format!("[{unknown}, {unknown}]"))
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
    let (path, mut errors) = (Path::new("spec"), ErrorList::new());
    let policy = Validating::new(&spec);
    policy.conditions.check(&path.child("matchConditions"), &mut errors);
    policy.check(&path, &mut errors);
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        ("spec.matchConditions[0].expression: ", "must evaluate to bool but got int"),
        (
            "spec.variables[0].expression: ",
            "undefined field 'nothing'\n | request.nothing\n | .......^",
        ),
        ("spec.validations[0].expression: ", "undefined field 'w'\n | variables.w\n | .........^"),
        ("spec.validations[1].messageExpression: ", "must evaluate to string but got int"),
        (
            "spec.validations[2].expression: ",
            "undeclared reference to 'params' (in container '')\n | params.x\n | ^",
        ),
        (
            "spec.auditAnnotations[0].valueExpression: ",
            "must evaluate to one of [string null_type] but got int",
        ),
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, (start, end)) in errors.iter().zip(expected) {
        assert!(error.starts_with(start) && error.ends_with(end), "{error}");
    }
}

#[test]
fn budgets_end_policies() {
    let costly = "lists.range(1000).all(x, lists.range(100).all(y, x >= 0 && y >= 0))";
    let validations: Vec<Json> = (0..40).map(|_| json!({"expression": costly})).collect();
    let mut spec = json!({"validations": [{"expression": "false"}]});
    if let Some(all) = spec["validations"].as_array_mut() {
        all.extend(validations);
    }
    let (_, outcome) = evaluate(&spec, &json!({}));
    assert_eq!(outcome.failures.len(), 1, "{outcome:?}");
    assert!(outcome.failures[0].error);
    assert_eq!(
        outcome.failures[0].message,
        "validation failed due to running out of cost budget, no further validation rules will be run"
    );
    let one = "lists.range(3000).all(x, lists.range(300).all(y, true))";
    let (_, outcome) = evaluate(&json!({"validations": [{"expression": one}]}), &json!({}));
    let end = "resulted in error: operation cancelled: actual cost limit exceeded";
    assert!(outcome.failures[0].message.ends_with(end), "{outcome:?}");
}

/// What each mutation of a policy with these does to a Deployment of two replicas.
fn changes(mutations: Json) -> Vec<Result<Change, String>> {
    let variables = json!([{"name": "wanted", "expression": "object.spec.replicas + 1"}]);
    let policy = Mutating::new(&json!({"variables": variables, "mutations": mutations}));
    let object = json!({"metadata": {"name": "web"}, "spec": {"replicas": 2}});
    asked(&object, |input| (0..policy.len()).map(|at| policy.evaluate(at, input)).collect())
}

#[test]
fn configurations() {
    let check = |expression: &str, expected: Result<Json, &str>| {
        let mutation = json!({"patchType": "ApplyConfiguration",
            "applyConfiguration": {"expression": expression}});
        let expected = expected.map(Change::Apply).map_err(str::to_owned);
        assert_eq!(changes(json!([mutation])), [expected], "{expression}");
    };
    check("Object{}", Ok(json!({})));
    check(
        "Object{spec: Object.spec{replicas: variables.wanted, template: Object.spec.template{
            metadata: Object.spec.template.metadata{labels: {'a': 'b'}},
            spec: Object.spec.template.spec{containers: [Object.spec.template.spec.containers{name: 'x'}]}}}}",
        Ok(json!({"spec": {"replicas": 3, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "x"}]}}}})),
    );
    check(
        "Object{spec: Object.spec{?paused: optional.none(), ?replicas: optional.of(7)}}",
        Ok(json!({"spec": {"replicas": 7}})),
    );
    check(
        "object.spec.replicas % 2 == 0 ? Object{spec: Object.spec{replicas: 1}} : Object{}",
        Ok(json!({"spec": {"replicas": 1}})),
    );
    check(
        "Object{spec: Object.specx{replicas: 1}}",
        Err(
            "type mismatch: unexpected type name \"Object.specx\", expected \"Object.spec\", which matches field name path from root Object type",
        ),
    );
    check("\"I'm a teapot!\"", Err("compilation error: must evaluate to Object but got string"));
    check(
        "Object.spec.metadata{}",
        Err("compilation error: must evaluate to Object but got Object.spec.metadata"),
    );
}

#[test]
fn patches() {
    let check = |expression: &str, expected: Result<Json, &str>| {
        let mutation = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
        let expected = expected.map(Change::Patch).map_err(str::to_owned);
        assert_eq!(changes(json!([mutation])), [expected], "{expression}");
    };
    check(
        "[JSONPatch{op: 'test', path: '/spec/replicas', value: 2},
          JSONPatch{op: 'copy', from: '/a', path: '/metadata/labels/' + jsonpatch.escapeKey('k8s.io/x~y')},
          JSONPatch{op: 'add', path: '/spec/c/-', value: Object.spec.c{name: 'x', ports: [Object.spec.c.ports{p: 1}]}}]",
        Ok(json!([
            {"op": "test", "path": "/spec/replicas", "value": 2},
            {"op": "copy", "path": "/metadata/labels/k8s.io~1x~0y", "from": "/a"},
            {"op": "add", "path": "/spec/c/-", "value": {"name": "x", "ports": [{"p": 1}]}}])),
    );
    check(
        "[JSONPatch{op: 'add', path: '/x', value: {
            'op': JSONPatch{op: 'o'}.op, 'value': string(JSONPatch{value: 'v'}.value),
            'unset': JSONPatch{}.from, 'has': string(has(JSONPatch{path: 'p'}.path)),
            'has-not': string(has(JSONPatch{}.path)), 'field': Object{field: 'f'}.field,
            'same': string(JSONPatch{op: 'a', value: 1} == JSONPatch{op: 'a', value: 1}),
            'other': string(Object{field: 'x'} == Object{field: 'y'})}}]",
        Ok(json!([{"op": "add", "path": "/x", "value": {
            "op": "o", "value": "v", "unset": "", "has": "true", "has-not": "false", "field": "f",
            "same": "true", "other": "false"}}])),
    );
    check(
        "object.x ? [JSONPatch{op: 'remove', path: '/x'}] : []",
        Err(
            "expression 'object.x ? [JSONPatch{op: 'remove', path: '/x'}] : []' resulted in error: no such key: x",
        ),
    );
    check("[]", Err("compilation error: must evaluate to list(JSONPatch) but got list(dyn)"));
    check(
        "[JSONPatch{op: 'add', path: '/x', value: Object.a{b: Object.a.c{}}}]",
        Err(
            "type mismatch: unexpected type name \"Object.a.c\", expected \"Object.a.b\", which matches field name path from root Object type",
        ),
    );
    check(
        "[JSONPatch{op: object.spec.replicas}]",
        Err(
            "expression '[JSONPatch{op: object.spec.replicas}]' resulted in error: unexpected type int for JSONPatchType 'op' field",
        ),
    );
    check(
        "[JSONPatch{value: quantity('1')}]",
        Err(
            "JSONPath valueExpression evaluated to a type that could not marshal to JSON: kubernetes.Quantity",
        ),
    );
}

#[test]
fn mistakes_in_mutations() {
    let mutation = |expression: &str| json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}});
    let spec = json!({"mutations": [
        mutation("[JSONPatch{op: 1}]"), mutation("[JSONPatch{verb: 'x'}]"), mutation("[Patch{}]"),
        mutation("[request{}]"), mutation("[JSONPatch{op: 'x',}]"), mutation(" "),
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "variables.x"}},
    ]});
    let mut errors = ErrorList::new();
    Mutating::new(&spec).check(&Path::new("spec"), &mut errors);
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        "expected type of field 'op' is 'string' but provided type is 'int'\n | [JSONPatch{op: 1}]\n | .............^",
        "undefined field 'verb'\n | [JSONPatch{verb: 'x'}]\n | ...............^",
        "undeclared reference to 'Patch' (in container '')\n | [Patch{}]\n | ......^",
        "'kubernetes.AdmissionRequest' is not a type\n | [request{}]\n | ........^",
        "undeclared reference to 'variables' (in container '')\n | variables.x\n | ^",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.ends_with(expected), "{error}");
    }
    assert!(errors[0].starts_with("spec.mutations[0].jsonPatch.expression: Invalid value:"));
    // Nothing of it is there for other expressions.
    for text in ["Object{} == null", "jsonpatch.escapeKey('a') == 'a'"] {
        let mut errors = ErrorList::new();
        let spec = json!({"validations": [{"expression": text}]});
        Validating::new(&spec).check(&Path::new("spec"), &mut errors);
        assert_eq!(errors.len(), 1, "{text}");
    }
}

#[test]
fn expressions_against_types() {
    let decl = |properties: Json| {
        let schema = json!({"type": "object", "properties": properties});
        Decl::of_schema(&schema, true, "Thing")
    };
    let text = json!({"type": "string"});
    let subjects = [
        Subject { name: "a/v1, Kind=A".to_owned(), decl: decl(json!({"foo": text})) },
        Subject { name: "/v1, Kind=B".to_owned(), decl: decl(json!({"bar": {"type": "integer"}})) },
        Subject { name: "c/v1, Kind=C".to_owned(), decl: None },
    ];
    let params = Subject { name: String::new(), decl: decl(json!({"max": text})) };
    let check = |validation: Json, expected: &[(&str, &str)]| {
        let spec = json!({"validations": [validation], "variables": [
            {"name": "name", "expression": "object.metadata.name"}]});
        let found = expression_warnings(&spec, &subjects, Some(&params));
        let found: Vec<(&str, &str)> =
            found.iter().map(|w| (w.field_ref.as_str(), w.warning.as_str())).collect();
        assert_eq!(found, expected);
    };
    check(json!({"expression": "object.kind == 'A' && variables.name != params.max"}), &[]);
    check(
        json!({"expression": "object.foo == 'x'", "messageExpression": "object.bar + 1"}),
        &[
            (
                "spec.validations[0].expression",
                "/v1, Kind=B: ERROR: <input>:1:7: undefined field 'foo'\n | object.foo == 'x'\n | ......^\n",
            ),
            (
                "spec.validations[0].messageExpression",
                "a/v1, Kind=A: ERROR: <input>:1:7: undefined field 'bar'\n | object.bar + 1\n | ......^\n",
            ),
        ],
    );
    check(
        json!({"expression": "variables.name > 5"}),
        &[(
            "spec.validations[0].expression",
            "a/v1, Kind=A: ERROR: <input>:1:16: found no matching overload for '_>_' applied to '(string, int)'\n | variables.name > 5\n | ...............^\n\n/v1, Kind=B: ERROR: <input>:1:16: found no matching overload for '_>_' applied to '(string, int)'\n | variables.name > 5\n | ...............^\n",
        )],
    );
    let spec = json!({"validations": [{"expression": "params.x == 1"}]});
    let found = expression_warnings(&spec, &subjects[..1], None);
    assert!(found[0].warning.contains("undeclared reference to 'params'"), "{found:?}");
}
