//! The difference between two Pod statuses as a strategic merge patch. Pure.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

use super::conditions::{OWNED, PASSING, is_ours};

/// Lists that the API merges by key and that are therefore replaced explicitly.
const REPLACED: [&str; 2] = ["podIPs", "hostIPs"];
/// Fields of a status that the kubelet does not own and must not clear.
const FOREIGN: [&str; 4] =
    ["nominatedNodeName", "resourceClaimStatuses", "resize", "extendedResourceClaimStatus"];

/// What to send so that `old` becomes `new`; `None` when nothing the kubelet owns differs.
pub(super) fn status_patch(old: &Value, new: &Value) -> Option<Value> {
    let empty = Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let mut patch = Map::new();
    for (field, value) in new {
        if FOREIGN.contains(&field.as_str()) || old.get(field) == Some(value) {
            continue;
        }
        if field == "conditions" {
            let changed = changed_conditions(old.get(field), value);
            if !changed.is_empty() {
                patch.insert(field.clone(), Value::Array(changed));
            }
        } else if REPLACED.contains(&field.as_str()) {
            let mut list = vec![json!({"$patch": "replace"})];
            list.extend(value.as_array().into_iter().flatten().cloned());
            patch.insert(field.clone(), Value::Array(list));
        } else {
            patch.insert(field.clone(), value.clone());
        }
    }
    for field in old.keys() {
        let foreign = FOREIGN.contains(&field.as_str()) || field == "conditions";
        if !new.contains_key(field) && !foreign {
            patch.insert(field.clone(), Value::Null);
        }
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn changed_conditions(old: Option<&Value>, new: &Value) -> Vec<Value> {
    let none = Vec::new();
    let old = old.and_then(Value::as_array).unwrap_or(&none);
    let find = |type_: &Value| old.iter().find(|c| c.get("type") == Some(type_));
    let there = |type_: &str| {
        let has = |list: &Vec<Value>| list.iter().any(|c| c.get("type") == Some(&json!(type_)));
        (has(old), new.as_array().is_some_and(has))
    };
    let gone = PASSING.into_iter().filter(|type_| there(type_) == (true, false));
    let gone = gone.map(|type_| json!({"$patch": "delete", "type": type_}));
    let owned = new.as_array().into_iter().flatten().filter(|condition| {
        let text = |key: &str| condition.get(key).and_then(Value::as_str).unwrap_or_default();
        is_ours(text("type"), text("reason"))
    });
    owned
        .filter_map(|condition| {
            let before = condition.get("type").and_then(find);
            let same = before.is_some_and(|before| {
                ["status", "reason", "message", "observedGeneration"]
                    .iter()
                    .all(|key| before.get(*key) == condition.get(*key))
            });
            if same {
                return None;
            }
            let mut condition = condition.clone();
            // In a merge, what is left out stays: say that it is gone.
            for key in ["reason", "message"] {
                if before.is_some_and(|b| b.get(key).is_some()) && condition.get(key).is_none() {
                    condition[key] = Value::Null;
                }
            }
            Some(condition)
        })
        .chain(gone)
        .collect()
}

/// Sets the generation that a status and its conditions are about.
pub(super) fn set_generation(status: &mut PodStatus, generation: Option<i64>) {
    status.observed_generation = generation;
    for condition in status.conditions.iter_mut().flatten() {
        if OWNED.contains(&condition.type_.as_str()) {
            condition.observed_generation = generation;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_statuses_need_no_patch() {
        let status =
            json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        assert_eq!(status_patch(&status, &status), None);
    }

    #[test]
    fn only_owned_differences_are_sent() {
        let old = json!({
            "phase": "Pending", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
            "nominatedNodeName": "w1", "reason": "x",
            "conditions": [
                {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "a"},
                {"type": "example.com/gate", "status": "True"},
            ]
        });
        let new = json!({
            "phase": "Running", "podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}],
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": "b"},
            ]
        });
        assert_eq!(
            status_patch(&old, &new),
            Some(json!({
                "phase": "Running", "podIP": "10.0.0.2",
                "podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}],
                "conditions": [{"type": "Ready", "status": "True", "reason": null}],
                "reason": null
            }))
        );
    }

    #[test]
    fn the_end_of_a_resize_is_sent() {
        let ready = json!({"type": "Ready", "status": "True"});
        let resize = json!({"type": "PodResizeInProgress", "status": "True"});
        let old = json!({"conditions": [resize, ready]});
        let new = json!({"conditions": [ready]});
        let gone = json!({"$patch": "delete", "type": "PodResizeInProgress"});
        assert_eq!(status_patch(&old, &new), Some(json!({"conditions": [gone]})));
        assert_eq!(status_patch(&new, &new), None);
        assert_eq!(status_patch(&new, &old), Some(json!({"conditions": [resize]})));
    }

    #[test]
    fn a_disruption_is_sent_by_who_caused_it() {
        let status = |reason: &str| json!({"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason}]});
        let none = json!({});
        let own = status("TerminationByKubelet");
        assert_eq!(status_patch(&none, &own), Some(own.clone()));
        assert_eq!(status_patch(&own, &own), None);
        assert_eq!(status_patch(&none, &status("DeletionByPodGC")), None);
    }
}
