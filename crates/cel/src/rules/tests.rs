//! Rules of schemas: what is refused, what holds, what a change may do.

use machinery::Value as Json;
use machinery::field::{ErrorList, Path};
use serde_json::json;

use super::{Budget, Rules};

fn path() -> Path {
    Path::new("openAPIV3Schema")
}

fn lines(errors: &ErrorList) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// A schema of a whole object whose `spec` is this.
fn with_spec(spec: Json) -> Json {
    json!({"type": "object", "properties": {"spec": spec}})
}

#[track_caller]
fn refused(schema: &Json, expected: &[&str]) {
    let errors = Rules::compile(schema, &path()).expect_err("the rules are wrong");
    let lines = lines(&errors);
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.contains(expected), "{line}\ndoes not hold\n{expected}");
    }
}

#[track_caller]
fn check(schema: &Json, new: &Json, old: Option<&Json>, expected: &[&str]) -> Vec<String> {
    let rules = Rules::compile(schema, &path()).unwrap_or_else(|e| panic!("{:#?}", lines(&e)));
    let mut budget = Budget::new();
    let errors = rules.validate(&Path::root(), new, old, &mut budget);
    assert_eq!(lines(&errors), expected);
    budget.warnings
}

#[test]
fn mistakes_in_rules() {
    let rule = |rule: Json| {
        with_spec(json!({
            "type": "object",
            "properties": {"a": {"type": "string"}, "n": {"type": "integer"}},
            "x-kubernetes-validations": [rule],
        }))
    };
    let at = "openAPIV3Schema.properties[spec].x-kubernetes-validations[0]";
    let expect = |json: Json, field: &str, detail: &str| {
        let errors = Rules::compile(&rule(json), &path()).expect_err(detail);
        let line = errors.first().expect("an error").to_string();
        assert!(line.starts_with(&format!("{at}.{field}: ")), "{line}");
        assert!(line.ends_with(detail), "{line}\n{detail}");
    };
    expect(
        json!({"rule": "self.foo"}),
        "rule",
        "compilation failed: ERROR: <input>:1:5: undefined field 'foo'\n | self.foo\n | ....^",
    );
    expect(json!({"rule": "self.a"}), "rule", "cel expression must evaluate to a bool");
    expect(json!({"rule": " "}), "rule", "Required value: rule is not specified");
    expect(
        json!({"rule": "true", "message": " "}),
        "message",
        "message must be non-empty if specified",
    );
    expect(
        json!({"rule": "true", "message": "a\nb"}),
        "message",
        "message must not contain line breaks",
    );
    expect(
        json!({"rule": "true", "optionalOldSelf": false}),
        "optionalOldSelf",
        "may not be set if oldSelf is not used in rule",
    );
    expect(
        json!({"rule": "true &&\ntrue"}),
        "message",
        "message must be specified if rule contains line breaks",
    );
    expect(
        json!({"rule": "true", "messageExpression": " "}),
        "messageExpression",
        "messageExpression must be non-empty if specified",
    );
    expect(
        json!({"rule": "true", "messageExpression": "1"}),
        "messageExpression",
        "messageExpression must evaluate to a string",
    );
    expect(
        json!({"rule": "true", "messageExpression": "self.b"}),
        "messageExpression",
        "undefined field 'b'\n | self.b\n | ....^",
    );
    expect(
        json!({"rule": "true", "reason": "Bad"}),
        "reason",
        "supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
    );
    expect(
        json!({"rule": "true", "fieldPath": ".b"}),
        "fieldPath",
        "fieldPath must be a valid path",
    );
    expect(
        json!({"rule": "true", "fieldPath": "a"}),
        "fieldPath",
        "fieldPath must be a valid path",
    );
    expect(
        json!({"rule": "true", "fieldPath": ".a\n"}),
        "fieldPath",
        "fieldPath must not contain line breaks",
    );
}

#[test]
fn costs_are_limited() {
    let nested = json!({
        "type": "array", "items": {"type": "array", "items": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "self.all(x, x.all(y, self.all(z, y in z)))"}],
    });
    refused(
        &with_spec(nested.clone()),
        &[
            "openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)",
            "openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
            "openAPIV3Schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x",
        ],
    );
    let stored = Rules::compile_stored(&with_spec(nested));
    let errors = stored.validate(&Path::root(), &json!({"spec": []}), None, &mut Budget::new());
    assert!(errors.is_empty(), "whatever it could cost: {errors:?}");
    let limited = json!({
        "type": "array", "maxItems": 10,
        "items": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10}},
        "x-kubernetes-validations": [{"rule": "self.all(x, x.all(y, self.all(z, y in z)))"}],
    });
    Rules::compile(&with_spec(limited), &path()).expect("small enough");
    // A rule on items costs once for each item there can be.
    let items = |most: Json| {
        let mut list = json!({
            "type": "array",
            "items": {
                "type": "string", "maxLength": 1000,
                "x-kubernetes-validations": [{"rule": "self.contains('a') || self.contains('b')"}],
            },
        });
        list["maxItems"] = most;
        with_spec(list)
    };
    Rules::compile(&items(json!(100)), &path()).expect("few items");
    refused(&items(json!(100_000)), &["estimated rule cost exceeds budget by factor of 8.0x"; 1]);
}

#[test]
fn old_values_need_a_counterpart() {
    let list = |kind: &str| {
        with_spec(json!({
            "type": "array", "maxItems": 5,
            "x-kubernetes-list-type": kind, "x-kubernetes-list-map-keys": ["k"],
            "items": {
                "type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
                "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v"}],
            },
        }))
    };
    let detail = "Invalid value: \"self.v >= oldSelf.v\": oldSelf cannot be used on the uncorrelatable portion of the schema within openAPIV3Schema.properties[spec]";
    refused(&list("atomic"), &[detail]);
    refused(&list("set"), &[detail]);
    let schema = list("map");
    let old = json!({"spec": [{"k": "a", "v": 5}, {"k": "b", "v": 1}]});
    check(&schema, &json!({"spec": [{"k": "b", "v": 2}, {"k": "c", "v": 0}]}), Some(&old), &[]);
    check(
        &schema,
        &json!({"spec": [{"k": "b", "v": 2}, {"k": "a", "v": 4}]}),
        Some(&old),
        &["spec[1]: Invalid value: \"object\": failed rule: self.v >= oldSelf.v"],
    );
    let atomic = with_spec(json!({
        "type": "object", "x-kubernetes-map-type": "atomic",
        "properties": {"v": {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}},
    }));
    refused(&atomic, &["oldSelf cannot be used on the uncorrelatable portion"]);
}

#[test]
fn rules_hold_or_say_so() {
    let schema = with_spec(json!({
        "type": "object",
        "properties": {
            "min": {"type": "integer"}, "max": {"type": "integer"},
            "port": {"x-kubernetes-int-or-string": true},
            "name": {"type": "string", "x-kubernetes-validations": [
                {"rule": "self.startsWith('a')", "message": " must start with a "}]},
            "labels": {"type": "object", "additionalProperties": {
                "type": "string", "maxLength": 9,
                "x-kubernetes-validations": [{"rule": "self != ''"}]}},
        },
        "x-kubernetes-validations": [
            {"rule": "!has(self.min) || !has(self.max) || self.min <= self.max",
             "messageExpression": "'%d is more than %d'.format([self.min, self.max])",
             "fieldPath": ".min", "reason": "FieldValueForbidden"},
            {"rule": "!has(self.port) || (type(self.port) == int ? self.port > 0 : self.port.contains('%'))"},
        ],
    }));
    check(&schema, &json!({"spec": {"min": 1, "max": 2, "port": "5%", "name": "ab"}}), None, &[]);
    check(&schema, &json!({"spec": {}}), None, &[]);
    check(&schema, &json!({"spec": null}), None, &[]);
    check(&schema, &json!({}), None, &[]);
    check(
        &schema,
        &json!({"spec": {"min": 3, "max": 2, "port": -1, "name": "b", "labels": {"x": "", "y": "z"}}}),
        None,
        &[
            "spec.min: Forbidden: 3 is more than 2",
            "spec: Invalid value: \"object\": failed rule: !has(self.port) || (type(self.port) == int ? self.port > 0 : self.port.contains('%'))",
            "spec.name: Invalid value: \"string\": must start with a",
            "spec.labels[x]: Invalid value: \"string\": failed rule: self != ''",
        ],
    );
    let failing = with_spec(json!({
        "type": "object",
        "properties": {"a": {"type": "integer"}, "p": {"x-kubernetes-int-or-string": true}},
        "x-kubernetes-validations": [{"rule": "self.a > 0"}, {"rule": "self.p.startsWith('x')"}],
    }));
    check(
        &failing,
        &json!({"spec": {"p": 5}}),
        None,
        &[
            "spec: Invalid value: \"object\": no such key: a evaluating rule: self.a > 0",
            "spec: Invalid value: \"object\": 'no such overload: startsWith': call arguments did not match a supported operator, function or macro signature for rule: self.p.startsWith('x')",
        ],
    );
}

#[test]
fn changes() {
    let schema = with_spec(json!({
        "type": "object",
        "properties": {
            "fixed": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "is immutable"}]},
            "seen": {"type": "string", "x-kubernetes-validations": [
                {"rule": "oldSelf.hasValue() || self == 'first'", "optionalOldSelf": true}]},
            "short": {"type": "string", "x-kubernetes-validations": [{"rule": "self.size() < 3"}]},
        },
    }));
    let old = json!({"spec": {"fixed": "a", "short": "too long"}});
    // Without an old value rules about changes are left out, unless they ask for it.
    check(&schema, &json!({"spec": {"fixed": "b"}}), None, &[]);
    check(
        &schema,
        &json!({"spec": {"seen": "other"}}),
        None,
        &[
            "spec.seen: Invalid value: \"string\": failed rule: oldSelf.hasValue() || self == 'first'",
        ],
    );
    check(&schema, &json!({"spec": {"seen": "first"}}), None, &[]);
    check(
        &schema,
        &json!({"spec": {"fixed": "b"}}),
        Some(&old),
        &["spec.fixed: Invalid value: \"string\": is immutable"],
    );
    // What did not change may stay wrong, with a warning.
    let warnings =
        check(&schema, &json!({"spec": {"fixed": "a", "short": "too long"}}), Some(&old), &[]);
    assert_eq!(warnings, ["spec.short: Invalid value: \"string\": failed rule: self.size() < 3"]);
    check(
        &schema,
        &json!({"spec": {"short": "another"}}),
        Some(&old),
        &["spec.short: Invalid value: \"string\": failed rule: self.size() < 3"],
    );
}

#[test]
fn what_rules_see() {
    let schema = json!({
        "type": "object",
        "properties": {
            "metadata": {"type": "object"},
            "spec": {
                "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "properties": {
                    "a-b": {"type": "string"}, "c.d/e__f": {"type": "string"},
                    "namespace": {"type": "string"},
                    "none": {"type": "string", "nullable": true},
                    "when": {"type": "string", "format": "date-time"},
                    "day": {"type": "string", "format": "date"},
                    "wait": {"type": "string", "format": "duration"},
                    "raw": {"type": "string", "format": "byte"},
                    "share": {"type": "number"},
                    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}, "maxItems": 5},
                    "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "maxItems": 5,
                        "items": {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}},
                    "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
                },
            },
        },
        "x-kubernetes-validations": [
            {"rule": "self.metadata.name == 'web' && self.kind == 'Thing' && self.apiVersion == 'x/v1'"},
            {"rule": "self.spec.a__dash__b == '1' && self.spec.c__dot__d__slash__e__underscores__f == '2'"},
            {"rule": "self.spec.namespace == 'n' && self.spec.__namespace__ == 'n'"},
            {"rule": "has(self.spec.none) && self.spec.share == 1.0"},
            {"rule": "self.spec.when.getFullYear() == 2024 && self.spec.day < self.spec.when"},
            {"rule": "self.spec.wait > duration('1m') && self.spec.raw == b'hi'"},
            {"rule": "self.spec.set == ['b', 'a'] || self.spec.set + ['a', 'c'] == ['a', 'b', 'c']"},
            {"rule": "self.spec.map == self.spec.map && (self.spec.map + self.spec.map).size() == 2"},
            {"rule": "self.spec.pod.kind == 'Pod' && self.spec.pod.metadata.name == 'p'"},
        ],
    });
    let object = json!({
        "apiVersion": "x/v1", "kind": "Thing", "metadata": {"name": "web", "labels": {"a": "b"}},
        "spec": {
            "a-b": "1", "c.d/e__f": "2", "namespace": "n", "none": null, "share": 1, "unknown": [1],
            "when": "2024-05-06T07:08:09Z", "day": "2024-05-06", "wait": "2m", "raw": "aGk=",
            "set": ["a", "b"], "map": [{"k": "x", "v": 1}, {"k": "y", "v": 2}],
            "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}},
        },
    });
    check(&schema, &object, None, &[]);
    for (rule, field) in [
        ("self.metadata.labels.size() > 0", "labels"),
        ("has(self.spec.unknown)", "unknown"),
        ("has(self.spec.pod.spec)", "spec"),
    ] {
        let mut schema = schema.clone();
        schema["x-kubernetes-validations"] = json!([{"rule": rule}]);
        refused(&schema, &[&format!("undefined field '{field}'")]);
    }
}

#[test]
fn unknown_fields_still_make_a_difference() {
    let schema = with_spec(json!({
        "type": "object", "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}],
    }));
    let old = json!({"spec": {"x": 1}});
    check(&schema, &json!({"spec": {"x": 1}}), Some(&old), &[]);
    check(
        &schema,
        &json!({"spec": {"x": 2}}),
        Some(&old),
        &["spec: Invalid value: \"object\": failed rule: self == oldSelf"],
    );
}

#[test]
fn all_of_may_hold_rules() {
    let schema = with_spec(json!({
        "type": "object", "properties": {"a": {"type": "integer"}},
        "allOf": [{"properties": {"a": {"x-kubernetes-validations": [{"rule": "self > 1"}]}}}],
    }));
    check(&schema, &json!({"spec": {"a": 2}}), None, &[]);
    check(
        &schema,
        &json!({"spec": {"a": 1}}),
        None,
        &["spec.a: Invalid value: \"integer\": failed rule: self > 1"],
    );
}

#[test]
fn stored_rules_that_do_not_compile_fail_alone() {
    let rules = Rules::compile_stored(&with_spec(json!({
        "type": "object",
        "properties": {
            "a": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 1"}]},
            "any": {"x-kubernetes-preserve-unknown-fields": true,
                "x-kubernetes-validations": [{"rule": "true"}]},
        },
        "x-kubernetes-validations": [
            {"rule": "self.a"},
            {"rule": "nothing(self)", "fieldPath": ".a", "reason": "FieldValueForbidden"},
            {"rule": " "},
            {"rule": "self.a == 3", "messageExpression": "nothing()", "message": "not three"},
        ],
    })));
    let mut budget = Budget::new();
    let new = json!({"spec": {"a": 1, "any": {}}});
    let errors = rules.validate(&Path::root(), &new, Some(&new), &mut budget);
    assert_eq!(
        lines(&errors),
        [
            "spec: Invalid value: \"object\": rule compile error: cel expression must evaluate to a bool",
            "spec: Invalid value: \"object\": rule compile error: compilation failed: ERROR: <input>:1:8: undeclared reference to 'nothing' (in container '')\n | nothing(self)\n | .......^",
            "spec.any: Invalid value: \"\": rule compiler initialization error: rule declared on schema that does not support validation rules type: '' x-kubernetes-preserve-unknown-fields: 'true'",
        ],
        "what did not change is no excuse for a broken rule"
    );
    assert_eq!(
        budget.warnings,
        [
            "spec: Invalid value: \"object\": not three",
            "spec.a: Invalid value: \"integer\": failed rule: self > 1",
        ]
    );
}

#[test]
fn the_budget_ends_validation() {
    let schema = with_spec(json!({
        "type": "array", "maxItems": 100, "items": {
            "type": "string", "maxLength": 10, "x-kubernetes-validations": [{"rule": "self != 'x'"}]},
    }));
    let rules = Rules::compile(&schema, &path()).expect("rules");
    let items: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let errors = rules.validate(&Path::root(), &json!({"spec": items}), None, &mut Budget::of(10));
    assert_eq!(
        lines(&errors),
        [
            "spec[5]: Invalid value: \"string\": validation failed due to running out of cost budget, no further validation rules will be run"
        ]
    );
    let costly = with_spec(json!({
        "type": "object", "x-kubernetes-validations": [
            {"rule": "lists.range(3000).all(x, lists.range(300).all(y, true))", "message": "never"}, {"rule": "false"}],
    }));
    check(
        &costly,
        &json!({"spec": {}}),
        None,
        &[
            "spec: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: never",
        ],
    );
    assert!(Rules::compile(&json!({"type": "object"}), &path()).expect("no rules").is_empty());
}
