//! The FlowSchemas and PriorityLevelConfigurations that every server has,
//! <https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#mandatory-configuration-objects>.

use machinery::Value;
use serde_json::json;

/// Kind and name of each, levels first.
pub const ALL: [(&str, &str); 4] = [
    ("PriorityLevelConfiguration", "exempt"),
    ("PriorityLevelConfiguration", "catch-all"),
    ("FlowSchema", "exempt"),
    ("FlowSchema", "catch-all"),
];

/// The specification of one; none if there is no such one.
pub fn spec(kind: &str, name: &str) -> Option<Value> {
    Some(match (kind, name) {
        ("PriorityLevelConfiguration", "exempt") => json!({
            "type": "Exempt",
            "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0},
        }),
        ("PriorityLevelConfiguration", "catch-all") => json!({
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 5,
                "lendablePercent": 0,
                "limitResponse": {"type": "Reject"},
            },
        }),
        ("FlowSchema", "exempt") => json!({
            "priorityLevelConfiguration": {"name": "exempt"},
            "matchingPrecedence": 1,
            "rules": [everything(&["system:masters"])],
        }),
        ("FlowSchema", "catch-all") => json!({
            "priorityLevelConfiguration": {"name": "catch-all"},
            "matchingPrecedence": 10_000,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [everything(&["system:unauthenticated", "system:authenticated"])],
        }),
        _ => return None,
    })
}

/// A rule for whatever members of these groups ask for.
fn everything(groups: &[&str]) -> Value {
    let subject = |name: &&str| json!({"kind": "Group", "group": {"name": name}});
    json!({
        "subjects": groups.iter().map(subject).collect::<Vec<_>>(),
        "resourceRules": [{
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"],
            "clusterScope": true, "namespaces": ["*"],
        }],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}
