use crate::checks::{check, check_default, check_in_use, check_update};

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
            r#"overhead.podFixed[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"scheduling.tolerations[1]: Duplicate value: {"key":"a"}"#,
        ],
    );
    check_update(
        &class("handler: a"),
        "{handler: b}",
        &[r#"handler: Invalid value: "b": field is immutable"#],
    );
}
