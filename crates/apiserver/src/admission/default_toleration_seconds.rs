//! Pods tolerate an unready or unreachable node for five minutes unless they say otherwise.

use machinery::Value;
use serde_json::json;

use super::{Plugin, is};
use crate::registry::{Attributes, Failure, Operation};

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub(super) struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        let pods = is(attributes, Operation::Create, "", "pods")
            || is(attributes, Operation::Update, "", "pods");
        if pods && let Some(pod) = &mut attributes.object {
            add(pod);
        }
        Ok(())
    }
}

fn add(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    let tolerations = spec.get("tolerations").and_then(Value::as_array).cloned();
    let mut tolerations = tolerations.unwrap_or_default();
    let before = tolerations.len();
    for taint in TAINTS {
        let tolerated = tolerations[..before].iter().any(|toleration| {
            let text =
                |field: &str| toleration.get(field).and_then(Value::as_str).unwrap_or_default();
            (text("key") == taint || text("key").is_empty())
                && (text("effect") == "NoExecute" || text("effect").is_empty())
        });
        if !tolerated {
            tolerations.push(json!({
                "key": taint,
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": SECONDS,
            }));
        }
    }
    if tolerations.len() != before {
        spec.insert("tolerations".to_owned(), tolerations.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tolerations: Value, want: usize) {
        let mut pod = json!({"spec": {"tolerations": tolerations}});
        add(&mut pod);
        assert_eq!(pod["spec"]["tolerations"].as_array().map_or(0, Vec::len), want, "{pod}");
        let once = pod.clone();
        add(&mut pod);
        assert_eq!(pod, once);
    }

    #[test]
    fn only_missing_tolerations_are_added() {
        check(json!([]), 2);
        check(json!([{"key": TAINTS[0], "operator": "Exists", "effect": "NoExecute"}]), 2);
        check(json!([{"operator": "Exists"}]), 1);
        check(json!([{"key": TAINTS[0], "effect": "NoSchedule"}]), 3);
    }
}
