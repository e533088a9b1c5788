use machinery::meta;
use serde_json::json;

use crate::checks::{
    check, check_default, check_status, check_update, check_update_warnings, check_warnings,
    created,
};

fn job(spec: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nspec: {{{spec}, template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: i}}]}}}}}}"
    )
}

fn cron(spec: &str) -> String {
    format!(
        "apiVersion: batch/v1\nkind: CronJob\nspec: {{{spec}, jobTemplate: {{spec: {{template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: i}}]}}}}}}}}}}"
    )
}

const PLAIN: &str = "parallelism: 1";
const INDEXED: &str = "completionMode: Indexed, completions: 5, parallelism: 5";

#[test]
fn defaults() {
    let spec = |spec: &str, field: &str, expected: &str| {
        check_default(&job(spec), &format!("/spec/{field}"), expected);
    };
    let none = "suspend: false";
    spec(none, "completions", "1");
    spec(none, "parallelism", "1");
    spec(none, "backoffLimit", "6");
    spec(none, "completionMode", "NonIndexed");
    spec(none, "manualSelector", "false");
    spec(none, "podReplacementPolicy", "TerminatingOrFailed");
    spec("parallelism: 3", "completions", "null");
    spec("backoffLimitPerIndex: 1", "backoffLimit", "2147483647");
    let policy = "podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: T}]}]}";
    spec(policy, "podReplacementPolicy", "Failed");
    spec(policy, "podFailurePolicy/rules/0/onPodConditions/0/status", "'True'");
    check_default(&cron("schedule: '@daily'"), "/spec/concurrencyPolicy", "Allow");
    check_default(&cron("schedule: '@daily'"), "/spec/successfulJobsHistoryLimit", "3");
    check_default(&cron("schedule: '@daily'"), "/spec/failedJobsHistoryLimit", "1");
    check_default(&cron("schedule: '@daily'"), "/spec/jobTemplate/spec/completions", "null");
}

#[test]
fn generated_selectors() {
    let made = created(&job(PLAIN));
    assert_eq!(
        made["spec"]["selector"],
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}})
    );
    assert_eq!(
        made["spec"]["template"]["metadata"]["labels"],
        json!({"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "x",
            "controller-uid": "u", "job-name": "x"})
    );
    check(&job(PLAIN), &[]);
    let labels = |labels: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nspec: {{template: {{metadata: {{labels: {{{labels}}}}}, spec: {{restartPolicy: Never, containers: [{{name: c, image: i}}]}}}}}}"
        )
    };
    check(
        &labels("job-name: other"),
        &[
            "spec.template.metadata.labels[job-name]: Invalid value: {\"job-name\":\"other\",\"batch.kubernetes.io/controller-uid\":\"u\",\"batch.kubernetes.io/job-name\":\"x\",\"controller-uid\":\"u\"}: must be 'x'",
        ],
    );
    check(
        &job("selector: {matchLabels: {a: b}}"),
        &[
            "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\",\"batch.kubernetes.io/controller-uid\":\"u\"}}: `selector` not auto-generated",
            "spec.template.metadata.labels: Invalid value: {\"batch.kubernetes.io/controller-uid\":\"u\",\"batch.kubernetes.io/job-name\":\"x\",\"controller-uid\":\"u\",\"job-name\":\"x\"}: `selector` does not match template `labels`",
        ],
    );
    check(
        &job("manualSelector: true"),
        &[
            "spec.selector: Required value",
            "spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`",
        ],
    );
}

#[test]
fn specs() {
    let check = |spec: &str, errors: &[&str]| check(&job(spec), errors);
    check(
        "backoffLimit: -1",
        &["spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0"],
    );
    check(
        "maxFailedIndexes: 1",
        &[
            "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            "spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode",
        ],
    );
    check("managedBy: acme.io/foo", &[]);
    check(
        "managedBy: foo",
        &[
            "spec.managedBy: Invalid value: \"foo\": must be a domain-prefixed path (such as \"acme.io/foo\")",
        ],
    );
    check(
        &format!("managedBy: a.io/{}", "x".repeat(60)),
        &["spec.managedBy: Too long: may not be more than 63 bytes"],
    );
    check(
        "completionMode: X",
        &[
            "spec.completionMode: Unsupported value: \"X\": supported values: \"NonIndexed\", \"Indexed\"",
        ],
    );
    check(INDEXED, &[]);
    check(
        "completionMode: Indexed, parallelism: 100001",
        &[
            "spec.completions: Required value: when completion mode is Indexed",
            "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion mode is Indexed",
        ],
    );
    check(
        "completionMode: Indexed, completions: 100001, parallelism: 10001, backoffLimitPerIndex: 1",
        &[
            "spec.maxFailedIndexes: Required value: must be specified when completions is above 100000",
            "spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index",
        ],
    );
    check(
        &format!("{INDEXED}, backoffLimitPerIndex: 1, maxFailedIndexes: 6"),
        &["spec.maxFailedIndexes: Invalid value: 6: must be less than or equal to completions"],
    );
    check(
        "podReplacementPolicy: X",
        &[
            "spec.podReplacementPolicy: Unsupported value: \"X\": supported values: \"Failed\", \"TerminatingOrFailed\"",
        ],
    );
    let policy = |policy: &str| {
        format!(
            "apiVersion: batch/v1\nkind: Job\nspec: {{template: {{spec: {{restartPolicy: {policy}, containers: [{{name: c, image: i}}]}}}}}}"
        )
    };
    let check = crate::checks::check;
    check(
        &policy("Always"),
        &[
            r#"spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never""#,
        ],
    );
    check(&policy("OnFailure"), &[]);
    let name = "a".repeat(62);
    check(
        &format!("{}\nmetadata: {{name: {name}}}", job(INDEXED)),
        &[&format!(
            "metadata.name: Invalid value: \"{name}\": will not able to create pod with invalid DNS label: {name}-4"
        )],
    );
}

#[test]
fn failure_policies() {
    let check = |rule: &str, errors: &[&str]| {
        check(&job(&format!("podFailurePolicy: {{rules: [{{{rule}}}]}}")), errors);
    };
    let rule = "spec.podFailurePolicy.rules[0]";
    check("action: FailJob, onExitCodes: {operator: In, values: [1, 2]}", &[]);
    check("action: Ignore, onPodConditions: [{type: DisruptionTarget}]", &[]);
    check(
        "action: Ignore",
        &[&format!(
            "{rule}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required"
        )],
    );
    check(
        "onExitCodes: {values: [3, 1, 1]}, onPodConditions: [{type: T, status: X}]",
        &[
            &format!(
                "{rule}.action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"
            ),
            &format!(
                "{rule}.onExitCodes.operator: Required value: valid values: [\"In\" \"NotIn\"]"
            ),
            &format!("{rule}.onExitCodes.values[2]: Duplicate value: 1"),
            &format!("{rule}.onExitCodes.values: Invalid value: [3,1,1]: must be ordered"),
            &format!(
                "{rule}.onPodConditions[0].status: Unsupported value: \"X\": supported values: \"False\", \"True\", \"Unknown\""
            ),
            &format!(
                "{rule}: Invalid value: specifying both OnExitCodes and OnPodConditions is not supported"
            ),
        ],
    );
    check(
        "action: FailIndex, onExitCodes: {operator: In, values: [0], containerName: x}",
        &[
            &format!(
                "{rule}.action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set"
            ),
            &format!(
                "{rule}.onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template"
            ),
            &format!(
                "{rule}.onExitCodes.values[0]: Invalid value: 0: must not be 0 for the In operator"
            ),
        ],
    );
    check(
        "action: X, onExitCodes: {operator: X, values: []}",
        &[
            &format!(
                "{rule}.action: Unsupported value: \"X\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\""
            ),
            &format!(
                "{rule}.onExitCodes.operator: Unsupported value: \"X\": supported values: \"In\", \"NotIn\""
            ),
            &format!(
                "{rule}.onExitCodes.values: Invalid value: []: at least one value is required"
            ),
        ],
    );
}

#[test]
fn success_policies() {
    let check = |rules: &str, errors: &[&str]| {
        check(&job(&format!("{INDEXED}, successPolicy: {{rules: [{rules}]}}")), errors);
    };
    let rule = "spec.successPolicy.rules[0]";
    check("{succeededIndexes: '0-2', succeededCount: 2}", &[]);
    check(
        "",
        &[
            "spec.successPolicy.rules: Required value: at least one rules must be specified when the successPolicy is specified",
        ],
    );
    check(
        "{}",
        &[&format!(
            "{rule}: Required value: at least one of succeededCount or succeededIndexes must be specified"
        )],
    );
    check(
        "{succeededIndexes: '0-9', succeededCount: 6}",
        &[
            &format!(
                "{rule}.succeededIndexes: Invalid value: \"0-9\": error parsing succeededIndexes: too large index: \"9\""
            ),
            &format!(
                "{rule}.succeededCount: Invalid value: 6: must be less than or equal to 5 (the number of specified completions)"
            ),
            &format!(
                "{rule}.succeededCount: Invalid value: 6: must be less than or equal to 0 (the number of indexes in the specified succeededIndexes field)"
            ),
        ],
    );
    crate::checks::check(
        &job("successPolicy: {rules: [{succeededCount: 1}]}"),
        &[
            "spec.successPolicy: Invalid value: {\"rules\":[{\"succeededCount\":1}]}: requires indexed completion mode",
        ],
    );
}

#[test]
fn updates() {
    let check = |old: &str, new: &str, errors: &[&str]| {
        check_update(&job(old), &format!("spec: {{{new}}}"), errors);
    };
    check(PLAIN, "parallelism: 4, suspend: true, backoffLimit: 2", &[]);
    check(PLAIN, "completions: 4", &["spec.completions: Invalid value: 4: field is immutable"]);
    check(INDEXED, "completions: 4, parallelism: 4", &[]);
    check(
        INDEXED,
        "completions: 4",
        &[
            "spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism",
        ],
    );
    check(
        PLAIN,
        "managedBy: a.io/b",
        &["spec.managedBy: Invalid value: \"a.io/b\": field is immutable"],
    );
    let errors_of = |old: &machinery::Value, patch: &str| {
        let registration = crate::find_kind("batch", "v1", "Job").unwrap();
        let mut new = old.clone();
        let patch: machinery::Value = serde_yaml::from_str(patch).unwrap();
        for (pointer, value) in patch.as_object().unwrap() {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            new.pointer_mut(parent).unwrap()[field] = value.clone();
        }
        registration.check_update(&crate::checks::ctx(), &new, old).aggregate()
    };
    let running = created(&job(PLAIN));
    let mut suspended = created(&job("suspend: true"));
    let pod = "/spec/template/spec";
    let moves = [
        format!("{{{pod}/nodeSelector: {{a: b}}}}"),
        format!("{{{pod}/tolerations: [{{operator: Exists}}]}}"),
        format!("{{{pod}/schedulingGates: [{{name: a.b/c}}]}}"),
        format!("{{{pod}/affinity: {{nodeAffinity: {{}}}}}}"),
        format!("{{{pod}/containers/0/resources: {{requests: {{cpu: 1}}, limits: {{cpu: 1}}}}}}"),
        "{/spec/template/metadata/annotations: {a: b}}".to_owned(),
    ];
    for change in &moves {
        assert_eq!(errors_of(&suspended, change), "[]", "{change}");
        assert!(errors_of(&running, change).ends_with("field is immutable"), "{change}");
    }
    assert!(errors_of(&suspended, &format!("{{{pod}/hostNetwork: true}}")).ends_with("immutable"));
    assert!(
        errors_of(&suspended, &format!("{{{pod}/containers/0/image: j}}")).ends_with("immutable")
    );
    // Pods that still run have the old template.
    suspended["status"] = json!({"active": 1, "startTime": "2024-01-01T00:00:00Z"});
    assert!(errors_of(&suspended, &moves[0]).ends_with("immutable"));
    suspended["status"]["active"] = json!(0);
    assert_eq!(errors_of(&suspended, &moves[0]), "[]");
}

const START: &str = "startTime: '2024-01-01T00:00:00Z'";
const END: &str = "completionTime: '2024-01-01T00:01:00Z'";

fn conditions(kinds: &[&str]) -> String {
    let list: Vec<String> =
        kinds.iter().map(|kind| format!("{{type: {kind}, status: 'True'}}")).collect();
    format!("conditions: [{}]", list.join(", "))
}

#[test]
fn statuses() {
    let of = |spec: &str, status: &str, errors: &[&str]| {
        check_status(&job(spec), &format!("status: {{{status}}}"), errors);
    };
    let check = |status: &str, errors: &[&str]| of(PLAIN, status, errors);
    let complete = conditions(&["SuccessCriteriaMet", "Complete"]);
    check(&format!("{START}, {END}, {complete}, succeeded: 1"), &[]);
    check("active: -1", &["status.active: Invalid value: -1: must be greater than or equal to 0"]);
    check(
        "uncountedTerminatedPods: {succeeded: [a, ''], failed: [a]}",
        &[
            "status.uncountedTerminatedPods.succeeded[1]: Invalid value: \"\": must not be empty",
            "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"",
        ],
    );
    let wrong = |detail: &str| format!("status.conditions: Invalid value: {detail}");
    check(
        &format!("{START}, {END}, {}", conditions(&["Complete", "Failed"])),
        &[
            &wrong("cannot set Complete=True and Failed=true conditions"),
            &wrong("cannot set Failed=True condition without the FailureTarget=true condition"),
            &wrong(
                "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
            ),
        ],
    );
    check(
        &format!(
            "{START}, {END}, {}",
            conditions(&["SuccessCriteriaMet", "FailureTarget", "Complete"])
        ),
        &[
            &wrong("cannot set Complete=True and FailureTarget=true conditions"),
            &wrong("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
        ],
    );
    check(
        &format!("{START}, {END}"),
        &[
            "status.completionTime: Invalid value: \"2024-01-01T00:01:00Z\": cannot set completionTime when there is no Complete=True condition",
        ],
    );
    check(
        &complete,
        &[
            "status.completionTime: Required value: completionTime is required for Complete jobs",
            "status.startTime: Required value: startTime is required for finished job",
        ],
    );
    check(
        &format!("startTime: '2024-01-01T00:02:00Z', {END}, {complete}"),
        &[
            "status.completionTime: Invalid value: \"2024-01-01T00:01:00Z\": completionTime cannot be set before startTime",
        ],
    );
    check(
        &format!(
            "{START}, {END}, {complete}, active: 1, terminating: 1, uncountedTerminatedPods: {{failed: [a]}}"
        ),
        &[
            "status.active: Invalid value: 1: active>0 is invalid for finished job",
            "status.uncountedTerminatedPods: Invalid value: {\"failed\":[\"a\"]}: uncountedTerminatedPods needs to be empty for finished job",
            "status.terminating: Invalid value: 1: terminating>0 is invalid for finished job",
        ],
    );
    check(
        "ready: 2, active: 1",
        &["status.ready: Invalid value: 2: cannot set more ready pods than active"],
    );
    check(
        "completedIndexes: '0'",
        &[
            "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
        ],
    );
    let per_index = format!("{INDEXED}, backoffLimitPerIndex: 1");
    of(&per_index, "completedIndexes: '0,2', failedIndexes: '1'", &[]);
    of(
        &per_index,
        "completedIndexes: '0,2-9', failedIndexes: '0-1'",
        &[
            "status.completedIndexes: Invalid value: \"0,2-9\": error parsing completedIndexes: too large index: \"9\"",
            "status.failedIndexes: Invalid value: \"0-1\": failedIndexes and completedIndexes overlap at index: 0",
        ],
    );
    of(
        INDEXED,
        "failedIndexes: ''",
        &[
            "status.failedIndexes: Invalid value: \"\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
        ],
    );
}

#[test]
fn status_transitions() {
    let registration = crate::find_kind("batch", "v1", "Job").unwrap();
    let check = |spec: &str, from: &str, to: &str, expected: &str| {
        let with = |status: &str| {
            let mut object = created(&job(spec));
            object["status"] = serde_yaml::from_str(&format!("{{{status}}}")).unwrap();
            object
        };
        let (new, old) = (with(to), with(from));
        let errors = registration.check_status_update(&crate::checks::ctx(), &new, &old);
        assert_eq!(errors.aggregate(), expected, "{to}");
    };
    let target = conditions(&["FailureTarget"]);
    check(
        PLAIN,
        &target,
        "",
        "status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition",
    );
    check(
        PLAIN,
        &conditions(&["SuccessCriteriaMet"]),
        "",
        "status.conditions: Invalid value: cannot disable the SuccessCriteriaMet=True condition",
    );
    check(
        PLAIN,
        "failed: 2, succeeded: 2",
        "failed: 1, succeeded: 1",
        "[status.failed: Invalid value: 1: cannot decrease the failed counter, status.succeeded: Invalid value: 1: cannot decrease the succeeded counter]",
    );
    check(INDEXED, "succeeded: 2", "succeeded: 1", "[]");
    check(
        PLAIN,
        START,
        "active: 0",
        "status.startTime: Required value: startTime cannot be removed for unsuspended job",
    );
    check("suspend: true", START, "active: 0", "[]");
    // What is wrong already does not stand in the way of the rest.
    check(PLAIN, END, &format!("{END}, failed: 1"), "[]");
    check(
        PLAIN,
        END,
        "completionTime: '2024-01-01T00:05:00Z'",
        "[status.completionTime: Invalid value: \"2024-01-01T00:05:00Z\": cannot set completionTime when there is no Complete=True condition, status.completionTime: Invalid value: \"2024-01-01T00:05:00Z\": completionTime cannot be mutated]",
    );
}

#[test]
fn cron_jobs() {
    let check_cron = |spec: &str, errors: &[&str]| check(&cron(spec), errors);
    check_cron("schedule: '*/5 * * * *', timeZone: Europe/Berlin", &[]);
    check_cron("suspend: true", &["spec.schedule: Required value"]);
    check_cron(
        "schedule: '61 * * * *'",
        &[
            r#"spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61"#,
        ],
    );
    check_cron(
        "schedule: 'TZ=UTC * * * * *'",
        &[
            r#"spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead"#,
        ],
    );
    let zone = |zone: &str, errors: &[&str]| {
        check_cron(&format!("schedule: '@daily', timeZone: '{zone}'"), errors);
    };
    zone("", &["spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string"]);
    for name in ["Nowhere/City", "../etc", "a//b", "europe/berlin"] {
        zone(
            name,
            &[&format!("spec.timeZone: Invalid value: \"{name}\": unknown time zone {name}")],
        );
    }
    zone(
        "Local",
        &[
            "spec.timeZone: Invalid value: \"Local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ],
    );
    check_cron(
        "schedule: '@daily', concurrencyPolicy: X, startingDeadlineSeconds: -1, successfulJobsHistoryLimit: -1",
        &[
            "spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
            "spec.concurrencyPolicy: Unsupported value: \"X\": supported values: \"Allow\", \"Forbid\", \"Replace\"",
            "spec.successfulJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
        ],
    );
    let name = "x".repeat(53);
    let named = format!("{}\nmetadata: {{name: {name}}}", cron("schedule: '@daily'"));
    let long =
        format!("metadata.name: Invalid value: \"{name}\": must be no more than 52 characters");
    check(&named, &[&long]);
    check_update(&named, "spec: {suspend: true}", &[]);
    let old = cron("schedule: 'TZ=UTC 0 * * * *'");
    check_update(&old, "spec: {schedule: 'TZ=UTC 1 * * * *'}", &[]);
    check_update(
        &old,
        "spec: {timeZone: UTC}",
        &[
            r#"spec.schedule: Invalid value: "TZ=UTC 0 * * * *": cannot use both timeZone field and TZ or CRON_TZ in schedule"#,
        ],
    );
    check_update(
        &cron("schedule: '@daily'"),
        "spec: {jobTemplate: {spec: {manualSelector: true, selector: {}}}}",
        &[
            "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
            "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: \"nil\", \"false\"",
        ],
    );
}

#[test]
fn warnings() {
    let many = "completionMode: Indexed, completions: 100001, parallelism: 10001";
    let text = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
    check_warnings(&job(many), &[&format!("spec: {text}")]);
    check_update_warnings(&job(many), "", "metadata: {labels: {a: b}}", &[]);
    check_update_warnings(&job(many), "", "spec: {suspend: true}", &[&format!("spec: {text}")]);
    check_warnings(
        &format!("{}\nmetadata: {{name: a.b}}", cron("schedule: '@daily'")),
        &[
            "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
        ],
    );
    check_update_warnings(
        &cron("schedule: 'TZ=UTC 0 * * * *'"),
        "",
        "{}",
        &[
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
        ],
    );
    assert_eq!(meta::generation(&created(&job(PLAIN))), 1);
}
