//! What may change about a Pod, through the main resource and through others.

use crate::checks::{check_subresource, check_update};

fn pod(container: &str, rest: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, spec: {{containers: [{{name: c, image: i, {container}}}], {rest}}}}}"
    )
}

#[test]
fn gated_pods_become_narrower() {
    let gated = |rest: &str| pod("", &format!("schedulingGates: [{{name: a}}], {rest}"));
    let affinity = |terms: &str| {
        format!(
            "affinity: {{nodeAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: {{nodeSelectorTerms: [{terms}]}}}}}}"
        )
    };
    let change = |old: &str, new: &str, expected: &[&str]| {
        check_update(&gated(old), &format!("{{spec: {{{new}}}}}"), expected);
    };
    change("nodeSelector: {a: b}", "nodeSelector: {a: b, c: d}", &[]);
    change(
        "nodeSelector: {a: b}",
        "nodeSelector: {a: c}",
        &[
            r#"spec.nodeSelector: Invalid value: {"a":"c"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)"#,
        ],
    );
    let (a, b) = ("{key: a, operator: Exists}", "{key: b, operator: Exists}");
    let term = |list: &str| format!("{{matchExpressions: [{list}]}}");
    change("dnsPolicy: Default", &affinity(&term(a)), &[]);
    change(&affinity(&term(a)), &affinity(&term(&format!("{a}, {b}"))), &[]);
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    let shown = r#"{"MatchExpressions":[{"Key":"b","Operator":"Exists","Values":null}],"MatchFields":null}"#;
    change(
        &affinity(&term(a)),
        &affinity(&term(b)),
        &[&format!(
            "{path}[0]: Invalid value: {shown}: only additions are allowed (no mutations or deletions)"
        )],
    );
    change(
        &affinity(&format!("{}, {}", term(a), term(a))),
        &affinity(&term(b)),
        &[&format!(
            "{path}: Invalid value: [{shown}]: no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        )],
    );
    change(
        "dnsPolicy: Default",
        "schedulingGates: [{name: a}, {name: b}]",
        &[
            "spec.schedulingGates[1].name: Forbidden: only deletion is allowed, but found new scheduling gate 'b'",
        ],
    );
}

#[test]
fn annotations_that_stay() {
    let mirror = "kubernetes.io/config.mirror";
    let old = "{apiVersion: v1, kind: Pod, metadata: {annotations: {kubernetes.io/config.mirror: h}}, spec: {nodeName: n, containers: [{name: c, image: i}]}}";
    check_update(
        old,
        "{metadata: {annotations: {kubernetes.io/config.mirror: g}}}",
        &[&format!(
            "metadata.annotations[{mirror}]: Forbidden: may not remove or update mirror pod annotation"
        )],
    );
    let armor = "container.apparmor.security.beta.kubernetes.io/c";
    check_update(
        &pod("", "nodeName: n"),
        &format!("{{metadata: {{annotations: {{{mirror}: h, {armor}: unconfined}}}}}}"),
        &[
            &format!(
                "metadata.annotations[{mirror}]: Forbidden: may not add mirror pod annotation"
            ),
            &format!("metadata.annotations[{armor}]: Forbidden: may not add AppArmor annotations"),
        ],
    );
    check_subresource(
        old,
        "ephemeralcontainers",
        "{spec: {ephemeralContainers: [{name: d, image: i}]}}",
        &[": Forbidden: static pods do not support ephemeral containers"],
    );
    check_subresource(old, "resize", "{}", &[": Forbidden: static pods cannot be resized"]);
}

#[test]
fn ephemeral_containers_are_only_added() {
    let added = "{spec: {ephemeralContainers: [{name: d, image: i}]}, metadata: {labels: {a: b}}}";
    check_subresource(&pod("", "nodeName: n"), "ephemeralcontainers", added, &[]);
    let old = pod("", "ephemeralContainers: [{name: d, image: i}]");
    check_subresource(
        &old,
        "ephemeralcontainers",
        "{spec: {ephemeralContainers: [{name: d, image: j}]}}",
        &[
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be changed\n- image: \"i\"\n+ image: \"j\"\n",
        ],
    );
    check_subresource(
        &old,
        "ephemeralcontainers",
        "{spec: {ephemeralContainers: []}}",
        &[
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n",
        ],
    );
}

#[test]
fn resizes() {
    let resize = |old: &str, new: &str, expected: &[&str]| {
        check_subresource(old, "resize", &format!("{{spec: {{{new}}}}}"), expected);
    };
    let amounts =
        |resources: &str| pod(&format!("resources: {{{resources}}}"), "dnsPolicy: Default");
    let to = |resources: &str| {
        format!("containers: [{{name: c, image: other, resources: {{{resources}}}}}]")
    };
    // The image is not a resize's to change, and stays.
    resize(&amounts("requests: {cpu: 1}"), &to("requests: {cpu: 2}"), &[]);
    resize(
        &amounts("requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 1, memory: 1Gi}"),
        &to("requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 2, memory: 1Gi}"),
        &[
            r#"spec: Invalid value: "Guaranteed": Pod QOS Class may not change as a result of resizing"#,
        ],
    );
    resize(
        &amounts("requests: {cpu: 1}"),
        "containers: [{name: d, image: i}]",
        &[
            r#"spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing"#,
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize",
        ],
    );
    resize(
        &amounts("requests: {cpu: 1}"),
        "containers: [{name: c, image: i, resources: {requests: {cpu: 1}}}, {name: d, image: i}]",
        &["spec.containers: Forbidden: containers may not be added or removed on resize"],
    );
    resize(
        &pod("resources: {requests: {cpu: 1}}", "os: {name: windows}"),
        &to("requests: {cpu: 2}"),
        &[": Forbidden: windows pods cannot be resized"],
    );
    let init = |more: &str| format!("initContainers: [{{name: a, image: i, {more}}}]");
    let with_init = |more: &str| pod("resources: {requests: {cpu: 1}}", &init(more));
    resize(
        &with_init("resources: {requests: {cpu: 1}}"),
        &init("resources: {requests: {cpu: 2}}"),
        &[],
    );
    let restarted = "resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]";
    resize(
        &with_init(&format!("resources: {{requests: {{cpu: 1}}}}, {restarted}")),
        &init(&format!("resources: {{requests: {{cpu: 2}}}}, {restarted}")),
        &[
            "spec.initContainers[0]: Forbidden: non-sidecar init containers with a resize policy of RestartContainer cannot be resized",
        ],
    );
    let whole = |resources: &str| pod("", &format!("resources: {{{resources}}}"));
    resize(&whole("requests: {cpu: 1}, limits: {cpu: 2}"), "resources: {requests: {cpu: 2}}", &[]);
    resize(
        &whole("requests: {cpu: 1, memory: 1Gi}"),
        "resources: {requests: {cpu: 1, memory: null}}",
        &["spec.resources.requests: Forbidden: pod-level resource requests cannot be removed"],
    );
}
