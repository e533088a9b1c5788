use crate::checks::{check, check_update};

fn older(rest: &str) -> String {
    format!("{{apiVersion: v1, kind: Event, {rest}}}")
}

fn newer(rest: &str) -> String {
    format!("{{apiVersion: events.k8s.io/v1, kind: Event, {rest}}}")
}

const COMPLETE: &str = "regarding: {namespace: n}, eventTime: '2024-01-01T00:00:00.000000Z', reportingController: a.b/c, reportingInstance: i, action: a, reason: r, note: t, type: Normal";

#[test]
fn older_form() {
    check(&older("involvedObject: {namespace: n}"), &[]);
    check(&older("metadata: {namespace: default}, involvedObject: {}"), &[]);
    check(
        &older("involvedObject: {namespace: other}"),
        &[r#"involvedObject.namespace: Invalid value: "other": does not match event.namespace"#],
    );
    check(
        &older("involvedObject: {}, metadata: {namespace: kube-system}"),
        &[r#"involvedObject.namespace: Invalid value: "": does not match event.namespace"#],
    );
    check(
        &older(
            "involvedObject: {namespace: n}, eventTime: '2024-01-01T00:00:00.000000Z', reportingComponent: c",
        ),
        &["reportingInstance: Required value", "action: Required value", "reason: Required value"],
    );
}

#[test]
fn newer_form() {
    check(&newer(COMPLETE), &[]);
    check(
        &newer("regarding: {namespace: n}, deprecatedCount: 1, type: X"),
        &[
            "eventTime: Required value",
            r#"type: Invalid value: "": has invalid value: X"#,
            r#"count: Invalid value: "": needs to be unset"#,
        ],
    );
    let long = COMPLETE.replace("action: a", &format!("action: {}", "a".repeat(129)));
    check(&newer(&long), &[r#"action: Invalid value: "": can have at most 128 characters"#]);
    check(
        &newer(&format!(
            "{COMPLETE}, series: {{count: 1, lastObservedTime: '2024-01-01T00:00:00.000000Z'}}"
        )),
        &[r#"series.count: Invalid value: "": should be at least 2"#],
    );
}

#[test]
fn updates() {
    check_update(&older("involvedObject: {namespace: n}, count: 1"), "{count: 2, message: m}", &[]);
    let series = "{series: {count: 2, lastObservedTime: '2024-01-01T00:00:00.000000Z'}}";
    check_update(&newer(COMPLETE), series, &[]);
    check_update(
        &newer(COMPLETE),
        "{note: other}",
        &[r#"message: Invalid value: "other": field is immutable"#],
    );
}
