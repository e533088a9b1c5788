//! Turns the name of a Pod's priority class into a number.

use machinery::{Value, meta};

use super::{Plugin, forbidden, is};
use crate::registry::{Attributes, Failure, Operation};

const GROUP: &str = "scheduling.k8s.io";
const CLASSES: &str = "priorityclasses";
const PREEMPT: &str = "PreemptLowerPriority";

pub(super) struct Priority;

impl Plugin for Priority {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        if is(attributes, Operation::Create, "", "pods") {
            let Some(mut pod) = attributes.object.take() else { return Ok(()) };
            let result = classify(&mut pod, |name| class(attributes, name));
            attributes.object = Some(pod);
            return result.map_err(|detail| forbidden(attributes, detail));
        }
        if is(attributes, Operation::Update, "", "pods") {
            keep(attributes);
        }
        Ok(())
    }

    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let written = is(attributes, Operation::Create, GROUP, CLASSES)
            || is(attributes, Operation::Update, GROUP, CLASSES);
        let Some(object) = attributes.object.as_ref().filter(|_| written) else { return Ok(()) };
        if object.get("globalDefault").and_then(Value::as_bool) != Some(true) {
            return Ok(());
        }
        let classes = attributes.registry.cached_list(GROUP, CLASSES, "");
        let other = classes.iter().map(|class| class.value()).find(|class| {
            class.get("globalDefault").and_then(Value::as_bool) == Some(true)
                && meta::name(class) != meta::name(object)
        });
        match other {
            Some(other) => Err(forbidden(
                attributes,
                format!(
                    "PriorityClass {} is already marked as default. Only one default can exist",
                    meta::name(&other)
                ),
            )),
            None => Ok(()),
        }
    }
}

/// The class of a name, or the default one.
fn class(attributes: &Attributes<'_>, name: Option<&str>) -> Option<Value> {
    if let Some(name) = name {
        return Some(attributes.registry.cached(GROUP, CLASSES, "", name)?.value());
    }
    let classes = attributes.registry.cached_list(GROUP, CLASSES, "");
    let defaults = classes
        .iter()
        .map(|class| class.value())
        .filter(|class| class.get("globalDefault").and_then(Value::as_bool) == Some(true));
    defaults.min_by_key(value)
}

fn value(class: &Value) -> i64 {
    class.get("value").and_then(Value::as_i64).unwrap_or(0)
}

/// Sets the priority of a new Pod.
fn classify(pod: &mut Value, class: impl Fn(Option<&str>) -> Option<Value>) -> Result<(), String> {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return Ok(()) };
    let name = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or_default();
    let found = class(Some(name).filter(|name| !name.is_empty()));
    if !name.is_empty() && found.is_none() {
        return Err(format!("no PriorityClass with name {name} was found"));
    }
    let priority = found.as_ref().map_or(0, value);
    if let Some(given) = spec.get("priority").and_then(Value::as_i64)
        && given != priority
    {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority \
             admission controller computed {priority} from the given PriorityClass name"
        ));
    }
    let policy = found
        .as_ref()
        .and_then(|class| class.get("preemptionPolicy")?.as_str())
        .unwrap_or(PREEMPT)
        .to_owned();
    if let Some(given) = spec.get("preemptionPolicy").and_then(Value::as_str)
        && given != policy
    {
        return Err(format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        ));
    }
    if let Some(class) = &found
        && name.is_empty()
    {
        spec.insert("priorityClassName".to_owned(), meta::name(class).into());
    }
    spec.insert("priority".to_owned(), priority.into());
    spec.insert("preemptionPolicy".to_owned(), policy.into());
    Ok(())
}

/// An update that leaves out what this plugin set does not mean to remove it.
fn keep(attributes: &mut Attributes<'_>) {
    let (Some(pod), Some(old)) = (&mut attributes.object, attributes.old) else { return };
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    for field in ["priority", "preemptionPolicy"] {
        if !spec.contains_key(field)
            && let Some(value) = old.pointer(&format!("/spec/{field}"))
        {
            spec.insert(field.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: Value, default: bool, want: Result<(i64, &str), &str>) {
        let classes = |name: Option<&str>| match name {
            Some("high") => Some(
                json!({"metadata": {"name": "high"}, "value": 1000, "preemptionPolicy": "Never"}),
            ),
            None if default => Some(json!({"metadata": {"name": "usual"}, "value": 5})),
            _ => None,
        };
        let mut pod = json!({"spec": spec});
        let got = classify(&mut pod, classes);
        let spec = &pod["spec"];
        let got = got.map(|()| {
            (spec["priority"].as_i64().unwrap(), spec["preemptionPolicy"].as_str().unwrap())
        });
        assert_eq!(got.as_ref().map(|v| *v).map_err(String::as_str), want);
    }

    #[test]
    fn classes_become_numbers() {
        check(json!({}), false, Ok((0, PREEMPT)));
        check(json!({}), true, Ok((5, PREEMPT)));
        check(json!({"priorityClassName": "high"}), true, Ok((1000, "Never")));
        check(json!({"priorityClassName": "high", "priority": 1000}), true, Ok((1000, "Never")));
        let none = "no PriorityClass with name nope was found";
        check(json!({"priorityClassName": "nope"}), true, Err(none));
        let given = "the integer value of priority (7) must not be provided in pod spec; priority \
            admission controller computed 0 from the given PriorityClass name";
        check(json!({"priority": 7}), false, Err(given));
    }
}
