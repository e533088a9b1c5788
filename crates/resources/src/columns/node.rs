//! The row of a Node.

use std::collections::BTreeSet;

use machinery::Value;
use machinery::meta;
use machinery::time::Timestamp;
use serde_json::json;

use super::cell::{age, condition, flag, items, joined_or, name, text, text_or};

pub(super) fn cells(node: &Value, now: Timestamp) -> Vec<Value> {
    let mut status = match condition(node, "Ready") {
        None => "Unknown",
        Some(c) if text(c, "/status") == "True" => "Ready",
        Some(_) => "NotReady",
    }
    .to_owned();
    if flag(node, "/spec/unschedulable") {
        status.push_str(",SchedulingDisabled");
    }
    let address = |kind: &str| {
        items(node, "/status/addresses")
            .iter()
            .find(|a| text(a, "/type") == kind)
            .map_or("<none>", |a| text(a, "/address"))
    };
    let info = |field: &str| {
        let pointer = format!("/status/nodeInfo/{field}");
        text_or(node, &pointer, "<unknown>").to_owned()
    };
    vec![
        name(node),
        json!(status),
        json!(roles(node)),
        age(node, now),
        json!(text(node, "/status/nodeInfo/kubeletVersion")),
        json!(address("InternalIP")),
        json!(address("ExternalIP")),
        json!(info("osImage")),
        json!(info("kernelVersion")),
        json!(info("containerRuntimeVersion")),
    ]
}

fn roles(node: &Value) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in meta::labels(node).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => {
                roles.insert(role);
            }
            None if key == "kubernetes.io/role" && !value.is_empty() => {
                roles.insert(value);
            }
            _ => {}
        }
    }
    joined_or(&roles.into_iter().collect::<Vec<_>>(), "<none>")
}
