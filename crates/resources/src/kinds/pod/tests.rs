mod containers;
mod creation;
mod resources;
mod scheduling;
mod security;
mod status;
mod updates;
mod volumes;

use machinery::time::Timestamp;
use serde_json::Value;

use super::*;

fn ctx() -> Ctx<'static> {
    static NULL: Value = Value::Null;
    Ctx { now: Timestamp::UNIX_EPOCH, user: &NULL }
}

fn pod(spec: &str) -> Value {
    let spec: Value = serde_yaml::from_str(spec).unwrap();
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "n"}, "spec": spec});
    crate::find("", "v1", "pods").unwrap().default(&mut pod);
    pod
}

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    let errors = Pod.validate(&ctx(), &pod(spec));
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected, "{spec}");
}

/// A Pod with one container, `more` in it, and `rest` beside it.
fn one(more: &str, rest: &str) -> String {
    format!("{{containers: [{{name: a, image: x, {more}}}], {rest}}}")
}

#[test]
fn defaults() {
    let pod = pod("
containers:
- name: a
  image: nginx
  ports: [{containerPort: 80}]
  livenessProbe: {httpGet: {port: 80}}
  resources: {limits: {cpu: '1', memory: 1Gi}, requests: {cpu: 100m}}
  env: [{name: E, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
- {name: b, image: 'reg:5000/x:1'}
volumes:
- {name: v}
- {name: c, configMap: {name: c}}
- {name: h, hostPath: {path: /x}}
");
    let expected = json!({
        "containers": [
            {
                "name": "a", "image": "nginx",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "livenessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1,
                    "failureThreshold": 3,
                },
                "resources": {
                    "limits": {"cpu": "1", "memory": "1Gi"},
                    "requests": {"cpu": "100m", "memory": "1Gi"},
                },
                "env": [{"name": "E", "valueFrom": {"fieldRef":
                    {"fieldPath": "metadata.name", "apiVersion": "v1"}}}],
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "Always",
            },
            {
                "name": "b", "image": "reg:5000/x:1",
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
                "imagePullPolicy": "IfNotPresent",
            },
        ],
        "volumes": [
            {"name": "v", "emptyDir": {}},
            {"name": "c", "configMap": {"name": "c", "defaultMode": 420}},
            {"name": "h", "hostPath": {"path": "/x", "type": ""}},
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        "enableServiceLinks": true,
    });
    assert_eq!(pod["spec"], expected);
}

#[test]
fn defaults_twice_are_defaults_once() {
    let once =
        pod(&one("resources: {limits: {cpu: 1}}", "hostNetwork: true, serviceAccountName: s"));
    let mut twice = once.clone();
    Pod.default(&mut twice);
    assert_eq!(once, twice);
    assert_eq!(once["spec"]["serviceAccount"], "s");
}

#[test]
fn good_pods() {
    check(&one("", ""), &[]);
    check(
        &one(
            "volumeMounts: [{name: v, mountPath: /x}], ports: [{name: http, containerPort: 80}]",
            "volumes: [{name: v}], tolerations: [{operator: Exists}], nodeSelector: {a: b}",
        ),
        &[],
    );
}

#[test]
fn containers_rules() {
    check("{containers: []}", &["spec.containers: Required value"]);
    check(
        "{containers: [{name: a, image: x}, {name: a}]}",
        &[
            "spec.containers[1].image: Required value",
            r#"spec.containers[1].name: Duplicate value: "a""#,
        ],
    );
    check(
        "{containers: [{image: ' x'}]}",
        &[
            "spec.containers[0].name: Required value",
            r#"spec.containers[0].image: Invalid value: " x": must not have leading or trailing whitespace"#,
        ],
    );
    check(
        &one("imagePullPolicy: Sometimes", ""),
        &[
            r#"spec.containers[0].imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never""#,
        ],
    );
    check(
        &one("ports: [{containerPort: 0}, {containerPort: 70000, protocol: X}]", ""),
        &[
            "spec.containers[0].ports[0].containerPort: Required value",
            "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            r#"spec.containers[0].ports[1].protocol: Unsupported value: "X": supported values: "SCTP", "TCP", "UDP""#,
        ],
    );
    check(
        &one("ports: [{containerPort: 1, hostPort: 5}, {containerPort: 2, hostPort: 5}]", ""),
        &[r#"spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//5""#],
    );
    check(
        &one("volumeMounts: [{name: v, mountPath: /x}]", ""),
        &[r#"spec.containers[0].volumeMounts[0].name: Not found: "v""#],
    );
    check(
        &one("resources: {requests: {cpu: 2}, limits: {cpu: 1}}", ""),
        &[
            r#"spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1"#,
        ],
    );
    check(
        &one("resources: {limits: {cpu: '-1'}, requests: {cpu: '-2'}}", ""),
        &[
            r#"spec.containers[0].resources.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0"#,
            r#"spec.containers[0].resources.requests[cpu]: Invalid value: "-2": must be greater than or equal to 0"#,
        ],
    );
    check(
        &one("resources: {requests: {example.com/gpu: 1}}", ""),
        &[
            "spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources",
        ],
    );
}

#[test]
fn probes_and_hooks() {
    check(
        &one("livenessProbe: {}", ""),
        &["spec.containers[0].livenessProbe: Required value: must specify a handler type"],
    );
    check(
        &one(
            "livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}, successThreshold: 2}",
            "",
        ),
        &[
            "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
    );
    check(
        &one("readinessProbe: {httpGet: {port: http-}, periodSeconds: -1}", ""),
        &[
            r#"spec.containers[0].readinessProbe.httpGet.port: Invalid value: "http-": must not begin or end with a hyphen"#,
            "spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    check(
        "{containers: [{name: a, image: x}], initContainers: [{name: a, image: x, readinessProbe: {exec: {command: [a]}}}]}",
        &[
            r#"spec.initContainers[0].name: Duplicate value: "a""#,
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ],
    );
}

#[test]
fn environment() {
    check(
        &one("env: [{value: x}, {name: a=b}, {name: c, valueFrom: {}}]", ""),
        &[
            "spec.containers[0].env[0].name: Required value",
            r#"spec.containers[0].env[1].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='"#,
            "spec.containers[0].env[2].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ],
    );
    check(
        &one("env: [{name: a, valueFrom: {fieldRef: {fieldPath: status.phase}}}]", ""),
        &[
            r#"spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "status.phase": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs""#,
        ],
    );
}

#[test]
fn volume_rules() {
    check(
        &one(
            "",
            "volumes: [{name: v, configMap: {}}, {name: v, secret: {secretName: s}, emptyDir: {}}]",
        ),
        &[
            "spec.volumes[0].configMap.name: Required value",
            "spec.volumes[1].secret: Forbidden: may not specify more than 1 volume type",
        ],
    );
    check(
        &one("", "volumes: [{name: v, hostPath: {path: /a/../b}}]"),
        &[r#"spec.volumes[0].hostPath.path: Invalid value: "/a/../b": must not contain '..'"#],
    );
    check(
        &one(
            "",
            "volumes: [{name: v, projected: {sources: [{serviceAccountToken: {path: t, expirationSeconds: 5}}]}}]",
        ),
        &[
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes",
            "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
        ],
    );
}

#[test]
fn pod_rules() {
    check(
        &one("", "restartPolicy: Sometimes"),
        &[
            r#"spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never""#,
        ],
    );
    check(
        &one("", "activeDeadlineSeconds: 0"),
        &[
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ],
    );
    check(
        &one("", "tolerations: [{key: a, operator: Exists, value: b}, {key: a, effect: X}]"),
        &[
            "spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
            r#"spec.tolerations[1].effect: Unsupported value: "X": supported values: "NoSchedule", "PreferNoSchedule", "NoExecute""#,
        ],
    );
    check(
        &one(
            "",
            "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: In}]}]}}}",
        ),
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
        ],
    );
    check(
        &one("ports: [{containerPort: 80, hostPort: 81}]", "hostNetwork: true"),
        &[
            "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
        ],
    );
}

#[test]
fn quality_of_service() {
    let check = |resources: &str, expected: &str| {
        assert_eq!(qos_class(&pod(&one(&format!("resources: {resources}"), ""))), expected);
    };
    check("{}", "BestEffort");
    check("{requests: {cpu: 1}}", "Burstable");
    check("{limits: {cpu: 1}}", "Burstable");
    check("{limits: {cpu: 1, memory: 1Gi}}", "Guaranteed");
    check("{limits: {cpu: 1, memory: 1Gi}, requests: {memory: 1Mi}}", "Burstable");
}

#[test]
fn creation() {
    let mut pod = pod(&one("", ""));
    pod["status"] = json!({"phase": "Running"});
    Pod.prepare_for_create(&ctx(), &mut pod);
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
}

#[track_caller]
fn check_update(old: &str, new: &str, expected: &[&str]) {
    let errors = Pod.validate_update(&ctx(), &pod(new), &pod(old));
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[test]
fn updates() {
    let old = one("", "");
    check_update(
        &old,
        "{containers: [{name: a, image: y}], tolerations: [{operator: Exists}], activeDeadlineSeconds: 5}",
        &[],
    );
    check_update(
        &old,
        &one("args: [x]", ""),
        &[
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n+ containers[0].args: [\"x\"]\n",
        ],
    );
    check_update(
        &old,
        "{containers: [{name: a, image: x}, {name: b, image: y}]}",
        &["spec.containers: Forbidden: pod updates may not add or remove containers"],
    );
    check_update(
        &one("", "tolerations: [{key: a, operator: Exists}]"),
        &old,
        &[
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ],
    );
    check_update(&one("", "schedulingGates: [{name: a}]"), &one("", "nodeSelector: {a: b}"), &[]);
    check_update(
        &one("", "activeDeadlineSeconds: 5"),
        &old,
        &[
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
        ],
    );
}

#[track_caller]
fn check_resize(old: &str, new: &str, expected: &[&str]) {
    let errors = Pod.validate_subresource(&ctx(), "resize", &pod(new), &pod(old));
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected);
}

#[test]
fn resizes() {
    let old = one("resources: {requests: {cpu: 1, ephemeral-storage: 1Gi}}", "");
    check_resize(&old, &one("resources: {requests: {cpu: 2, ephemeral-storage: 1Gi}}", ""), &[]);
    check_resize(
        &old,
        &one("resources: {requests: {cpu: 2, ephemeral-storage: 2Gi}}", ""),
        &["spec: Forbidden: only cpu and memory resources are mutable"],
    );
    check_resize(
        &one("resources: {requests: {cpu: 1, memory: 1Gi}}", ""),
        &one("resources: {requests: {cpu: 1}}", ""),
        &["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
    );
}

#[test]
fn templates_leave_host_ports_open() {
    let spec = serde_yaml::from_str::<Value>(
        "{metadata: {labels: {a: b}}, spec: {hostNetwork: true, containers: [{name: a, image: x, ports: [{containerPort: 80, protocol: TCP}]}]}}",
    );
    let mut template = spec.unwrap();
    defaults::template(&mut template);
    let mut errors = ErrorList::new();
    spec::template(&At::root(&template), None, &mut errors);
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn grace() {
    let check = |spec: &str, phase: &str, requested: Option<i64>, expected: i64| {
        let mut pod = pod(&one("", spec));
        pod["status"] = json!({"phase": phase});
        assert_eq!(Pod.graceful_deletion(&ctx(), &pod, requested), Some(expected), "{spec}");
    };
    check("", "Pending", None, 0);
    check("nodeName: n", "Running", None, 30);
    check("nodeName: n, terminationGracePeriodSeconds: 5", "Running", None, 5);
    check("nodeName: n, terminationGracePeriodSeconds: -5", "Running", None, 1);
    check("nodeName: n", "Running", Some(0), 0);
    check("nodeName: n", "Succeeded", None, 0);
}

#[test]
fn warnings() {
    let given = Pod.warnings(&ctx(), &pod(&one("env: [{name: a}, {name: a}]", "")), None);
    assert_eq!(
        given,
        [
            r#"spec.containers[0].env[1]: hides previous definition of "a", which may be dropped when using apply"#
        ]
    );
}
