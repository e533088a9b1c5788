use crate::checks::{check, check_default, check_status, check_update};

fn claim(devices: &str) -> String {
    format!(
        "{{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, spec: {{devices: {{{devices}}}}}}}"
    )
}

#[test]
fn claims() {
    let one = claim("requests: [{name: a, exactly: {deviceClassName: gpu}}]");
    check_default(
        &one,
        "/spec/devices/requests/0/exactly",
        "{deviceClassName: gpu, allocationMode: ExactCount, count: 1}",
    );
    check(&one, &[]);
    check(
        &claim(
            "requests: [{name: a}, {name: a, exactly: {deviceClassName: '', allocationMode: All, count: 2}}], constraints: [{requests: [b]}], config: [{}]",
        ),
        &[
            "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
            "spec.devices.requests[1].exactly.deviceClassName: Required value",
            "spec.devices.requests[1].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            r#"spec.devices.requests[1].name: Duplicate value: "a""#,
            "spec.devices.constraints[0].requests[0]: Invalid value: \"b\": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'",
            "spec.devices.constraints[0].matchAttribute: Required value",
            "spec.devices.config[0].opaque: Required value",
        ],
    );
    check_update(&one, "{spec: {devices: null}}", &["spec: Invalid value: {}: field is immutable"]);
    check_status(
        &one,
        "{status: {reservedFor: [{resource: pods, name: p, uid: ''}]}}",
        &[
            "status.reservedFor[0].uid: Required value",
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
        ],
    );
}

#[test]
fn templates() {
    let template = "{apiVersion: resource.k8s.io/v1, kind: ResourceClaimTemplate, spec: {spec: {devices: {requests: [{name: a, firstAvailable: [{name: b, deviceClassName: gpu}]}]}}}}";
    check(template, &[]);
    check_default(
        template,
        "/spec/spec/devices/requests/0/firstAvailable/0",
        "{name: b, deviceClassName: gpu, allocationMode: ExactCount, count: 1}",
    );
}

#[test]
fn slices() {
    let slice = |spec: &str| {
        format!("{{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, spec: {{{spec}}}}}")
    };
    let pool = "pool: {name: p, generation: 1, resourceSliceCount: 1}";
    check(&slice(&format!("driver: a.b, {pool}, nodeName: w1, devices: [{{name: d}}]")), &[]);
    check(
        &slice(&format!("driver: a.b, {pool}, devices: [{{name: d}}, {{name: d}}]")),
        &[
            "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            r#"spec.devices[1].name: Duplicate value: "d""#,
        ],
    );
    check_update(
        &slice(&format!("driver: a.b, {pool}, nodeName: w1")),
        "{spec: {nodeName: w2}}",
        &[r#"spec.nodeName: Invalid value: "w2": field is immutable"#],
    );
}
