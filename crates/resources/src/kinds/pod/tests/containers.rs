//! Containers: names, ports, restarts, environment, mounts, probes.

use crate::checks::{check, check_below, check_in_use, check_update};

/// A Pod with one container, `more` in it, and `rest` beside it.
pub(super) fn one(more: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, spec: {{containers: [{{name: c, image: i, {more}}}], {rest}}}}}"
    )
}

/// What is wrong with the only container; paths are below it.
#[track_caller]
pub(super) fn container(more: &str, expected: &[&str]) {
    check_below(&one(more, ""), "spec.containers[0].", expected);
}

#[test]
fn names_and_ports() {
    check(
        "{apiVersion: v1, kind: Pod, spec: {containers: [{image: i}, {image: i}], initContainers: [{name: a, image: i, ports: [{containerPort: 1, hostPort: 7}, {containerPort: 2, hostPort: 7}]}, {name: a, image: i, ports: [{containerPort: 1, hostPort: 7}, {containerPort: 2, hostPort: 7}]}]}}",
        &[
            "spec.containers[0].name: Required value",
            "spec.containers[1].name: Required value",
            r#"spec.containers[1].name: Duplicate value: """#,
            r#"spec.initContainers[0].ports[1].hostPort: Duplicate value: "TCP//7""#,
            r#"spec.initContainers[1].name: Duplicate value: "a""#,
            r#"spec.initContainers[0].ports[1].hostPort: Duplicate value: "TCP//7""#,
        ],
    );
    // What an address on the host looks like is for the kubelet to find out.
    container("ports: [{containerPort: 1, hostPort: 1, hostIP: x}]", &[]);
    container(
        "ports: [{name: A-, containerPort: 1}, {name: b, containerPort: 1}, {name: b, containerPort: -1}]",
        &[
            r#"ports[0].name: Invalid value: "A-": must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)"#,
            r#"ports[0].name: Invalid value: "A-": must contain at least one letter (a-z)"#,
            r#"ports[0].name: Invalid value: "A-": must not begin or end with a hyphen"#,
            r#"ports[2].name: Duplicate value: "b""#,
            "ports[2].containerPort: Invalid value: -1: must be between 1 and 65535, inclusive",
        ],
    );
}

#[test]
fn restarts() {
    let rule = "{action: Restart, exitCodes: {operator: In, values: [1]}}";
    container(&format!("restartPolicy: Never, restartPolicyRules: [{rule}]"), &[]);
    container(
        &format!("restartPolicyRules: [{rule}]"),
        &["restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
    );
    container(
        "restartPolicy: X, restartPolicyRules: [{action: X}, {action: RestartAllContainers, exitCodes: {operator: X}}]",
        &[
            r#"restartPolicy: Unsupported value: "X": supported values: "Always", "Never", "OnFailure""#,
            r#"restartPolicyRules[0].action: Unsupported value: "X": supported values: "Restart", "RestartAllContainers""#,
            "restartPolicyRules[0].exitCodes: Required value: must be specified",
            r#"restartPolicyRules[1].exitCodes.operator: Unsupported value: "X": supported values: "In", "NotIn""#,
        ],
    );
    let many = vec![rule; 21].join(", ");
    let codes = vec!["1"; 256].join(", ");
    container(
        &format!("restartPolicy: Never, restartPolicyRules: [{many}]"),
        &["restartPolicyRules: Too many: 21: must have at most 20 items"],
    );
    container(
        &format!(
            "restartPolicy: Never, restartPolicyRules: [{{action: Restart, exitCodes: {{operator: In, values: [{codes}]}}}}]"
        ),
        &["restartPolicyRules[0].exitCodes.values: Too many: 256: must have at most 255 items"],
    );
    container(
        "resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}, {resourceName: cpu, restartPolicy: X}, {resourceName: disk, restartPolicy: NotRequired}]",
        &[
            r#"resizePolicy[1]: Duplicate value: "cpu""#,
            r#"resizePolicy: Unsupported value: "X": supported values: "NotRequired", "RestartContainer""#,
            r#"resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory""#,
        ],
    );
    check(
        &one(
            "resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]",
            "restartPolicy: Never",
        ),
        &[
            r#"spec.containers[0].resizePolicy: Invalid value: "RestartContainer": must be 'NotRequired' when pod `restartPolicy` is 'Never'"#,
        ],
    );
    let init = |more: &str| one("", &format!("initContainers: [{{name: a, image: i, {more}}}]"));
    let resized = "resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]";
    check(&init(&format!("restartPolicy: Always, {resized}")), &[]);
    check(
        &init(resized),
        &[
            r#"spec.initContainers[0].resizePolicy[0].restartPolicy: Invalid value: "RestartContainer": must not be set to 'RestartContainer' for non-sidecar initContainers"#,
        ],
    );
    // One that is there stays.
    check_update(&init(resized), "{metadata: {labels: {a: b}}}", &[]);
    check(
        &init("lifecycle: {}, startupProbe: {exec: {command: [a]}}"),
        &[
            "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
            "spec.initContainers[0].startupProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
}

#[test]
fn ephemeral_containers() {
    let spec = "ephemeralContainers: [{name: c, image: ' i', targetContainerName: x, ports: [{containerPort: 1}], resources: {limits: {cpu: 1}}, resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}], lifecycle: {}, volumeMounts: [{name: v, mountPath: /v, subPath: s}]}], volumes: [{name: v}]";
    let no = "Forbidden: cannot be set for an Ephemeral Container";
    let at = |field: &str| format!("spec.ephemeralContainers[0].{field}: {no}");
    check(
        &one("", spec),
        &[
            r#"spec.ephemeralContainers[0].image: Invalid value: " i": must not have leading or trailing whitespace"#,
            r#"spec.ephemeralContainers[0].name: Duplicate value: "c""#,
            r#"spec.ephemeralContainers[0].targetContainerName: Not found: "x""#,
            &at("ports"),
            &at("resources"),
            &at("resizePolicy"),
            &at("lifecycle"),
            &at("volumeMounts[0].subPath"),
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ],
    );
}

#[test]
fn environment() {
    let from = |source: &str, expected: &[&str]| {
        let expected: Vec<String> =
            expected.iter().map(|text| format!("env[0].valueFrom{text}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        container(&format!("env: [{{name: a b, valueFrom: {{{source}}}}}]"), &expected);
    };
    from("fieldRef: {fieldPath: spec.host}", &[]);
    from("fieldRef: {fieldPath: \"metadata.labels['a/b']\"}", &[]);
    from(
        "fieldRef: {fieldPath: \"metadata.labels['/']\"}",
        &[
            r#".fieldRef: Invalid value: "/": prefix part must be non-empty"#,
            r#".fieldRef: Invalid value: "/": name part must be non-empty"#,
            r#".fieldRef: Invalid value: "/": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"#,
        ],
    );
    from(
        "fieldRef: {fieldPath: \"spec.x['a']\"}",
        &[
            r#".fieldRef.fieldPath: Invalid value: "spec.x['a']": error converting fieldPath: field label does not support subscript: spec.x['a']"#,
        ],
    );
    from(
        "fieldRef: {fieldPath: spec.x}",
        &[
            r#".fieldRef.fieldPath: Invalid value: "spec.x": error converting fieldPath: field label not supported: spec.x"#,
        ],
    );
    from(
        "fieldRef: {apiVersion: v2, fieldPath: metadata.name}",
        &[
            r#".fieldRef.fieldPath: Invalid value: "metadata.name": error converting fieldPath: unsupported pod version: v2"#,
        ],
    );
    from("resourceFieldRef: {resource: limits.memory, divisor: 1Mi}", &[]);
    from("resourceFieldRef: {resource: requests.hugepages-2Mi, divisor: 1Mi}", &[]);
    from(
        "resourceFieldRef: {resource: limits.memory, divisor: 1500}",
        &[
            r#".resourceFieldRef.divisor: Invalid value: "limits.memory": only divisor's values 1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource"#,
        ],
    );
    from(
        "resourceFieldRef: {resource: limits.disk}",
        &[
            r#".resourceFieldRef.resource: Unsupported value: "limits.disk": supported values: "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory""#,
        ],
    );
    from(
        "configMapKeyRef: {name: m, key: a/b}, secretKeyRef: {name: s, key: ''}",
        &[
            ".configMapKeyRef.key: Invalid value: \"a/b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
            ".secretKeyRef.key: Required value",
            ": Invalid value: \"\": may not have more than one field specified at a time",
        ],
    );
    container(
        "env: [{name: a, value: x, valueFrom: {configMapKeyRef: {name: m, key: k}}}]",
        &["env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty"],
    );
    from(
        "fileKeyRef: {volumeName: v, path: a/../b, key: a=b}",
        &[
            r#".fileKeyRef.key: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='"#,
            r#".fileKeyRef.path: Invalid value: "a/../b": must not contain '..'"#,
            r#".fileKeyRef.volumeName: Not found: "v""#,
        ],
    );
    let file = "env: [{name: a, valueFrom: {fileKeyRef: {volumeName: v, path: p, key: k}}}]";
    check(&one(file, "volumes: [{name: v}]"), &[]);
    check(
        &one(file, "volumes: [{name: v, hostPath: {path: /x}}]"),
        &[
            r#"spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: "v": referenced volume must be of type emptyDir"#,
        ],
    );
    container(
        "envFrom: [{prefix: a=, configMapRef: {name: ''}}, {}, {configMapRef: {name: a-}, secretRef: {name: A}}]",
        &[
            r#"envFrom[0].prefix: Invalid value: "a=": a valid environment variable name must consist only of printable ASCII characters other than '='"#,
            "envFrom[0].configMapRef.name: Required value",
            "envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            "envFrom[2].secretRef.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
            "envFrom: Invalid value: \"\": may not have more than one field specified at a time",
        ],
    );
}

#[test]
fn mounts() {
    let mount = |mounts: &str, expected: &[&str]| {
        check_below(
            &one(mounts, "volumes: [{name: v}, {name: p, persistentVolumeClaim: {claimName: c}}]"),
            "spec.containers[0].",
            expected,
        );
    };
    mount(
        "volumeMounts: [{name: v, mountPath: /a, readOnly: true, recursiveReadOnly: Enabled}]",
        &[],
    );
    mount(
        "volumeMounts: [{name: v, mountPath: /a, subPath: /x, subPathExpr: ../y}, {name: v, mountPath: /a}]",
        &[
            r#"volumeMounts.subPath: Invalid value: "/x": must be a relative path"#,
            r#"volumeMounts[0].subPathExpr: Invalid value: "../y": subPathExpr and subPath are mutually exclusive"#,
            r#"volumeMounts.subPathExpr: Invalid value: "../y": must not contain '..'"#,
            r#"volumeMounts[1].mountPath: Invalid value: "/a": must be unique"#,
        ],
    );
    mount(
        "volumeMounts: [{name: v, mountPath: /a, mountPropagation: Bidirectional, recursiveReadOnly: IfPossible}, {name: v, mountPath: /b, mountPropagation: X, recursiveReadOnly: X}]",
        &[
            "volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to privileged containers",
            "volumeMounts.recursiveReadOnly: Forbidden: may only be specified when readOnly is true",
            "volumeMounts.recursiveReadOnly: Forbidden: may only be specified when mountPropagation is None or not specified",
            r#"volumeMounts.mountPropagation: Unsupported value: "X": supported values: "Bidirectional", "HostToContainer", "None""#,
            r#"volumeMounts.recursiveReadOnly: Unsupported value: "X": supported values: "Disabled", "Enabled", "IfPossible""#,
        ],
    );
    mount(
        "volumeMounts: [{name: p, mountPath: /dev/a}], volumeDevices: [{name: p, devicePath: /dev/a}, {name: v, devicePath: /b/../c}, {name: p, devicePath: ''}]",
        &[
            r#"volumeMounts[0].name: Invalid value: "p": must not already exist in volumeDevices"#,
            r#"volumeDevices[0].name: Invalid value: "p": must not already exist in volumeMounts"#,
            r#"volumeDevices[0].devicePath: Invalid value: "/dev/a": must not already exist as a path in volumeMounts"#,
            r#"volumeDevices[1].name: Invalid value: "v": can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"#,
            r#"volumeDevices[1].devicePath: Invalid value: "/b/../c": can not contain backsteps ('..')"#,
            r#"volumeDevices[2].name: Invalid value: "p": must be unique"#,
            "volumeDevices[2].devicePath: Required value",
            r#"volumeDevices[2].name: Invalid value: "p": must not already exist in volumeMounts"#,
        ],
    );
}

#[test]
fn probes_and_hooks() {
    container(
        "readinessProbe: {httpGet: {port: 80, scheme: FTP, httpHeaders: [{name: 'a b'}]}, terminationGracePeriodSeconds: 0}",
        &[
            r#"readinessProbe.httpGet.scheme: Unsupported value: "FTP": supported values: "HTTP", "HTTPS""#,
            "readinessProbe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
            "readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must be greater than 0",
            "readinessProbe.terminationGracePeriodSeconds: Invalid value: 0: must not be set for readinessProbes",
        ],
    );
    container(
        "lifecycle: {preStop: {sleep: {seconds: 31}}, postStart: {}}",
        &[
            "lifecycle.postStart: Required value: must specify a handler type",
            "lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ],
    );
    container("lifecycle: {preStop: {sleep: {seconds: 0}}}", &[]);
    container(
        "livenessProbe: {grpc: {port: 0}}",
        &["livenessProbe.grpc.port: Invalid value: 0: must be between 1 and 65535, inclusive"],
    );
}

#[test]
fn signals() {
    let signal = |os: &str, signal: &str, expected: &[&str]| {
        check_in_use(&one(&format!("lifecycle: {{stopSignal: {signal}}}"), os), expected);
    };
    // The feature is off: a new Pod cannot ask for signals.
    check(&one("lifecycle: {stopSignal: X}", ""), &[]);
    signal("os: {name: linux}", "SIGRTMIN+3", &[]);
    signal("os: {name: windows}", "SIGTERM", &[]);
    signal(
        "os: {name: windows}",
        "SIGHUP",
        &[
            r#"spec.containers[0].lifecycle.stopSignal: Unsupported value: "SIGHUP": supported values: "SIGKILL", "SIGTERM""#,
        ],
    );
    signal(
        "",
        "SIGTERM",
        &[
            "spec.containers[0].lifecycle.stopSignal: Forbidden: may not be set for containers with empty `spec.os.name`",
        ],
    );
}
