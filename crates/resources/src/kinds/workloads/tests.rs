use machinery::meta;
use serde_json::json;

use crate::checks::{
    check, check_default, check_in_use, check_status, check_update, check_update_warnings,
    check_warnings, created, updated,
};

const LABELS: &str = "metadata: {labels: {a: b}}";
const CONTAINERS: &str = "spec: {containers: [{name: c, image: i}]}";

fn of(kind: &str, spec: &str) -> String {
    format!("apiVersion: apps/v1\nkind: {kind}\nspec: {{{spec}}}")
}

fn workload(kind: &str, more: &str) -> String {
    of(
        kind,
        &format!(
            "selector: {{matchLabels: {{a: b}}}}, template: {{{LABELS}, {CONTAINERS}}}, {more}"
        ),
    )
}

const DEPLOYMENT: &str = "Deployment";

#[test]
fn defaults() {
    let deployment = workload(DEPLOYMENT, "");
    let rolling = "{type: RollingUpdate, rollingUpdate: {maxUnavailable: 25%, maxSurge: 25%}}";
    check_default(&deployment, "/spec/strategy", rolling);
    check_default(&deployment, "/spec/replicas", "1");
    check_default(&deployment, "/spec/progressDeadlineSeconds", "600");
    check_default(&deployment, "/spec/revisionHistoryLimit", "10");
    check_default(
        &workload(DEPLOYMENT, "strategy: {type: Recreate}"),
        "/spec/strategy",
        "{type: Recreate}",
    );
    let daemons = workload("DaemonSet", "");
    let rolling = "{type: RollingUpdate, rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}";
    check_default(&daemons, "/spec/updateStrategy", rolling);
    let set = workload("StatefulSet", "");
    let rolling = "{type: RollingUpdate, rollingUpdate: {partition: 0}}";
    check_default(&set, "/spec/updateStrategy", rolling);
    check_default(&set, "/spec/podManagementPolicy", "OrderedReady");
    check_default(
        &set,
        "/spec/persistentVolumeClaimRetentionPolicy",
        "{whenDeleted: Retain, whenScaled: Retain}",
    );
    check_default(
        &workload("StatefulSet", "updateStrategy: {type: OnDelete}"),
        "/spec/updateStrategy",
        "{type: OnDelete}",
    );
    check_default(
        "apiVersion: v1\nkind: ReplicationController\nspec: {template: {metadata: {labels: {a: b}}, spec: {containers: []}}}",
        "/spec/selector",
        "{a: b}",
    );
}

#[test]
fn selectors() {
    for kind in [DEPLOYMENT, "ReplicaSet", "DaemonSet", "StatefulSet"] {
        check(&workload(kind, ""), &[]);
    }
    let template = format!("template: {{{LABELS}, {CONTAINERS}}}");
    let mismatch = "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`";
    for kind in [DEPLOYMENT, "ReplicaSet", "StatefulSet"] {
        check(&of(kind, &template), &["spec.selector: Required value", mismatch]);
        check(&of(kind, &format!("selector: {{matchLabels: {{a: c}}}}, {template}")), &[mismatch]);
    }
    check(&of("DaemonSet", &template), &[mismatch]);
    for (kind, name) in
        [(DEPLOYMENT, "deployment"), ("DaemonSet", "daemonset"), ("StatefulSet", "statefulset")]
    {
        check(
            &of(kind, &format!("selector: {{}}, {template}")),
            &[&format!("spec.selector: Invalid value: {{}}: empty selector is invalid for {name}")],
        );
    }
    // What cannot be understood says nothing of the template.
    check(
        &of(
            DEPLOYMENT,
            "selector: {matchExpressions: [{key: a, operator: X}]}, template: {spec: {}}",
        ),
        &[
            "spec.selector.matchExpressions[0].operator: Invalid value: \"X\": not a valid selector operator",
            "spec.selector: Invalid value: {\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"X\"}]}: invalid label selector",
        ],
    );
    for kind in [DEPLOYMENT, "ReplicaSet", "DaemonSet"] {
        check_update(
            &workload(kind, ""),
            "spec: {selector: {matchLabels: {c: d}}, template: {metadata: {labels: {c: d}}}}",
            &[
                "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"c\":\"d\"}}: field is immutable",
            ],
        );
    }
}

#[test]
fn deployments() {
    let check = |more: &str, errors: &[&str]| check(&workload(DEPLOYMENT, more), errors);
    check(
        "replicas: -1",
        &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
    );
    check(
        "strategy: {type: Recreate, rollingUpdate: {maxSurge: 1}}",
        &[
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ],
    );
    check(
        "strategy: {type: X}",
        &[
            "spec.strategy: Unsupported value: {\"type\":\"X\"}: supported values: \"Recreate\", \"RollingUpdate\"",
        ],
    );
    check(
        "strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}",
        &[
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ],
    );
    check(
        "strategy: {rollingUpdate: {maxSurge: x, maxUnavailable: 101%}}",
        &[
            "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"x\": a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%",
        ],
    );
    check(
        "minReadySeconds: 600",
        &["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
    );
    check(
        "revisionHistoryLimit: -1",
        &["spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"],
    );
    let pod = "spec: {template: {spec: {restartPolicy: Never, activeDeadlineSeconds: 5}}}";
    check_update(
        &workload(DEPLOYMENT, ""),
        pod,
        &[
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in ReplicaSet is not Supported",
        ],
    );
}

#[test]
fn generations() {
    let deployment = workload(DEPLOYMENT, "");
    let generation = |patch: &str| meta::generation(&updated(&deployment, patch));
    assert_eq!(generation("{}"), 1);
    assert_eq!(generation("metadata: {labels: {x: y}}"), 1);
    assert_eq!(generation("metadata: {annotations: {x: y}}"), 2);
    assert_eq!(generation("spec: {replicas: 3}"), 2);
    assert_eq!(generation("{metadata: {generation: 7}, status: {replicas: 3}}"), 1);
    let set = workload("ReplicaSet", "");
    assert_eq!(meta::generation(&updated(&set, "metadata: {annotations: {x: y}}")), 1);
    let daemons = workload("DaemonSet", "");
    let templates = |object: &machinery::Value| {
        meta::annotation(object, "deprecated.daemonset.template.generation").map(str::to_owned)
    };
    assert_eq!(templates(&created(&daemons)).as_deref(), Some("1"));
    let after = updated(&daemons, "spec: {template: {spec: {nodeName: n}}}");
    assert_eq!(templates(&after).as_deref(), Some("2"));
    let after = updated(&daemons, "spec: {minReadySeconds: 3}");
    assert_eq!((templates(&after).as_deref(), meta::generation(&after)), (Some("1"), 2));
}

#[test]
fn daemon_sets() {
    let check = |more: &str, errors: &[&str]| check(&workload("DaemonSet", more), errors);
    check("updateStrategy: {type: OnDelete}", &[]);
    check(
        "updateStrategy: {type: X}",
        &[
            "spec.updateStrategy: Unsupported value: {\"type\":\"X\"}: supported values: \"RollingUpdate\", \"OnDelete\"",
        ],
    );
    check(
        "updateStrategy: {rollingUpdate: {maxUnavailable: 1, maxSurge: 1}}",
        &[
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
        ],
    );
    check(
        "updateStrategy: {rollingUpdate: {maxUnavailable: 0%}}",
        &[
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ],
    );
    let status = |status: &str, errors: &[&str]| {
        check_status(&workload("DaemonSet", ""), &format!("status: {{{status}}}"), errors);
    };
    status("numberReady: 1, collisionCount: 0", &[]);
    status(
        "numberReady: -1, collisionCount: -1",
        &[
            "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
            "status.collisionCount: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
}

#[test]
fn stateful_sets() {
    let set = |more: &str| workload("StatefulSet", more);
    let check_set = |more: &str, errors: &[&str]| check(&set(more), errors);
    check_set("serviceName: s", &[]);
    check_set(
        "podManagementPolicy: X",
        &["spec.podManagementPolicy: Invalid value: \"X\": must be 'OrderedReady' or 'Parallel'"],
    );
    check_set(
        "updateStrategy: {type: OnDelete, rollingUpdate: {partition: 1}}",
        &[
            "spec.updateStrategy.rollingUpdate: Invalid value: {\"partition\":1}: only allowed for updateStrategy 'RollingUpdate'",
        ],
    );
    check_in_use(
        &set("updateStrategy: {rollingUpdate: {partition: -1, maxUnavailable: 0}}"),
        &[
            "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0",
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
        ],
    );
    check_set(
        "persistentVolumeClaimRetentionPolicy: {whenDeleted: X}, ordinals: {start: -1}",
        &[
            "spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: \"X\": supported values: \"Retain\", \"Delete\"",
            "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    check_set(
        "serviceName: a.b, volumeClaimTemplates: [{metadata: {name: data}, spec: {}}]",
        &[
            "spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required",
            "spec.volumeClaimTemplates[0].spec.resources[storage]: Required value",
            "spec.serviceName: Invalid value: \"a.b\": must not contain dots",
        ],
    );
    check(
        &format!("{}\nmetadata: {{name: a.b}}", set("")),
        &["metadata.name: Invalid value: \"a.b\": must not contain dots"],
    );
    // A claim gives a volume; what nobody gives is missed.
    let mounts = |names: &str| {
        of(
            "StatefulSet",
            &format!(
                "selector: {{matchLabels: {{a: b}}}}, template: {{{LABELS}, spec: {{containers: [{{name: c, image: i, volumeMounts: [{names}]}}]}}}}, volumeClaimTemplates: [{{metadata: {{name: data}}, spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}}}]"
            ),
        )
    };
    check(&mounts("{name: data, mountPath: /d}"), &[]);
    check(
        &mounts("{name: x, mountPath: /d}"),
        &["spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"x\""],
    );
}

#[test]
fn stateful_set_updates() {
    let forbidden = "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
    let check = |old: &str, new: &str, errors: &[&str]| {
        check_update(&workload("StatefulSet", old), &format!("spec: {{{new}}}"), errors);
    };
    check("serviceName: s", "serviceName: t", &[forbidden]);
    check("", "podManagementPolicy: Parallel", &[forbidden]);
    check("", "replicas: 3, minReadySeconds: 2, revisionHistoryLimit: -1", &[]);
    // Names from before may stay, and so may templates.
    check("serviceName: a.b", "replicas: 3", &[]);
    let old =
        of("StatefulSet", &format!("selector: {{matchLabels: {{a: b}}}}, template: {{{LABELS}}}"));
    check_update(&old, "spec: {replicas: 2}", &[]);
    check(
        "",
        "template: {spec: {containers: []}}",
        &["spec.template.spec.containers: Required value"],
    );
}

#[test]
fn reported_numbers() {
    let check = |kind: &str, status: &str, errors: &[&str]| {
        check_status(&workload(kind, ""), &format!("status: {{{status}}}"), errors);
    };
    for kind in [DEPLOYMENT, "ReplicaSet", "StatefulSet"] {
        check(kind, "replicas: 3, readyReplicas: 2, availableReplicas: 1", &[]);
        check(
            kind,
            "replicas: 1, readyReplicas: 2, availableReplicas: 1",
            &["status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas"],
        );
    }
    check(
        DEPLOYMENT,
        "replicas: 2, readyReplicas: 1, availableReplicas: 2, unavailableReplicas: -1, terminatingReplicas: -1",
        &[
            "status.unavailableReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.terminatingReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
        ],
    );
    check(
        "StatefulSet",
        "replicas: 2, availableReplicas: 1",
        &[
            "status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas",
        ],
    );
    let controller = "{apiVersion: v1, kind: ReplicationController, spec: {template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: i}]}}}}";
    check_status(
        controller,
        "status: {replicas: 1, fullyLabeledReplicas: 2, observedGeneration: -1}",
        &[
            "status.observedGeneration: Invalid value: -1: must be greater than or equal to 0",
            "status.fullyLabeledReplicas: Invalid value: 2: cannot be greater than status.replicas",
        ],
    );
    // Collisions are never forgotten.
    let (registration, _) = crate::checks::decoded(&workload(DEPLOYMENT, ""));
    let mut old = created(&workload(DEPLOYMENT, ""));
    old["status"] = json!({"collisionCount": 2});
    let mut new = old.clone();
    new["status"] = json!({"collisionCount": 1});
    let ctx = crate::checks::ctx();
    let errors = registration.check_status_update(&ctx, &new, &old);
    assert_eq!(
        errors.aggregate(),
        "status.collisionCount: Invalid value: 1: cannot be decremented"
    );
}

#[test]
fn warnings() {
    let name = "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]";
    let grace = "spec.template.spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1";
    let named = |kind: &str| {
        format!(
            "{}\nmetadata: {{name: a.b}}",
            of(
                kind,
                "selector: {}, template: {spec: {terminationGracePeriodSeconds: -1, containers: []}}"
            )
        )
    };
    check_warnings(&named(DEPLOYMENT), &[name, grace]);
    check_warnings(&named("ReplicaSet"), &[name, grace]);
    check_warnings(&named("DaemonSet"), &[grace]);
    check_update_warnings(&named(DEPLOYMENT), "", "metadata: {labels: {a: b}}", &[]);
    check_update_warnings(&named(DEPLOYMENT), "", "spec: {replicas: 5}", &[grace]);
    let claims = "volumeClaimTemplates: [{metadata: {name: d}, spec: {resources: {requests: {storage: 1500m}}}}]";
    let fraction = "resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer";
    let limit = "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
    let set = workload("StatefulSet", &format!("revisionHistoryLimit: -1, {claims}"));
    check_warnings(&set, &[&format!("spec.volumeClaimTemplates[0].{fraction}"), limit]);
    check_update_warnings(
        &set,
        "",
        "{}",
        &[&format!("spec.volumeClaimTemplates[0].Spec.{fraction}"), limit],
    );
}

#[test]
fn revisions() {
    let revision =
        |data: &str| format!("apiVersion: apps/v1\nkind: ControllerRevision\nrevision: 1\n{data}");
    check(&revision("data: {a: 1}"), &[]);
    check(&revision(""), &["data: Required value: data is mandatory"]);
    check(&revision("data: 5"), &["data: Required value: data must be a valid JSON object"]);
    check_update(
        &revision("data: {a: 1}"),
        "data: {a: 2}",
        &["data: Invalid value: {\"a\":2}: field is immutable"],
    );
    check_update(
        &revision("data: {a: 1}"),
        "revision: -2",
        &["revision: Invalid value: -2: must be greater than or equal to 0"],
    );
}

#[test]
fn templates_keep_what_was_let_in_before() {
    let term = "{topologyKey: t, labelSelector: {matchExpressions: [{key: a, operator: In, values: ['-']}]}}";
    let affinity = format!(
        "affinity: {{podAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}"
    );
    let template = |policy: &str| {
        format!(
            "{{metadata: {{labels: {{a: b}}}}, spec: {{restartPolicy: {policy}, containers: [{{name: c, image: i}}], {affinity}}}}}"
        )
    };
    let always = format!("template: {}", template("Always"));
    let job = format!("template: {}", template("Never"));
    let selector = "selector: {matchLabels: {a: b}}";
    for (api, kind, spec) in [
        ("v1", "PodTemplate", always.clone()),
        ("v1", "ReplicationController", format!("spec: {{{always}}}")),
        ("apps/v1", "ReplicaSet", format!("spec: {{{selector}, {always}}}")),
        ("apps/v1", "Deployment", format!("spec: {{{selector}, {always}}}")),
        ("apps/v1", "DaemonSet", format!("spec: {{{selector}, {always}}}")),
        ("apps/v1", "StatefulSet", format!("spec: {{{selector}, serviceName: s, {always}}}")),
        ("batch/v1", "Job", format!("spec: {{{job}}}")),
        (
            "batch/v1",
            "CronJob",
            format!("spec: {{schedule: '* * * * *', jobTemplate: {{spec: {{{job}}}}}}}"),
        ),
    ] {
        let object = format!("{{apiVersion: {api}, kind: {kind}, {spec}}}");
        let (registration, _) = crate::checks::decoded(&object);
        let new = crate::checks::created(&object);
        let errors = registration.check_create(&crate::checks::ctx(), &new);
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(
            texts.len() == 1 && texts[0].contains("labelSelector.matchExpressions"),
            "{kind}: {texts:?}"
        );
        crate::checks::check_update(&object, "{metadata: {labels: {x: y}}}", &[]);
    }
}
