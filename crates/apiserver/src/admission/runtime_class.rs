//! What a Pod's RuntimeClass means for it: its overhead, and where it can run,
//! <https://kubernetes.io/docs/concepts/containers/runtime-class/>.

use machinery::Value;
use serde_json::{Map, json};

use super::{Plugin, forbidden, is};
use crate::registry::{Attributes, Failure, Operation};

pub(super) struct RuntimeClass;

impl Plugin for RuntimeClass {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        if !is(attributes, Operation::Create, "", "pods") {
            return Ok(());
        }
        let class = class_of(attributes)?;
        let Some(mut pod) = attributes.object.take() else { return Ok(()) };
        let applied = class.map_or(Ok(()), |class| apply(&mut pod, &class));
        attributes.object = Some(pod);
        applied.map_err(|why| forbidden(attributes, why))
    }

    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        if !is(attributes, Operation::Create, "", "pods") {
            return Ok(());
        }
        let class = class_of(attributes)?;
        let Some(pod) = &attributes.object else { return Ok(()) };
        check(pod, class.as_ref()).map_err(|why| forbidden(attributes, why))
    }
}

/// The class that a Pod names, which must be there.
fn class_of(attributes: &Attributes<'_>) -> Result<Option<Value>, Failure> {
    let pod = attributes.object.as_ref();
    let name = pod.and_then(|pod| pod["spec"]["runtimeClassName"].as_str());
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    match attributes.registry.cached("node.k8s.io", "runtimeclasses", "", name) {
        Some(class) => Ok(Some(class.value())),
        None => {
            Err(forbidden(attributes, format!("pod rejected: RuntimeClass {name:?} not found")))
        }
    }
}

/// A list of quantities that are written in their canonical form.
fn overhead(class: &Value) -> Option<&Value> {
    class["overhead"].get("podFixed").filter(|fixed| fixed.is_object())
}

fn apply(pod: &mut Value, class: &Value) -> Result<(), &'static str> {
    if let Some(fixed) = overhead(class) {
        match pod["spec"].get("overhead").filter(|overhead| overhead.is_object()) {
            Some(own) if own != fixed => {
                return Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined \
                            Overhead");
            }
            Some(_) => {}
            None => pod["spec"]["overhead"] = fixed.clone(),
        }
    }
    let scheduling = &class["scheduling"];
    let wanted = scheduling["nodeSelector"].as_object().cloned().unwrap_or_default();
    let mut selector: Map<String, Value> =
        pod["spec"]["nodeSelector"].as_object().cloned().unwrap_or_default();
    for (key, value) in wanted {
        if selector.get(&key).is_some_and(|own| *own != value) {
            return Err(
                "conflict: runtimeClass.scheduling.nodeSelector and pod.spec.nodeSelector \
                        have different values for the same key",
            );
        }
        selector.insert(key, value);
    }
    if !selector.is_empty() {
        pod["spec"]["nodeSelector"] = Value::Object(selector);
    }
    let more = scheduling["tolerations"].as_array().cloned().unwrap_or_default();
    let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
    let before = tolerations.len();
    for toleration in more {
        if !tolerations.contains(&toleration) {
            tolerations.push(toleration);
        }
    }
    if tolerations.len() != before {
        pod["spec"]["tolerations"] = json!(tolerations);
    }
    Ok(())
}

fn check(pod: &Value, class: Option<&Value>) -> Result<(), &'static str> {
    let own = pod["spec"].get("overhead").filter(|overhead| overhead.is_object());
    match (own, class.and_then(overhead)) {
        (Some(own), Some(fixed)) if own == fixed => Ok(()),
        (Some(own), None) if own.as_object().is_some_and(|own| !own.is_empty()) => {
            Err("pod rejected: Pod Overhead set without corresponding RuntimeClass defined \
                 Overhead")
        }
        (_, Some(_)) => Err("pod rejected: Pod's Overhead doesn't match RuntimeClass's defined \
                             Overhead"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_adds_what_it_needs() {
        let class = json!({"overhead": {"podFixed": {"cpu": "10m"}}, "scheduling": {
            "nodeSelector": {"a": "b"}, "tolerations": [{"key": "k"}]}});
        let mut pod = json!({"spec": {"nodeSelector": {"c": "d"}, "tolerations": [{"key": "k"}]}});
        apply(&mut pod, &class).unwrap();
        assert_eq!(
            pod["spec"],
            json!({"nodeSelector": {"c": "d", "a": "b"}, "tolerations": [{"key": "k"}],
                "overhead": {"cpu": "10m"}})
        );
        let once = pod.clone();
        apply(&mut pod, &class).unwrap();
        assert_eq!(pod, once);
        assert_eq!(check(&pod, Some(&class)), Ok(()));
        assert!(check(&pod, None).is_err());
        assert!(check(&json!({"spec": {}}), Some(&class)).is_err());
        let mut other = json!({"spec": {"nodeSelector": {"a": "x"}}});
        assert!(apply(&mut other, &class).unwrap_err().starts_with("conflict: "));
        let mut dear = json!({"spec": {"overhead": {"cpu": "1"}}});
        assert!(apply(&mut dear, &class).is_err());
    }
}
