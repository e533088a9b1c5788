//! The row of a Pod: readiness, what it is doing, and its restarts.

use machinery::Value;
use machinery::meta;
use machinery::time::{self, Timestamp};
use serde_json::json;

use super::cell::{age, condition, int, is_true, items, name, text, text_or};

/// What the containers say, gathered in one pass.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    last_restart: Option<Timestamp>,
}

pub(super) fn cells(pod: &Value, now: Timestamp) -> Vec<Value> {
    let summary = summarize(pod);
    let mut restarts = summary.restarts.to_string();
    if let (Some(at), true) = (summary.last_restart, summary.restarts > 0) {
        restarts.push_str(&format!(" ({} ago)", time::age(at, now)));
    }
    let ip = match items(pod, "/status/podIPs").first() {
        Some(first) => text_or(first, "/ip", "<none>"),
        None => text_or(pod, "/status/podIP", "<none>"),
    };
    vec![
        name(pod),
        json!(format!("{}/{}", summary.ready, summary.total)),
        json!(summary.reason),
        json!(restarts),
        age(pod, now),
        json!(ip),
        json!(text_or(pod, "/spec/nodeName", "<none>")),
        json!(text_or(pod, "/status/nominatedNodeName", "<none>")),
        json!(readiness_gates(pod)),
    ]
}

fn readiness_gates(pod: &Value) -> String {
    let gates = items(pod, "/spec/readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let open = gates.iter().filter(|gate| is_true(pod, text(gate, "/conditionType"))).count();
    format!("{open}/{}", gates.len())
}

fn summarize(pod: &Value) -> Summary {
    let init_containers = items(pod, "/spec/initContainers");
    let restartable = |name: &str| {
        init_containers
            .iter()
            .any(|c| text(c, "/name") == name && text(c, "/restartPolicy") == "Always")
    };
    let sidecars = init_containers.iter().filter(|c| text(c, "/restartPolicy") == "Always").count();
    let mut summary = Summary {
        reason: start_reason(pod).to_owned(),
        ready: 0,
        total: items(pod, "/spec/containers").len() + sidecars,
        restarts: 0,
        last_restart: None,
    };
    // Restarts of sidecars count on; those of other init containers only while they run.
    let mut sidecar_restarts = 0;
    let mut last_sidecar_restart = None;
    let mut initializing = false;
    let init_statuses = items(pod, "/status/initContainerStatuses");
    for (i, status) in init_statuses.iter().enumerate() {
        let sidecar = restartable(text(status, "/name"));
        let count = int(status, "/restartCount");
        summary.restarts += count;
        later(&mut summary.last_restart, status);
        if sidecar {
            sidecar_restarts += count;
            later(&mut last_sidecar_restart, status);
        }
        match init_reason(status, sidecar, i, init_containers.len()) {
            Some(reason) => {
                summary.reason = reason;
                initializing = true;
                break;
            }
            None => {
                if sidecar && status.get("ready").and_then(Value::as_bool) == Some(true) {
                    summary.ready += 1;
                }
            }
        }
    }
    if !initializing || is_true(pod, "Initialized") {
        summary.restarts = sidecar_restarts;
        summary.last_restart = last_sidecar_restart;
        run_reason(pod, &mut summary);
    }
    if meta::deletion_timestamp(pod).is_some() {
        if text(pod, "/status/reason") == "NodeLost" {
            summary.reason = "Unknown".to_owned();
        } else if !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
            summary.reason = "Terminating".to_owned();
        }
    }
    summary
}

fn start_reason(pod: &Value) -> &str {
    let gated =
        condition(pod, "PodScheduled").is_some_and(|c| text(c, "/reason") == "SchedulingGated");
    if gated {
        return "SchedulingGated";
    }
    text_or(pod, "/status/reason", text(pod, "/status/phase"))
}

/// Why the Pod is still initializing; `None` when this container holds nothing up.
fn init_reason(status: &Value, sidecar: bool, index: usize, total: usize) -> Option<String> {
    if let Some(terminated) = status.pointer("/state/terminated") {
        if int(terminated, "/exitCode") == 0 {
            return None;
        }
        return Some(match text(terminated, "/reason") {
            "" if int(terminated, "/signal") != 0 => {
                format!("Init:Signal:{}", int(terminated, "/signal"))
            }
            "" => format!("Init:ExitCode:{}", int(terminated, "/exitCode")),
            reason => format!("Init:{reason}"),
        });
    }
    if sidecar && status.get("started").and_then(Value::as_bool) == Some(true) {
        return None;
    }
    match text(status, "/state/waiting/reason") {
        "" | "PodInitializing" => Some(format!("Init:{index}/{total}")),
        reason => Some(format!("Init:{reason}")),
    }
}

fn run_reason(pod: &Value, summary: &mut Summary) {
    let mut has_running = false;
    for status in items(pod, "/status/containerStatuses").iter().rev() {
        summary.restarts += int(status, "/restartCount");
        later(&mut summary.last_restart, status);
        let waiting = text(status, "/state/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut summary.reason);
        } else if let Some(terminated) = status.pointer("/state/terminated") {
            summary.reason = match text(terminated, "/reason") {
                "" if int(terminated, "/signal") != 0 => {
                    format!("Signal:{}", int(terminated, "/signal"))
                }
                "" => format!("ExitCode:{}", int(terminated, "/exitCode")),
                reason => reason.to_owned(),
            };
        } else if status.get("ready").and_then(Value::as_bool) == Some(true)
            && status.pointer("/state/running").is_some_and(|r| !r.is_null())
        {
            has_running = true;
            summary.ready += 1;
        }
    }
    if summary.reason == "Completed" && has_running {
        let ready = is_true(pod, "Ready");
        summary.reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}

/// Keeps the latest end of an earlier run.
fn later(latest: &mut Option<Timestamp>, status: &Value) {
    let finished = time::parse(text(status, "/lastState/terminated/finishedAt"));
    *latest = finished.max(*latest);
}
