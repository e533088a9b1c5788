//! What a quota's status should say.

use k8s_openapi::jiff::Timestamp;
use machinery::Value;
use resources::quota::{Amounts, Evaluator, Quota, amounts, to_value};
use serde_json::json;

/// The status of a quota, given the objects that count; none if it says that already. What is
/// limited but cannot be counted now keeps its last number.
pub(super) fn status(
    object: &Value,
    quota: &Quota,
    counted: &[(Evaluator, Vec<Value>)],
    now: Timestamp,
) -> Option<Value> {
    let evaluators: Vec<Evaluator> =
        counted.iter().map(|(evaluator, _)| evaluator.clone()).collect();
    let objects = |evaluator: &Evaluator| {
        let found = counted.iter().find(|(counted, _)| counted == evaluator);
        found.map(|(_, objects)| objects.iter().collect()).unwrap_or_default()
    };
    let mut used: Amounts = quota.used.clone();
    used.extend(quota.usage(&evaluators, objects, now));
    used.retain(|name, _| quota.wanted.contains_key(name));
    let known = &object["status"];
    if quota.hard == quota.wanted && amounts(&known["used"]) == used {
        return None;
    }
    Some(json!({"hard": to_value(&quota.wanted), "used": to_value(&used)}))
}
