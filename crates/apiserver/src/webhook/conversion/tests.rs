use super::*;

fn crontab(version: &str, metadata: Value) -> Value {
    json!({"kind": "CronTab", "apiVersion": format!("stable.example.com/{version}"),
        "metadata": metadata})
}

fn original() -> Value {
    crontab(
        "v1",
        json!({"name": "a", "namespace": "n", "uid": "u", "generation": 3,
            "labels": {"x": "1"}, "annotations": {"y": "2"}}),
    )
}

fn outcome(converted: Value) -> Result<Value, String> {
    accept(&original(), converted, "stable.example.com/v2")
        .map_err(|(part, why)| format!("{part}: {why}"))
}

#[test]
fn only_labels_and_annotations_are_taken_over() {
    let converted = crontab(
        "v2",
        json!({"name": "a", "namespace": "n", "uid": "u", "generation": 99,
            "finalizers": ["x"], "labels": {"z": "1", "a": "2"}}),
    );
    let accepted = outcome(converted).unwrap();
    let expected = json!({"name": "a", "namespace": "n", "uid": "u", "generation": 3,
        "labels": {"a": "2", "z": "1"}});
    assert_eq!(accepted["metadata"], expected);
    assert_eq!(accepted["metadata"]["labels"].to_string(), r#"{"a":"2","z":"1"}"#);
}

#[test]
fn what_identifies_an_object_must_stay() {
    let check = |converted: Value, expected: &str| {
        assert_eq!(outcome(converted).unwrap_err(), expected);
    };
    let with = |field: &str, value: Value| {
        let mut converted = original();
        converted["apiVersion"] = "stable.example.com/v2".into();
        converted["metadata"][field] = value;
        converted
    };
    check(with("name", json!("b")), "converted object: must have the same name: a != b");
    check(with("namespace", json!("b")), "converted object: must have the same namespace: n != b");
    check(with("uid", json!("b")), "converted object: must have the same UID: u != b");
    check(
        original(),
        "converted object: invalid groupVersion (expected stable.example.com/v2, received \
         stable.example.com/v1)",
    );
    let mut other = with("name", json!("a"));
    other["kind"] = "Other".into();
    check(other, "converted object: invalid kind (expected CronTab, received Other)");
    check(json!(1), "converted object: expected an object, got int64");
    check(
        with("labels", json!([])),
        "metadata in object: invalid metadata.labels of type []interface {} in converted object",
    );
    check(
        with("labels", json!({"x": "no/slash"})),
        "metadata in object: metadata.labels: Invalid value: \"no/slash\": a valid label must be an \
         empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end \
         with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
         validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    );
    check(
        with("annotations", json!({"k": 1})),
        "metadata in object: metadata.annotations[k] must be a string, but is int64 in converted \
         object",
    );
}

#[test]
fn answers_that_are_not_success() {
    let check = |review: Review, answer: Value, expected: &str| {
        assert_eq!(converted_objects(review, "1", answer).unwrap_err(), expected);
    };
    let answer = |response: Value| {
        json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "response": response})
    };
    check(Review::V1, answer(Value::Null), "no response provided");
    check(Review::V1, answer(json!({"uid": "2"})), "expected response.uid=\"1\", got \"2\"");
    check(
        Review::V1,
        answer(json!({"uid": "1", "result": {}})),
        "response.result.status was '', not 'Success'",
    );
    let refusal = json!({"uid": "1", "result": {"status": "Failure", "message": "cannot"}});
    check(Review::V1, answer(refusal), "cannot");
    check(
        Review::V1,
        json!({"kind": "Other", "apiVersion": "x/v1"}),
        "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got x/v1, \
         Kind=Other",
    );
    let old = json!({"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1beta1",
        "response": {"result": {"status": "Success"}, "convertedObjects": [{}]}});
    assert_eq!(converted_objects(Review::V1Beta1, "1", old), Ok(vec![json!({})]));
}
