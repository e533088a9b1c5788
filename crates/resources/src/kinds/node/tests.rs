use serde_json::json;

use crate::checks::{check, check_default, check_status, check_update, check_warnings, created};

fn node(rest: &str) -> String {
    format!("{{apiVersion: v1, kind: Node, {rest}}}")
}

#[test]
fn creation() {
    let registered = node("spec: {podCIDR: 10.0.0.0/24}, status: {capacity: {cpu: '2'}}");
    let object = created(&registered);
    assert_eq!(object["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
    assert_eq!(object["status"]["capacity"]["cpu"], "2");
    check_default(&registered, "/status/allocatable", "{cpu: '2'}");
    check(&registered, &[]);
    check(
        &node(
            "spec: {taints: [{key: a, effect: NoSchedule}, {key: a, effect: NoSchedule, value: b}], podCIDRs: [10.0.0.0/24, 10.0.1.0/24, x]}, status: {capacity: {cpu: -1}}",
        ),
        &[
            r#"metadata.taints[1]: Duplicate value: {"Key":"a","Value":"b","Effect":"NoSchedule","TimeAdded":null}: taints must be unique by key and effect pair"#,
            r#"status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"status.allocatable.cpu: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"spec.podCIDRs[2]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"#,
            r#"spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24","x"]: may specify no more than one CIDR for each IP family"#,
        ],
    );
}

#[test]
fn updates() {
    check_update(&node("spec: {}"), "{spec: {podCIDR: 10.0.0.0/24, unschedulable: true}}", &[]);
    check_update(
        &node("spec: {podCIDRs: [10.0.0.0/24], providerID: a}"),
        "{spec: {podCIDR: 10.0.1.0/24, podCIDRs: [10.0.1.0/24], providerID: b}}",
        &[
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
            "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
        ],
    );
    check_status(
        &node("spec: {}"),
        "{status: {addresses: [{type: InternalIP, address: a}, {type: InternalIP, address: a}]}}",
        &[r#"status.addresses[1]: Duplicate value: {"Type":"InternalIP","Address":"a"}"#],
    );
}

#[test]
fn what_is_noted_and_declared() {
    check(
        "{apiVersion: v1, kind: Node, metadata: {annotations: {scheduler.alpha.kubernetes.io/taints: '[{\"key\": \"a\", \"effect\": \"X\"}]', scheduler.alpha.kubernetes.io/preferAvoidPods: '{\"preferAvoidPods\": [{}, {\"podSignature\": {\"podController\": {}}}]}'}}, spec: {}}",
        &[
            r#"metadata.annotations.scheduler.alpha.kubernetes.io/taints[0].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#,
            "metadata.annotations.scheduler.alpha.kubernetes.io/preferAvoidPods[0].PodSignature: Required value",
            "metadata.annotations.scheduler.alpha.kubernetes.io/preferAvoidPods[1].PodSignature.PodController.Controller: Invalid value: false: must point to a controller",
        ],
    );
    check(&node("status: {declaredFeatures: [A, B/c1]}"), &[]);
    check(
        &node("status: {declaredFeatures: [a, B, B], nodeInfo: {swap: {capacity: 0}}}"),
        &[
            "metadata.nodeSwapStatus.capacity: Invalid value: 0: must be greater than zero",
            r#"status.declaredFeatures[0]: Invalid value: "a": invalid feature name "a": must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"#,
            r#"status.declaredFeatures[1]: Invalid value: "B": list must be sorted alphabetically"#,
            r#"status.declaredFeatures[2]: Duplicate value: "B""#,
        ],
    );
    check(
        &node("spec: {podCIDRs: [10.0.0.0/24, 'fd00::/64', 10.0.1.0/24]}"),
        &[
            r#"spec.podCIDRs: Invalid value: ["10.0.0.0/24","fd00::/64","10.0.1.0/24"]: may specify no more than one CIDR for each IP family"#,
        ],
    );
}

#[test]
fn what_nobody_uses_any_more() {
    let object = created(&node("spec: {configSource: {}}"));
    assert!(object["spec"].get("configSource").is_none());
    check_warnings(
        &node("spec: {externalID: a}"),
        &["spec.externalID: this field is deprecated, and is unused by Kubernetes"],
    );
    check_update(
        &node("spec: {externalID: a}"),
        "{spec: {externalID: b}}",
        &["spec.externalID: Forbidden: may not be updated"],
    );
    // The older field leads where the two differ.
    let object = created(&node("spec: {podCIDR: 10.0.0.0/24, podCIDRs: [10.0.1.0/24]}"));
    assert_eq!(object["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
}
