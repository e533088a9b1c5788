use crate::checks::{
    check, check_default, check_in_use, check_status, check_update, status_updated,
};

#[test]
fn leases() {
    let lease = |spec: &str| {
        format!("{{apiVersion: coordination.k8s.io/v1, kind: Lease, spec: {{{spec}}}}}")
    };
    check(&lease("holderIdentity: a, leaseDurationSeconds: 15"), &[]);
    check(
        &lease("leaseDurationSeconds: 0, leaseTransitions: -1"),
        &[
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    check_in_use(
        &lease("preferredHolder: a"),
        &["spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"],
    );
    check_in_use(
        &lease("strategy: Youngest"),
        &[
            r#"spec.strategy.strategy: Unsupported value: "Youngest": supported values: "OldestEmulationVersion""#,
        ],
    );
}

#[test]
fn priorities() {
    let class =
        |rest: &str| format!("{{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, {rest}}}");
    check(&class("value: 1000000000"), &[]);
    check_default(&class("value: 1"), "/preemptionPolicy", "PreemptLowerPriority");
    check(
        &class("value: 1000000001"),
        &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
    );
    check(
        &class("value: 1, preemptionPolicy: Sometimes"),
        &[
            r#"preemptionPolicy: Unsupported value: "Sometimes": supported values: "PreemptLowerPriority", "Never""#,
        ],
    );
    check(&class("value: 2000001000, metadata: {name: system-node-critical}"), &[]);
    for (rest, why) in [
        ("value: 1, metadata: {name: system-x}", "system-x is not a known system priority class"),
        (
            "value: 1, metadata: {name: system-node-critical}",
            "value of system-node-critical PriorityClass must be 2000001000",
        ),
        (
            "value: 2000001000, globalDefault: true, metadata: {name: system-node-critical}",
            "globalDefault of system-node-critical PriorityClass must be false",
        ),
    ] {
        let text = format!(
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: {why}"
        );
        check(&class(rest), &[&text]);
    }
    check_update(
        &class("value: 1"),
        "{value: 2, preemptionPolicy: Never}",
        &[
            "value: Forbidden: may not be changed in an update.",
            r#"preemptionPolicy: Invalid value: "Never": field is immutable"#,
        ],
    );
}

#[test]
fn runtimes() {
    let class = |rest: &str| format!("{{apiVersion: node.k8s.io/v1, kind: RuntimeClass, {rest}}}");
    check(&class("handler: runc, overhead: {podFixed: {cpu: 10m}}"), &[]);
    check(&class("handler: a.b"), &[r#"handler: Invalid value: "a.b": must not contain dots"#]);
    check(
        &class(
            "handler: a, overhead: {podFixed: {cpu: -1}}, scheduling: {tolerations: [{key: a}, {key: a}]}",
        ),
        &[
            r#"overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"scheduling.tolerations[1]: Duplicate value: {"key":"a"}"#,
        ],
    );
    check(
        &class("handler: a, overhead: {podFixed: {hugepages-2Mi: 2Mi, x: 1}}"),
        &[
            r#"overhead.limits[x]: Invalid value: "x": must be a standard resource type or fully qualified"#,
            r#"overhead.limits[x]: Invalid value: "x": must be a standard resource for containers"#,
            "overhead: Forbidden: HugePages require cpu or memory",
        ],
    );
    check_update(
        &class("handler: a"),
        "{handler: b.c, overhead: {podFixed: {cpu: -1}}}",
        &[
            r#"handler: Invalid value: "b.c": must not contain dots"#,
            r#"overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"handler: Invalid value: "b.c": field is immutable"#,
        ],
    );
    let (registration, _) = crate::checks::decoded(&class("handler: a"));
    assert!(registration.strategy.allow_create_on_update());
}

#[test]
fn candidates() {
    let candidate = |spec: &str| {
        format!(
            "{{apiVersion: coordination.k8s.io/v1beta1, kind: LeaseCandidate, spec: {{{spec}}}}}"
        )
    };
    let good = candidate(
        "leaseName: l, binaryVersion: 1.36.0, emulationVersion: 1.35.0, strategy: OldestEmulationVersion",
    );
    check(&good, &[]);
    check(
        &candidate(""),
        &[
            "spec.leaseName: Required value",
            "spec.binaryVersion: Required value",
            "spec.strategy: Required value",
        ],
    );
    check(
        &candidate("leaseName: l, binaryVersion: '1.36', strategy: a/b"),
        &[r#"spec.binaryVersion: Invalid value: "1.36": must be a valid semantic version"#],
    );
    check(
        &candidate("leaseName: l, binaryVersion: 1.0.0, emulationVersion: 1.0.1, strategy: x"),
        &[
            r#"spec.binaryVersion: Invalid value: "1.0.0": must be greater than or equal to `emulationVersion`"#,
            r#"spec.strategy.strategy: Unsupported value: "x": supported values: "OldestEmulationVersion""#,
        ],
    );
    check(
        &candidate("leaseName: l, binaryVersion: 1.0.0, strategy: OldestEmulationVersion"),
        &[
            "spec.emulationVersion: Required value: must be specified when `strategy` is 'OldestEmulationVersion'",
        ],
    );
    check_update(
        &good,
        "{spec: {leaseName: m}}",
        &[r#"spec.leaseName: Invalid value: "m": field is immutable"#],
    );
}

#[test]
fn groups_of_pods() {
    let group = "{apiVersion: scheduling.k8s.io/v1alpha2, kind: PodGroup, spec: {schedulingPolicy: {basic: {}}}}";
    check_status(
        group,
        "{metadata: {labels: {a: b}}, status: {conditions: [{type: A, status: X, reason: R, lastTransitionTime: '2024-01-01T00:00:00Z'}]}}",
        &[
            r#"status.conditions[0].status: Unsupported value: "X": supported values: "False", "True", "Unknown""#,
        ],
    );
    let after = status_updated(group, "{metadata: {labels: {a: b}}}");
    assert_eq!(machinery::meta::label(&after, "a"), None);
}
