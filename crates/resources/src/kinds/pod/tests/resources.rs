//! Resources: of containers, of the whole Pod, and claims.

use super::containers::{container, one};
use crate::checks::{check, check_below};

#[test]
fn resources() {
    let amounts = |resources: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|text| format!("resources{text}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        container(&format!("resources: {{{resources}}}"), &expected);
    };
    amounts("limits: {cpu: 1, hugepages-2Mi: 4Mi, example.com/a: 2}", &[]);
    amounts(
        "limits: {disk: 1, pods: 1500m, requests.a.b/c: 1, a.b/c: 500m}",
        &[
            r#".limits[a.b/c]: Invalid value: "500m": must be an integer"#,
            r#".limits[disk]: Invalid value: "disk": must be a standard resource type or fully qualified"#,
            r#".limits[disk]: Invalid value: "disk": must be a standard resource for containers"#,
            r#".limits[pods]: Invalid value: "pods": must be a standard resource for containers"#,
            r#".limits[pods]: Invalid value: "1500m": must be an integer"#,
            r#".limits[requests.a.b/c]: Invalid value: "requests.a.b/c": doesn't follow extended resource name standard"#,
            r#".requests[a.b/c]: Invalid value: "500m": must be an integer"#,
            r#".requests[disk]: Invalid value: "disk": must be a standard resource type or fully qualified"#,
            r#".requests[disk]: Invalid value: "disk": must be a standard resource for containers"#,
            r#".requests[pods]: Invalid value: "pods": must be a standard resource for containers"#,
            r#".requests[pods]: Invalid value: "1500m": must be an integer"#,
            r#".requests[requests.a.b/c]: Invalid value: "requests.a.b/c": doesn't follow extended resource name standard"#,
        ],
    );
    amounts(
        "limits: {hugepages-2Mi: 3Mi}, requests: {hugepages-2Mi: 1Mi}",
        &[
            r#".limits[hugepages-2Mi]: Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi"#,
            r#".requests: Invalid value: "1Mi": must be equal to hugepages-2Mi limit of 3Mi"#,
            r#".requests[hugepages-2Mi]: Invalid value: "1Mi": 1Mi is not positive integer multiple of hugepages-2Mi"#,
            ": Forbidden: HugePages require cpu or memory",
        ],
    );
    check(
        &one("", "overhead: {disk: 1}"),
        &[
            r#"spec.overhead.limits[disk]: Invalid value: "disk": must be a standard resource type or fully qualified"#,
            r#"spec.overhead.limits[disk]: Invalid value: "disk": must be a standard resource for containers"#,
        ],
    );
}

#[test]
fn claims() {
    let claims = |claims: &str, known: &str, expected: &[&str]| {
        let known = format!("resourceClaims: [{known}]");
        check_below(
            &one(&format!("resources: {{claims: [{claims}]}}"), &known),
            "spec.containers[0].resources.claims",
            expected,
        );
    };
    let known = "{name: b, resourceClaimName: x}, {name: a, resourceClaimTemplateName: x}";
    claims("{name: a, request: r}, {name: a, request: s}, {name: b}", known, &[]);
    claims(
        "{name: a}",
        "",
        &[
            r#"[0]: Not found: "a": must be one of the names in pod.spec.resourceClaims which is empty"#,
        ],
    );
    claims(
        "{name: ''}, {name: c}, {name: a, request: r}, {name: a, request: r}, {name: a}, {name: a, request: s}",
        known,
        &[
            "[0]: Required value",
            r#"[1]: Not found: "c": must be one of the names in pod.spec.resourceClaims: a, b"#,
            r#"[3]: Duplicate value: "a/r""#,
            r#"[4]: Duplicate value: "a""#,
            r#"[5]: Duplicate value: "a""#,
        ],
    );
    check(
        &one(
            "",
            "resourceClaims: [{name: a}, {name: a, resourceClaimName: x, resourceClaimTemplateName: y}]",
        ),
        &[
            r#"spec.resourceClaims[0]: Invalid value: {"Name":"a","ResourceClaimName":null,"ResourceClaimTemplateName":null}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"#,
            r#"spec.resourceClaims[1].name: Duplicate value: "a""#,
            r#"spec.resourceClaims[1]: Invalid value: {"Name":"a","ResourceClaimName":"x","ResourceClaimTemplateName":"y"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"#,
        ],
    );
}

#[test]
fn resources_of_the_whole_pod() {
    let whole = |container: &str, whole: &str, expected: &[&str]| {
        check(
            &one(&format!("resources: {{{container}}}"), &format!("resources: {{{whole}}}")),
            expected,
        );
    };
    whole("requests: {cpu: 1}", "requests: {cpu: 2}, limits: {cpu: 3}", &[]);
    whole(
        "requests: {cpu: 2}, limits: {cpu: 4}",
        "requests: {cpu: 1}, limits: {cpu: 3, pods: 1}",
        &[
            r#"spec.resources.limits[pods]: Unsupported value: "pods": supported values: "cpu", "hugepages-", "memory""#,
            r#"spec.resources.requests[cpu]: Invalid value: "1": must be greater than or equal to aggregate container requests of 2"#,
            r#"spec.resources.containers[0][cpu].limits: Invalid value: "4": must be less than or equal to pod limits of 3"#,
        ],
    );
    whole(
        "limits: {cpu: 1, hugepages-2Mi: 4Mi}",
        "limits: {cpu: 2, hugepages-2Mi: 2Mi}",
        &[
            r#"spec.resources.requests[hugepages-2Mi]: Invalid value: "2Mi": must be greater than or equal to aggregate container requests of 4Mi"#,
            r#"spec.resources.limits[hugepages-2Mi]: Invalid value: "2Mi": must be greater than or equal to aggregate container limits of 4Mi"#,
            r#"spec.resources.containers[0][hugepages-2Mi].limits: Invalid value: "4Mi": must be less than or equal to pod limits of 2Mi"#,
        ],
    );
    whole(
        "",
        "claims: [{name: a}]",
        &["spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level"],
    );
    check(
        &one("", "os: {name: windows}, resources: {limits: {cpu: 1}}"),
        &["spec.resources: Forbidden: may not be set for a windows pod"],
    );
}
