//! What becomes of a Pod when it is created, and annotations that mean something.

use serde_json::{Value, json};

use crate::checks::{check, check_below, check_default, check_update, check_warnings, created};

fn noted(annotations: &str, container: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{annotations: {{{annotations}}}}}, spec: {{containers: [{{name: c, image: i, {container}}}], {rest}}}}}"
    )
}

#[track_caller]
fn annotated(annotations: &str, expected: &[&str]) {
    check_below(&noted(annotations, "", ""), "metadata.annotations", expected);
}

#[test]
fn annotations() {
    annotated(
        "kubernetes.io/config.mirror: h",
        &[
            r#"[kubernetes.io/config.mirror]: Invalid value: "h": must set spec.nodeName if mirror pod annotation is set"#,
        ],
    );
    for good in ["0", "-7", "2147483647"] {
        annotated(&format!("controller.kubernetes.io/pod-deletion-cost: '{good}'"), &[]);
    }
    for bad in ["", "+1", "007", "x", "2147483648"] {
        let text = format!(
            "[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"{bad}\": must be a 32bit integer"
        );
        annotated(&format!("controller.kubernetes.io/pod-deletion-cost: '{bad}'"), &[&text]);
    }
    check_update(
        &noted("controller.kubernetes.io/pod-deletion-cost: x", "", ""),
        "{metadata: {labels: {a: b}}}",
        &[],
    );
    annotated(r#"scheduler.alpha.kubernetes.io/tolerations: '[{"operator": "Exists"}]'"#, &[]);
    annotated(
        r#"scheduler.alpha.kubernetes.io/tolerations: '[{"operator": "X", "key": "a"}]'"#,
        &[
            r#".scheduler.alpha.kubernetes.io/tolerations[0].operator: Unsupported value: "X": supported values: "Equal", "Exists""#,
        ],
    );
    annotated(
        "scheduler.alpha.kubernetes.io/tolerations: '{}'",
        &[
            r#": Invalid value: "scheduler.alpha.kubernetes.io/tolerations": json: cannot unmarshal object into Go value of type []core.Toleration"#,
        ],
    );
    annotated(
        "seccomp.security.alpha.kubernetes.io/pod: x, container.seccomp.security.alpha.kubernetes.io/c: localhost//x",
        &[
            r#".seccomp.security.alpha.kubernetes.io/pod: Invalid value: "x": must be a valid seccomp profile"#,
            r#".container.seccomp.security.alpha.kubernetes.io/c: Invalid value: "/x": must be a relative path"#,
        ],
    );
    annotated(
        "container.apparmor.security.beta.kubernetes.io/d: x",
        &[
            r#"[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: "d": container not found"#,
            r#"[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: "x": invalid AppArmor profile name: "x""#,
        ],
    );
    check(
        "{apiVersion: v1, kind: ReplicationController, spec: {template: {metadata: {labels: {a: b}, annotations: {seccomp.security.alpha.kubernetes.io/pod: x}}, spec: {containers: [{name: c, image: i}]}}}}",
        &[
            r#"spec.template.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "x": must be a valid seccomp profile"#,
        ],
    );
}

#[test]
fn profiles_given_twice_are_the_same() {
    let seccomp = "container.seccomp.security.alpha.kubernetes.io/c";
    let armor = "container.apparmor.security.beta.kubernetes.io/c";
    let given = |key: &str, noted_as: &str, field: &str, expected: &[&str]| {
        check_below(
            &noted(&format!("{key}: {noted_as}"), &format!("securityContext: {{{field}}}"), ""),
            "spec.containers[0].securityContext.",
            expected,
        );
    };
    given(seccomp, "docker/default", "seccompProfile: {type: RuntimeDefault}", &[]);
    given(seccomp, "localhost/a", "seccompProfile: {type: Localhost, localhostProfile: a}", &[]);
    given(
        seccomp,
        "unconfined",
        "seccompProfile: {type: RuntimeDefault}",
        &["seccompProfile.type: Forbidden: seccomp type in annotation and field must match"],
    );
    given(
        seccomp,
        "localhost/a",
        "seccompProfile: {type: Localhost, localhostProfile: b}",
        &[
            "seccompProfile.localhostProfile: Forbidden: seccomp profile in annotation and field must match",
        ],
    );
    given(armor, "unconfined", "appArmorProfile: {type: Unconfined}", &[]);
    given(
        armor,
        "unconfined",
        "appArmorProfile: {type: RuntimeDefault}",
        &["appArmorProfile.type: Forbidden: apparmor type in annotation and field must match"],
    );
    given(
        armor,
        "localhost/a",
        "appArmorProfile: {type: Localhost, localhostProfile: b}",
        &[
            "appArmorProfile.localhostProfile: Forbidden: apparmor profile in annotation and field must match",
        ],
    );
}

#[test]
fn fields_follow_from_annotations_of_app_armor() {
    let key = "container.apparmor.security.beta.kubernetes.io/c";
    let deprecated = format!(
        "metadata.annotations[{key}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
    );
    let profile = |noted_as: &str, rest: &str, expected: Value, warned: bool| {
        let yaml = noted(&format!("{key}: {noted_as}"), "", rest);
        let pod = created(&yaml);
        let found = pod.pointer("/spec/containers/0/securityContext/appArmorProfile");
        assert_eq!(found.cloned().unwrap_or_default(), expected, "{noted_as}");
        let text: &[&str] = &[&deprecated];
        check_warnings(&yaml, if warned { text } else { &[] });
    };
    profile("runtime/default", "", json!({"type": "RuntimeDefault"}), true);
    profile("localhost/a", "", json!({"type": "Localhost", "localhostProfile": "a"}), true);
    profile("localhost/", "", Value::Null, true);
    let whole = "securityContext: {appArmorProfile: {type: Unconfined}}";
    profile("unconfined", whole, Value::Null, false);
    profile("runtime/default", whole, json!({"type": "RuntimeDefault"}), true);
    profile("runtime/default", "os: {name: windows}", Value::Null, false);
}

#[test]
fn gated_pods_say_so() {
    let pod = created(&noted("", "", "schedulingGates: [{name: a}]"));
    let condition = &pod["status"]["conditions"][0];
    assert_eq!(condition["type"], "PodScheduled");
    assert_eq!(condition["reason"], "SchedulingGated");
}

#[test]
fn defaults() {
    let resources = |container: &str, whole: &str, expected: &str| {
        check_default(
            &noted("", &format!("resources: {{{container}}}"), &format!("resources: {{{whole}}}")),
            "/spec/resources",
            expected,
        );
    };
    resources(
        "limits: {cpu: 1, hugepages-2Mi: 4Mi}",
        "limits: {memory: 1Gi}",
        "{limits: {memory: 1Gi, hugepages-2Mi: 4Mi}, requests: {cpu: '1', memory: 1Gi, hugepages-2Mi: 4Mi}}",
    );
    resources("limits: {hugepages-2Mi: 4Mi, cpu: 1}", "", "{}");
    resources(
        "limits: {hugepages-2Mi: 4Mi, cpu: 1}",
        "requests: {hugepages-2Mi: 2Mi}",
        "{requests: {hugepages-2Mi: 2Mi}}",
    );
    check_default(
        &noted("", "resources: {requests: {cpu: 100u}}", ""),
        "/spec/containers/0/resources/requests",
        "{cpu: 1m}",
    );
    check_default(
        &noted("pod.alpha.kubernetes.io/init-containers: x, a: b", "", ""),
        "/metadata/annotations",
        "{a: b}",
    );
    check_default(
        "{apiVersion: v1, kind: Pod, spec: {containers: []}, status: {podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.1}]}}",
        "/status",
        "{podIP: 10.0.0.2, podIPs: [{ip: 10.0.0.2}]}",
    );
}

#[test]
fn static_pods_have_no_claims() {
    check(
        &noted("kubernetes.io/config.mirror: h", "", "nodeName: n, resourceClaims: [{name: a}]"),
        &[": Forbidden: static pods do not support resource claims"],
    );
}
