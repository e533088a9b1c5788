//! Statuses that kubelets and controllers write.

use crate::checks::{check_status, check_update_warnings, status_updated};

fn pod(rest: &str) -> String {
    format!("{{apiVersion: v1, kind: Pod, spec: {{containers: [{{name: c, image: i}}], {rest}}}}}")
}

/// What is wrong with a status; paths are below it.
#[track_caller]
fn status(rest: &str, status: &str, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(|text| format!("status.{text}")).collect();
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    check_status(&pod(rest), &format!("{{status: {{{status}}}}}"), &expected);
}

#[test]
fn conditions_and_nodes() {
    status(
        "nodeName: n",
        "observedGeneration: -1, nominatedNodeName: m, qosClass: Guaranteed, conditions: [{type: Ready, status: 'True'}, {type: 'a b', status: 'True', observedGeneration: -1}]",
        &[
            "conditions[1].observedGeneration: Invalid value: -1: must be a non-negative integer",
            "conditions[1].Type: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
            "nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node",
            "observedGeneration: Invalid value: -1: must be a non-negative integer",
            "qosClass: Invalid value: \"Guaranteed\": field is immutable",
        ],
    );
    status("dnsPolicy: Default", "nominatedNodeName: m", &[]);
}

#[test]
fn what_older_clients_drop_stays() {
    let after =
        status_updated(&pod("dnsPolicy: Default"), "{status: {qosClass: null, phase: Running}}");
    assert_eq!(after["status"]["qosClass"], "BestEffort");
    assert_eq!(after["status"]["phase"], "Running");
}

#[test]
fn containers_do_not_come_back() {
    use crate::checks::{created, decoded};
    use serde_json::json;
    let restart = |spec: &str, list: &str, code: i64, expected: bool| {
        let yaml = format!("{{apiVersion: v1, kind: Pod, spec: {{{spec}}}}}");
        let (registration, _) = decoded(&yaml);
        let mut old = created(&yaml);
        old["status"][list] = json!([{"name": "c", "state": {"terminated": {"exitCode": code}}}]);
        let mut new = old.clone();
        new["status"][list] = json!([{"name": "c", "state": {"running": {}}}]);
        let ctx = crate::Ctx {
            now: machinery::time::Timestamp::UNIX_EPOCH,
            user: &serde_json::Value::Null,
        };
        let errors = registration.strategy.validate_status_update(&ctx, &new, &old);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let text = format!(
            "status.{list}[0].state: Forbidden: may not be transitioned to non-terminated state"
        );
        assert_eq!(texts, if expected { vec![] } else { vec![text] }, "{spec}");
    };
    let main =
        |more: &str, rest: &str| format!("containers: [{{name: c, image: i, {more}}}], {rest}");
    let (statuses, init) = ("containerStatuses", "initContainerStatuses");
    restart(&main("", "restartPolicy: Always"), statuses, 0, true);
    restart(&main("", "restartPolicy: OnFailure"), statuses, 0, false);
    restart(&main("", "restartPolicy: OnFailure"), statuses, 1, true);
    restart(&main("", "restartPolicy: Never"), statuses, 1, false);
    restart(&main("restartPolicy: OnFailure", "restartPolicy: Never"), statuses, 1, true);
    let rules = |action: &str| {
        format!(
            "restartPolicy: Never, restartPolicyRules: [{{action: {action}, exitCodes: {{operator: In, values: [42]}}}}]"
        )
    };
    restart(&main(&rules("Restart"), "restartPolicy: Never"), statuses, 42, true);
    restart(&main(&rules("Restart"), "restartPolicy: Never"), statuses, 1, false);
    restart(&main(&rules("RestartAllContainers"), "restartPolicy: Never"), statuses, 1, true);
    let sidecar = "containers: [{name: m, image: i}], initContainers: [{name: c, image: i, restartPolicy: Always}], restartPolicy: Never";
    restart(sidecar, init, 0, true);
    let plain = "containers: [{name: m, image: i}], initContainers: [{name: c, image: i}], restartPolicy: OnFailure";
    restart(plain, init, 0, false);
    restart(&main("", "restartPolicy: Always"), "ephemeralContainerStatuses", 1, false);
}

#[test]
fn addresses() {
    status(
        "dnsPolicy: Default",
        "hostIP: 10.0.0.1, hostIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}], podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}]",
        &[],
    );
    status(
        "dnsPolicy: Default",
        "hostIP: 10.0.0.1, hostIPs: [{ip: 010.0.0.1}], podIP: 10.1.0.1, podIPs: [{ip: 10.1.0.1}, {ip: 10.1.0.2}]",
        &[
            r#"podIPs: Invalid value: [{"IP":"10.1.0.1"},{"IP":"10.1.0.2"}]: may specify no more than one IP for each IP family"#,
            r#"hostIPs[0].ip: Invalid value: "010.0.0.1": must be equal to `hostIP`"#,
            r#"hostIPs[0]: Invalid value: "010.0.0.1": must not have leading 0s"#,
        ],
    );
    check_update_warnings(
        &pod("dnsPolicy: Default"),
        "status",
        "{status: {podIP: 'FD00::1', podIPs: [{ip: 'FD00::1'}]}}",
        &[
            "status.podIPs[0].ip: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")",
        ],
    );
}

#[test]
fn claims() {
    let spec = "resourceClaims: [{name: a, resourceClaimTemplateName: t}]";
    status(spec, "resourceClaimStatuses: [{name: a, resourceClaimName: x}]", &[]);
    status(
        spec,
        "resourceClaimStatuses: [{name: b}, {name: b, resourceClaimName: A}]",
        &[
            "resourceClaimStatuses[0].name: Invalid value: \"b\": must match the name of an entry in `spec.resourceClaims`",
            "resourceClaimStatuses[1].name: Invalid value: \"b\": must match the name of an entry in `spec.resourceClaims`",
            "resourceClaimStatuses[1].name: Duplicate value: \"b\"",
            "resourceClaimStatuses[1].resourceClaimName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ],
    );
    status(
        "dnsPolicy: Default",
        "extendedResourceClaimStatus: {resourceClaimName: '', requestMappings: []}",
        &[
            "extendedResourceClaimStatus.requestMappings: Required value: at least one request mapping is required",
            "extendedResourceClaimStatus.resourceClaimName: Required value",
        ],
    );
    status(
        "dnsPolicy: Default",
        "extendedResourceClaimStatus: {resourceClaimName: x, requestMappings: [{containerName: c, resourceName: a.b/c, requestName: r}, {containerName: d, resourceName: a.b/c, requestName: r}, {containerName: d, resourceName: a.b/c, requestName: r}]}",
        &[
            r#"extendedResourceClaimStatus.requestMappings[0].resourceName: Invalid value: "a.b/c": must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests"#,
            r#"extendedResourceClaimStatus.requestMappings[1].containerName: Invalid value: "d": must match the name of an entry in spec.initContainers.name or spec.containers.name"#,
            r#"extendedResourceClaimStatus.requestMappings[2].containerName: Invalid value: "d": must match the name of an entry in spec.initContainers.name or spec.containers.name"#,
            r#"extendedResourceClaimStatus.requestMappings[2].containerName: Duplicate value: "d""#,
            r#"extendedResourceClaimStatus.requestMappings[2].resourceName: Duplicate value: "a.b/c""#,
            r#"extendedResourceClaimStatus.requestMappings[2].requestName: Duplicate value: "r""#,
        ],
    );
}

#[test]
fn users_and_health() {
    let entry = "name: c, image: i, imageID: i, ready: true, restartCount: 0";
    status(
        "dnsPolicy: Default",
        &format!(
            "containerStatuses: [{{{entry}, user: {{linux: {{uid: -1, gid: 0, supplementalGroups: [-1]}}}}, allocatedResourcesStatus: [{{name: cpu, resources: [{{resourceID: a, health: X, message: ''}}, {{resourceID: a, health: Healthy}}]}}, {{name: 'claim:a'}}]}}], ephemeralContainerStatuses: [{{{entry}, allocatedResourcesStatus: [{{name: cpu}}]}}]"
        ),
        &[
            "containerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            "containerStatuses[0].user.linux.supplementalGroups[0]: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            r#"containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: "cpu": must match one of the container's resource requests"#,
            r#"containerStatuses[0].allocatedResourcesStatus[0].resources[0].health: Unsupported value: "X": supported values: "Healthy", "Unhealthy", "Unknown""#,
            "containerStatuses[0].allocatedResourcesStatus[0].resources[0].message: Required value: must be non-empty if specified",
            r#"containerStatuses[0].allocatedResourcesStatus[0].resources[1].resourceID: Duplicate value: "a""#,
            r#"containerStatuses[0].allocatedResourcesStatus[1].name: Invalid value: "claim:a": must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"#,
            "ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status",
        ],
    );
    status(
        "os: {name: windows}",
        &format!("containerStatuses: [{{{entry}, user: {{linux: {{uid: 1, gid: 1}}}}}}]"),
        &["containerStatuses[0].user.linux: Forbidden: cannot be set for a windows pod"],
    );
}
