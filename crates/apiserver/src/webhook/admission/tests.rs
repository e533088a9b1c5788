use serde_json::json;

use super::review::{Patch, refusal};
use super::*;

const V1: &str = "admission.k8s.io/v1";

fn answer(response: Value) -> Value {
    json!({"kind": "AdmissionReview", "apiVersion": V1, "response": response})
}

#[test]
fn answers_that_are_refused() {
    let check = |mutating: bool, answer: Value, expected: &str| {
        assert_eq!(Verdict::read(&answer, V1, "1", mutating).unwrap_err(), expected);
    };
    check(
        true,
        json!({"kind": "AdmissionReview", "apiVersion": V1}),
        "webhook response was absent",
    );
    check(true, answer(json!({"uid": "2"})), "expected response.uid=\"1\", got \"2\"");
    check(
        true,
        json!({"kind": "X", "apiVersion": "y/v1", "response": {"uid": "1"}}),
        "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got y/v1, Kind=X",
    );
    let patch = json!({"uid": "1", "patch": "W10="});
    check(
        true,
        answer(patch.clone()),
        "webhook returned response.patch but not response.patchType",
    );
    let kind = json!({"uid": "1", "patchType": "JSONPatch"});
    check(true, answer(kind.clone()), "webhook returned response.patchType but not response.patch");
    check(false, answer(patch), "validating webhook may not return response.patch");
    check(false, answer(kind), "validating webhook may not return response.patchType");
}

#[test]
fn verdicts() {
    let good = json!({"uid": "1", "allowed": true, "patch": "W10=", "patchType": "JSONPatch",
        "warnings": ["w"]});
    let verdict = Verdict::read(&answer(good), V1, "1", true).unwrap();
    let patch = Patch { kind: "JSONPatch".to_owned(), text: b"[]".to_vec() };
    let expected =
        Verdict { allowed: true, result: None, patch: Some(patch), warnings: vec!["w".to_owned()] };
    assert_eq!(verdict, expected);
    let older = "admission.k8s.io/v1beta1";
    let verdict = Verdict::read(&json!({"response": {"patch": "W10="}}), older, "1", true).unwrap();
    assert!(verdict.patch.is_some() && !verdict.allowed, "the older form repeats nothing");
}

#[test]
fn refusals() {
    let check = |result: Option<Value>, code: u16, message: &str| {
        let status = refusal("x.y.z", result.as_ref());
        let expected = format!("admission webhook \"x.y.z\" denied the request{message}");
        assert_eq!((status.code, status.message), (code, expected));
        assert_eq!(status.status, "Failure");
    };
    check(None, 400, " without explanation");
    check(Some(json!({"message": "no", "code": 418})), 418, ": no");
    check(Some(json!({"reason": "Because", "code": 200, "status": "Success"})), 400, ": Because");
}
