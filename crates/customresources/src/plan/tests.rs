use machinery::{Value, meta};
use serde_json::json;

use super::{FINALIZER, Step, finished, next, outline};

const NOW: &str = "2026-01-01T00:00:00Z";

fn crd(plural: &str, kind: &str, short: &[&str]) -> Value {
    json!({"metadata": {"name": format!("{plural}.ex.io")}, "spec": {"group": "ex.io",
        "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind,
            "listKind": format!("{kind}List"), "shortNames": short}}})
}

/// Plans until nothing is left to say; the reasons of the conditions after each step.
#[track_caller]
fn settle(mut crd: Value, others: &[&Value]) -> (Value, Vec<String>) {
    let mut steps = Vec::new();
    for _ in 0..5 {
        let step = next(&crd, others, NOW);
        let outlines: Vec<Value> = others.iter().map(|other| outline(other)).collect();
        let of_outlines = next(&outline(&crd), &outlines.iter().collect::<Vec<_>>(), NOW);
        assert_eq!(step, of_outlines, "an outline has all that matters");
        match step {
            Some(Step::Status(status)) => {
                crd["status"] = status;
                let conditions = crd["status"]["conditions"].as_array().unwrap();
                let reasons: Vec<&str> =
                    conditions.iter().map(|c| c["reason"].as_str().unwrap()).collect();
                steps.push(reasons.join(","));
            }
            Some(Step::CleanUp) => {
                steps.push("clean up".to_owned());
                return (crd, steps);
            }
            None => return (crd, steps),
        }
    }
    panic!("no end: {steps:?}")
}

#[test]
fn names_are_accepted_and_then_established() {
    let (settled, steps) = settle(crd("foos", "Foo", &["f"]), &[]);
    assert_eq!(steps, ["NoConflicts,Installing", "NoConflicts,InitialNamesAccepted"]);
    assert_eq!(settled["status"]["acceptedNames"], settled["spec"]["names"]);
}

#[test]
fn names_that_another_has_are_refused() {
    let (first, _) = settle(crd("foos", "Foo", &["f"]), &[]);
    let (second, steps) = settle(crd("bars", "Foo", &["f"]), &[&first]);
    assert_eq!(steps, ["ListKindConflict,NotAccepted"]);
    let accepted = &second["status"]["acceptedNames"];
    assert_eq!(*accepted, json!({"plural": "bars"}));
    let conditions = &second["status"]["conditions"];
    assert_eq!(conditions[0]["message"], "\"FooList\" is already in use");
    // Once established it stays so.
    let (mut third, _) = settle(crd("bazs", "Baz", &[]), &[&first]);
    third["spec"]["names"]["shortNames"] = json!(["f", "b"]);
    let (third, steps) = settle(third, &[&first]);
    assert_eq!(steps, ["ShortNamesConflict,InitialNamesAccepted"]);
    assert_eq!(third["status"]["acceptedNames"].get("shortNames"), None);
}

#[test]
fn groups_of_the_api_want_approval() {
    let reason = |annotation: &str| {
        let mut crd = crd("foos", "Foo", &[]);
        crd["spec"]["group"] = "x.k8s.io".into();
        if !annotation.is_empty() {
            meta::set_annotation(&mut crd, "api-approved.kubernetes.io", annotation);
        }
        let (settled, _) = settle(crd, &[]);
        settled["status"]["conditions"][2]["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(reason(""), "MissingAnnotation");
    assert_eq!(reason("https://x"), "ApprovedAnnotation");
    assert_eq!(reason("unapproved, test"), "UnapprovedAPI");
    assert_eq!(reason("odd"), "InvalidAnnotation");
}

#[test]
fn objects_go_before_their_definition() {
    let (mut crd, _) = settle(crd("foos", "Foo", &[]), &[]);
    meta::set_deletion(&mut crd, NOW, 0);
    assert_eq!(next(&crd, &[], NOW), None);
    meta::set_finalizers(&mut crd, [FINALIZER]);
    let (crd, steps) = settle(crd, &[]);
    let reasons = "NoConflicts,InitialNamesAccepted,InstanceDeletionInProgress";
    assert_eq!(steps, [reasons, "clean up"]);
    let done = finished(&crd, NOW);
    assert_eq!(meta::finalizers(&done).count(), 0);
    assert_eq!(next(&done, &[], NOW), None);
}
