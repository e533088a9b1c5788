use serde_json::json;

use crate::checks::{check, check_default, check_status, check_update, created};

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
        "{spec: {podCIDRs: [10.0.1.0/24], providerID: b}}",
        &[
            "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
            "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
        ],
    );
    check_status(
        &node("spec: {}"),
        "{status: {addresses: [{type: InternalIP, address: a}, {type: InternalIP, address: a}]}}",
        &[r#"status.addresses[1]: Duplicate value: {"type":"InternalIP","address":"a"}"#],
    );
}
