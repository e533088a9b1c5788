//! Rows of workloads and of what scales or protects them.

use machinery::Value;
use machinery::meta;
use machinery::time::{self, Timestamp};
use serde_json::json;

use super::cell::{
    age, condition, containers, flag, int, is_true, items, label_selector, labels, name, scalar,
    since, text, text_or,
};

const TEMPLATE: &str = "/spec/template/spec";

pub(super) fn deployment(d: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(d, TEMPLATE);
    vec![
        name(d),
        json!(format!("{}/{}", int(d, "/status/readyReplicas"), int(d, "/spec/replicas"))),
        json!(int(d, "/status/updatedReplicas")),
        json!(int(d, "/status/availableReplicas")),
        age(d, now),
        names,
        images,
        json!(label_selector(d.pointer("/spec/selector"), "")),
    ]
}

/// ReplicaSets and ReplicationControllers, whose selectors have different forms.
pub(super) fn replica_set(rs: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(rs, TEMPLATE);
    let selector = if meta::kind(rs) == "ReplicationController"
        || rs.pointer("/spec/selector/matchLabels").is_none()
            && rs.pointer("/spec/selector/matchExpressions").is_none()
    {
        labels(rs.pointer("/spec/selector").and_then(Value::as_object), "<none>")
    } else {
        label_selector(rs.pointer("/spec/selector"), "<none>")
    };
    vec![
        name(rs),
        json!(int(rs, "/spec/replicas")),
        json!(int(rs, "/status/replicas")),
        json!(int(rs, "/status/readyReplicas")),
        age(rs, now),
        names,
        images,
        json!(selector),
    ]
}

pub(super) fn daemon_set(ds: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(ds, TEMPLATE);
    let node_selector = ds.pointer("/spec/template/spec/nodeSelector").and_then(Value::as_object);
    vec![
        name(ds),
        json!(int(ds, "/status/desiredNumberScheduled")),
        json!(int(ds, "/status/currentNumberScheduled")),
        json!(int(ds, "/status/numberReady")),
        json!(int(ds, "/status/updatedNumberScheduled")),
        json!(int(ds, "/status/numberAvailable")),
        json!(labels(node_selector, "<none>")),
        age(ds, now),
        names,
        images,
        json!(label_selector(ds.pointer("/spec/selector"), "")),
    ]
}

pub(super) fn stateful_set(sts: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(sts, TEMPLATE);
    vec![
        name(sts),
        json!(format!("{}/{}", int(sts, "/status/readyReplicas"), int(sts, "/spec/replicas"))),
        age(sts, now),
        names,
        images,
    ]
}

pub(super) fn controller_revision(revision: &Value, now: Timestamp) -> Vec<Value> {
    let controller = match meta::controller_of(revision) {
        None => "<none>".to_owned(),
        Some(owner) => {
            let kind = owner.kind.to_lowercase();
            match owner.api_version.split_once('/') {
                Some((group, _)) => format!("{kind}.{group}/{}", owner.name),
                None => format!("{kind}/{}", owner.name),
            }
        }
    };
    vec![name(revision), json!(controller), json!(int(revision, "/revision")), age(revision, now)]
}

pub(super) fn job(job: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(job, TEMPLATE);
    let succeeded = int(job, "/status/succeeded");
    let parallelism = int(job, "/spec/parallelism");
    let completions = match job.pointer("/spec/completions").and_then(Value::as_i64) {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    };
    let duration = match time::parse(text(job, "/status/startTime")) {
        None => String::new(),
        Some(start) => {
            let end = time::parse(text(job, "/status/completionTime")).unwrap_or(now);
            time::age(start, end)
        }
    };
    let status = if is_true(job, "Complete") {
        "Complete"
    } else if is_true(job, "Failed") {
        "Failed"
    } else if meta::deletion_timestamp(job).is_some() {
        "Terminating"
    } else if is_true(job, "Suspended") {
        "Suspended"
    } else if is_true(job, "FailureTarget") {
        "FailureTarget"
    } else if is_true(job, "SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    };
    vec![
        name(job),
        json!(status),
        json!(completions),
        json!(duration),
        age(job, now),
        names,
        images,
        json!(label_selector(job.pointer("/spec/selector"), "<none>")),
    ]
}

pub(super) fn cron_job(cj: &Value, now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(cj, "/spec/jobTemplate/spec/template/spec");
    let last = match text(cj, "/status/lastScheduleTime") {
        "" => "<none>".to_owned(),
        _ => since(cj, "/status/lastScheduleTime", now),
    };
    let suspend = if flag(cj, "/spec/suspend") { "True" } else { "False" };
    vec![
        name(cj),
        json!(text(cj, "/spec/schedule")),
        json!(text_or(cj, "/spec/timeZone", "<none>")),
        json!(suspend),
        json!(items(cj, "/status/active").len()),
        json!(last),
        age(cj, now),
        names,
        images,
        json!(label_selector(cj.pointer("/spec/jobTemplate/spec/selector"), "<none>")),
    ]
}

pub(super) fn pod_template(template: &Value, _now: Timestamp) -> Vec<Value> {
    let [names, images] = containers(template, "/template/spec");
    let pod_labels = template.pointer("/template/metadata/labels").and_then(Value::as_object);
    vec![name(template), names, images, json!(labels(pod_labels, "<none>"))]
}

pub(super) fn pdb(pdb: &Value, now: Timestamp) -> Vec<Value> {
    let limit = |pointer| scalar(pdb.pointer(pointer)).unwrap_or_else(|| "N/A".to_owned());
    vec![
        name(pdb),
        json!(limit("/spec/minAvailable")),
        json!(limit("/spec/maxUnavailable")),
        json!(int(pdb, "/status/disruptionsAllowed")),
        age(pdb, now),
    ]
}

pub(super) fn hpa(hpa: &Value, now: Timestamp) -> Vec<Value> {
    let reference = format!(
        "{}/{}",
        text(hpa, "/spec/scaleTargetRef/kind"),
        text(hpa, "/spec/scaleTargetRef/name")
    );
    let min = hpa.pointer("/spec/minReplicas").and_then(Value::as_i64);
    let min = min.map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
    vec![
        name(hpa),
        json!(reference),
        json!(targets(hpa)),
        json!(min),
        json!(int(hpa, "/spec/maxReplicas")),
        json!(int(hpa, "/status/currentReplicas")),
        age(hpa, now),
    ]
}

fn targets(hpa: &Value) -> String {
    let metrics = items(hpa, "/spec/metrics");
    if metrics.is_empty() {
        return match hpa.pointer("/spec/targetCPUUtilizationPercentage").and_then(Value::as_i64) {
            Some(target) => {
                let current = hpa.pointer("/status/currentCPUUtilizationPercentage");
                let current = scalar(current).map_or("<unknown>".to_owned(), |n| format!("{n}%"));
                format!("cpu: {current}/{target}%")
            }
            None => "<none>".to_owned(),
        };
    }
    let current = items(hpa, "/status/currentMetrics");
    let texts: Vec<String> =
        metrics.iter().enumerate().map(|(i, m)| target(m, current.get(i))).collect();
    let shown = texts.iter().take(2).cloned().collect::<Vec<_>>().join(", ");
    if texts.len() > 2 { format!("{shown} + {} more...", texts.len() - 2) } else { shown }
}

fn target(metric: &Value, current: Option<&Value>) -> String {
    let (member, named) = match text(metric, "/type") {
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        "External" => ("external", false),
        "Object" => ("object", false),
        "Pods" => ("pods", false),
        _ => return "<unknown type>".to_owned(),
    };
    let want = |field: &str| scalar(metric.pointer(&format!("/{member}/target/{field}")));
    let have = |field: &str| {
        current.and_then(|c| scalar(c.pointer(&format!("/{member}/current/{field}"))))
    };
    let unknown = || "<unknown>".to_owned();
    if named {
        let prefix = text(metric, &format!("/{member}/name"));
        if let Some(average) = want("averageValue") {
            return format!("{prefix}: {}/{average}", have("averageValue").unwrap_or_else(unknown));
        }
        let now = have("averageUtilization").map_or_else(unknown, |n| format!("{n}%"));
        let goal = want("averageUtilization").map_or("<auto>".to_owned(), |n| format!("{n}%"));
        return format!("{prefix}: {now}/{goal}");
    }
    match (member, want("averageValue")) {
        ("pods", average) => format!(
            "{}/{}",
            have("averageValue").unwrap_or_else(unknown),
            average.unwrap_or_else(unknown)
        ),
        (_, Some(average)) => {
            format!("{}/{average} (avg)", have("averageValue").unwrap_or_else(unknown))
        }
        (_, None) => format!(
            "{}/{}",
            have("value").unwrap_or_else(unknown),
            want("value").unwrap_or_else(unknown)
        ),
    }
}

/// The status of a condition, for rows that show one.
pub(super) fn condition_status<'a>(object: &'a Value, kind: &str, missing: &'a str) -> &'a str {
    condition(object, kind).map_or(missing, |c| text(c, "/status"))
}
