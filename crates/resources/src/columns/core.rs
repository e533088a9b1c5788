//! Rows of the small kinds of the core group.

use machinery::Value;
use machinery::time::{self, Timestamp};
use serde_json::json;

use super::cell::{age, count, int, items, name, scalar, text};

pub(super) fn of_kind(kind: &str) -> Option<fn(&Value, Timestamp) -> Vec<Value>> {
    Some(match kind {
        "ComponentStatus" => component_status,
        "ConfigMap" => config_map,
        "Namespace" => namespace,
        "ResourceQuota" => resource_quota,
        "Secret" => secret,
        "ServiceAccount" => service_account,
        _ => return None,
    })
}

fn component_status(cs: &Value, _now: Timestamp) -> Vec<Value> {
    let healthy = items(cs, "/conditions").iter().find(|c| text(c, "/type") == "Healthy");
    let status = match healthy.map(|c| text(c, "/status")) {
        Some("True") => "Healthy",
        Some("False") => "Unhealthy",
        _ => "Unknown",
    };
    let part = |pointer| healthy.map_or("", |c| text(c, pointer));
    vec![name(cs), json!(status), json!(part("/message")), json!(part("/error"))]
}

fn config_map(map: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(map), json!(count(map, "/data") + count(map, "/binaryData")), age(map, now)]
}

fn secret(secret: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(secret),
        json!(text(secret, "/type")),
        json!(count(secret, "/data")),
        age(secret, now),
    ]
}

fn service_account(account: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(account), json!(count(account, "/secrets")), age(account, now)]
}

fn namespace(namespace: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(namespace), json!(text(namespace, "/status/phase")), age(namespace, now)]
}

fn resource_quota(quota: &Value, now: Timestamp) -> Vec<Value> {
    let mut hard: Vec<(&String, &Value)> = quota
        .pointer("/status/hard")
        .and_then(Value::as_object)
        .map(|hard| hard.iter().collect())
        .unwrap_or_default();
    hard.sort_by_key(|(resource, _)| *resource);
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, limit) in hard {
        let used = quota.pointer("/status/used").and_then(|used| used.get(resource));
        let used = scalar(used).unwrap_or_else(|| "0".to_owned());
        let cell = format!("{resource}: {used}/{}", scalar(Some(limit)).unwrap_or_default());
        if resource.starts_with("limits.") { &mut limits } else { &mut requests }.push(cell);
    }
    vec![name(quota), json!(requests.join(", ")), json!(limits.join(", ")), age(quota, now)]
}

/// Events in the stored form, the core one; the newer one has the same columns.
pub(super) fn event(event: &Value, now: Timestamp) -> Vec<Value> {
    let pick = |newer: &'static str, older: &'static str| match text(event, newer) {
        "" => text(event, older),
        found => found,
    };
    let involved = if event.get("regarding").is_some() { "/regarding" } else { "/involvedObject" };
    let at = |field: &str| format!("{involved}/{field}");
    let micro = |pointer: &str| Some(text(event, pointer)).filter(|t| !t.is_empty());
    let first = micro("/firstTimestamp")
        .or_else(|| micro("/deprecatedFirstTimestamp"))
        .or_else(|| micro("/eventTime"));
    let last = micro("/series/lastObservedTime")
        .or_else(|| micro("/lastTimestamp"))
        .or_else(|| micro("/deprecatedLastTimestamp"))
        .or(first);
    let mut target = text(event, &at("kind")).to_lowercase();
    let involved_name = text(event, &at("name"));
    if !involved_name.is_empty() {
        target = format!("{target}/{involved_name}");
    }
    let component = match pick("/deprecatedSource/component", "/source/component") {
        "" => pick("/reportingController", "/reportingComponent"),
        component => component,
    };
    let host = match pick("/deprecatedSource/host", "/source/host") {
        "" => text(event, "/reportingInstance"),
        host => host,
    };
    let source =
        if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") };
    let count = [int(event, "/series/count"), int(event, "/count"), int(event, "/deprecatedCount")]
        .into_iter()
        .find(|n| *n != 0)
        .unwrap_or(1);
    vec![
        json!(time::age_of(last, now)),
        json!(text(event, "/type")),
        json!(text(event, "/reason")),
        json!(target),
        json!(text(event, &at("fieldPath"))),
        json!(source),
        json!(pick("/note", "/message").trim()),
        json!(time::age_of(first, now)),
        json!(count.to_string()),
        name(event),
    ]
}
