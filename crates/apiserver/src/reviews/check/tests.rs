use super::*;

#[track_caller]
fn check(resource: &str, review: Value, expected: &[&str]) {
    let errors = access(resource, &review, "n");
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected, "{review}");
}

#[test]
fn questions() {
    let own = "selfsubjectaccessreviews";
    let other = "subjectaccessreviews";
    check(own, json!({"spec": {"resourceAttributes": {"verb": "get"}}}), &[]);
    check(
        other,
        json!({"spec": {}}),
        &[
            "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
            r#"spec.user: Invalid value: "": at least one of user or group must be specified"#,
        ],
    );
    check(
        other,
        json!({
            "metadata": {"name": "x", "managedFields": [{}]},
            "spec": {"groups": ["g"], "resourceAttributes": {}, "nonResourceAttributes": {"path": "/"}},
        }),
        &[
            r#"spec.nonResourceAttributes: Invalid value: {"Path":"/","Verb":""}: cannot be specified in combination with resourceAttributes"#,
            r#"metadata: Invalid value: {"name":"x","managedFields":[{}]}: must be empty"#,
        ],
    );
    let local = "localsubjectaccessreviews";
    check(
        local,
        json!({
            "metadata": {"namespace": "n"},
            "spec": {"user": "u", "resourceAttributes": {"namespace": "n"}},
        }),
        &[],
    );
    check(
        local,
        json!({"spec": {"user": "u", "resourceAttributes": {"namespace": "o"}}}),
        &[
            r#"spec.resourceAttributes.namespace: Invalid value: "o": must match metadata.namespace"#,
        ],
    );
    check(
        local,
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"user": "u", "nonResourceAttributes": {}}}),
        &[
            r#"metadata: Invalid value: {"labels":{"a":"b"}}: must be empty except for namespace"#,
            r#"spec.nonResourceAttributes: Invalid value: {"Path":"","Verb":""}: disallowed on this kind of request"#,
        ],
    );
}

#[test]
fn selectors_of_questions() {
    let with = |fields: Value, labels: Value, expected: &[&str]| {
        let wanted = json!({"fieldSelector": fields, "labelSelector": labels});
        let review = json!({"spec": {"resourceAttributes": wanted}});
        check("selfsubjectaccessreviews", review, expected);
    };
    with(json!({"rawSelector": "a=b"}), json!({"rawSelector": "a"}), &[]);
    with(
        json!({}),
        json!({"rawSelector": "a", "requirements": [{"key": "-", "operator": "New"}]}),
        &[
            "spec.resourceAttributes.fieldSelector.requirements: Required value: when spec.resourceAttributes.fieldSelector is specified, requirements or rawSelector is required",
            r#"spec.resourceAttributes.labelSelector.rawSelector: Invalid value: "a": may not specified at the same time as requirements"#,
            "spec.resourceAttributes.labelSelector.requirements[0].key: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ],
    );
    with(
        json!({"requirements": [{"operator": "In"}, {"key": "a", "operator": "Exists", "values": ["b"]}]}),
        Value::Null,
        &[
            "spec.resourceAttributes.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "spec.resourceAttributes.fieldSelector.requirements[0].key: Required value: must be specified",
            "spec.resourceAttributes.fieldSelector.requirements[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        ],
    );
}

#[test]
fn what_is_not_understood_is_named() {
    let of = |fields: Value, labels: Value| {
        let selectors = Selectors::of(&json!({"fieldSelector": fields, "labelSelector": labels}));
        (selectors.fields, selectors.ignored.join("; "))
    };
    let term = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
    let both = json!({"requirements": [term("a", "In", &["b"]), term("c", "NotIn", &["d"])]});
    assert_eq!(of(both, Value::Null), ("a=b,c!=d".to_owned(), String::new()));
    let one = json!({"requirements": [term("a", "In", &["b"]), term("c", "Exists", &[])]});
    let ignored = "spec.resourceAttributes.fieldSelector partially ignored due to parse error";
    assert_eq!(of(one, Value::Null), ("a=b".to_owned(), ignored.to_owned()));
    let (fields, labels) = (json!({"rawSelector": "a!b"}), json!({"rawSelector": "a in b"}));
    let ignored = "spec.resourceAttributes.fieldSelector ignored due to parse error; spec.resourceAttributes.labelSelector ignored due to parse error";
    assert_eq!(of(fields, labels), (String::new(), ignored.to_owned()));
    let known = json!({"requirements": [term("a", "In", &["b"]), term("c", "New", &[])]});
    let ignored = "spec.resourceAttributes.labelSelector partially ignored due to parse error";
    assert_eq!(of(Value::Null, known), (String::new(), ignored.to_owned()));
}
