//! Defaults and bounds that a namespace's LimitRanges set for Pods, containers and claims:
//! <https://kubernetes.io/docs/concepts/policy/limit-range/>.

use machinery::quantity::Quantity;
use machinery::{Value, meta};
use serde_json::{Map, json};

use super::{Plugin, forbidden, is};
use crate::registry::{Attributes, Failure, Operation};

pub(super) struct LimitRanger;

impl Plugin for LimitRanger {
    fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Failure> {
        if concerns_pods(attributes) {
            let items = items(attributes);
            if let Some(pod) = &mut attributes.object {
                set_defaults(pod, &items);
            }
        }
        Ok(())
    }

    fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Failure> {
        let Some(object) = &attributes.object else { return Ok(()) };
        let claim = |operation| is(attributes, operation, "", "persistentvolumeclaims");
        let errors = if concerns_pods(attributes) {
            check_pod(object, &items(attributes))
        } else if (claim(Operation::Create) || claim(Operation::Update)) && !is_ending(attributes) {
            check_claim(object, &items(attributes))
        } else {
            return Ok(());
        };
        match errors.as_slice() {
            [] => Ok(()),
            [one] => Err(forbidden(attributes, one)),
            many => Err(forbidden(attributes, format!("[{}]", many.join(", ")))),
        }
    }
}

/// Whether a write decides about the resources of a Pod's containers.
fn concerns_pods(attributes: &Attributes<'_>) -> bool {
    is(attributes, Operation::Create, "", "pods")
        || attributes.operation == Operation::Update
            && attributes.subresource == "resize"
            && attributes.resource.group.is_empty()
            && attributes.resource.name == "pods"
            && !is_ending(attributes)
}

/// What is being deleted is left alone.
fn is_ending(attributes: &Attributes<'_>) -> bool {
    attributes.old.is_some_and(|old| meta::deletion_timestamp(old).is_some())
}

/// All limits of the namespace.
fn items(attributes: &Attributes<'_>) -> Vec<Value> {
    let ranges = attributes.registry.cached_list("", "limitranges", attributes.namespace);
    let limits = ranges.iter().filter_map(|range| {
        let mut range = range.value();
        range.pointer_mut("/spec/limits").map(Value::take)
    });
    limits.filter_map(|limits| limits.as_array().cloned()).flatten().collect()
}

fn of_type<'a>(items: &'a [Value], wanted: &'a str) -> impl Iterator<Item = &'a Value> {
    items.iter().filter(move |item| item["type"] == wanted)
}

fn containers_mut<'a>(pod: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    let containers = pod.get_mut("spec").and_then(|spec| spec.get_mut(list));
    containers.and_then(Value::as_array_mut).into_iter().flatten()
}

fn containers<'a>(pod: &'a Value, list: &str) -> impl Iterator<Item = &'a Value> {
    let containers = pod.get("spec").and_then(|spec| spec.get(list));
    containers.and_then(Value::as_array).into_iter().flatten()
}

/// Fills in requests and limits that containers leave open. The request's default is the limit
/// when there is one, as everywhere in the API.
fn set_defaults(pod: &mut Value, items: &[Value]) {
    for list in ["initContainers", "containers"] {
        for container in containers_mut(pod, list) {
            for item in of_type(items, "Container") {
                fill(container, "limits", item.get("default"));
                fill(container, "requests", item.get("defaultRequest"));
            }
        }
    }
}

fn fill(container: &mut Value, field: &str, defaults: Option<&Value>) {
    let Some(defaults) = defaults.and_then(Value::as_object).filter(|d| !d.is_empty()) else {
        return;
    };
    let Some(container) = container.as_object_mut() else { return };
    let resources = container.entry("resources").or_insert_with(|| json!({}));
    let Some(resources) = resources.as_object_mut() else { return };
    let list = resources.entry(field).or_insert_with(|| json!({}));
    let Some(list) = list.as_object_mut() else { return };
    for (name, quantity) in defaults {
        list.entry(name.clone()).or_insert_with(|| quantity.clone());
    }
}

type Amounts = Map<String, Value>;

fn amounts(object: &Value, field: &str) -> Amounts {
    object.pointer(field).and_then(Value::as_object).cloned().unwrap_or_default()
}

fn check_pod(pod: &Value, items: &[Value]) -> Vec<String> {
    let mut errors = Vec::new();
    for item in of_type(items, "Container") {
        for list in ["containers", "initContainers"] {
            for container in containers(pod, list) {
                let requests = amounts(container, "/resources/requests");
                let limits = amounts(container, "/resources/limits");
                check("Container", item, &requests, &limits, &mut errors);
            }
        }
    }
    for item in of_type(items, "Pod") {
        let (requests, limits) = (pod_total(pod, "requests"), pod_total(pod, "limits"));
        check("Pod", item, &requests, &limits, &mut errors);
    }
    errors
}

fn check_claim(claim: &Value, items: &[Value]) -> Vec<String> {
    let mut errors = Vec::new();
    let requests = amounts(claim, "/spec/resources/requests");
    for item in of_type(items, "PersistentVolumeClaim") {
        bound(item, "min", &mut errors, |name, min, errors| {
            at_least("PersistentVolumeClaim", name, min, requests.get(name), None, errors);
        });
        bound(item, "max", &mut errors, |name, max, errors| {
            let asked = requests.get(name).and_then(Quantity::from_value);
            match asked {
                None => errors.push(format!(
                    "maximum {name} usage per PersistentVolumeClaim is {max}.  No request is specified"
                )),
                Some(asked) if asked > *max => errors.push(format!(
                    "maximum {name} usage per PersistentVolumeClaim is {max}, but request is {asked}"
                )),
                Some(_) => {}
            }
        });
    }
    errors
}

/// What all containers need together; init containers run one after the other, so the largest
/// counts.
fn pod_total(pod: &Value, field: &str) -> Amounts {
    let mut total: indexed::Amounts = indexed::Amounts::default();
    for container in containers(pod, "containers") {
        for (name, amount) in &amounts(container, &format!("/resources/{field}")) {
            if let Some(amount) = Quantity::from_value(amount) {
                total.add(name, &amount);
            }
        }
    }
    for container in containers(pod, "initContainers") {
        for (name, amount) in &amounts(container, &format!("/resources/{field}")) {
            if let Some(amount) = Quantity::from_value(amount) {
                total.raise(name, &amount);
            }
        }
    }
    total.into_map()
}

mod indexed {
    //! Sums of quantities by resource name.

    use std::collections::BTreeMap;

    use machinery::Value;
    use machinery::quantity::Quantity;

    #[derive(Default)]
    pub(super) struct Amounts(BTreeMap<String, Quantity>);

    impl Amounts {
        pub(super) fn add(&mut self, name: &str, amount: &Quantity) {
            let sum = self.0.get(name).map_or(*amount, |sum| *sum + *amount);
            self.0.insert(name.to_owned(), sum);
        }

        pub(super) fn raise(&mut self, name: &str, amount: &Quantity) {
            if self.0.get(name).is_none_or(|largest| amount > largest) {
                self.0.insert(name.to_owned(), *amount);
            }
        }

        pub(super) fn into_map(self) -> super::Amounts {
            self.0.into_iter().map(|(name, sum)| (name, Value::String(sum.to_string()))).collect()
        }
    }
}

fn bound(
    item: &Value,
    field: &str,
    errors: &mut Vec<String>,
    judge: impl Fn(&str, &Quantity, &mut Vec<String>),
) {
    for (name, quantity) in item.get(field).and_then(Value::as_object).into_iter().flatten() {
        if let Some(quantity) = Quantity::from_value(quantity) {
            judge(name, &quantity, errors);
        }
    }
}

fn check(kind: &str, item: &Value, requests: &Amounts, limits: &Amounts, errors: &mut Vec<String>) {
    bound(item, "min", errors, |name, min, errors| {
        at_least(kind, name, min, requests.get(name), limits.get(name), errors);
    });
    bound(item, "max", errors, |name, max, errors| {
        let limit = limits.get(name).and_then(Quantity::from_value);
        let request = requests.get(name).and_then(Quantity::from_value);
        match (limit, request) {
            (None, _) => errors
                .push(format!("maximum {name} usage per {kind} is {max}.  No limit is specified")),
            (Some(limit), _) if limit > *max => errors
                .push(format!("maximum {name} usage per {kind} is {max}, but limit is {limit}")),
            (_, Some(request)) if request > *max => errors.push(format!(
                "maximum {name} usage per {kind} is {max}, but request is {request}"
            )),
            _ => {}
        }
    });
    bound(item, "maxLimitRequestRatio", errors, |name, ratio, errors| {
        let limit = limits.get(name).and_then(Quantity::from_value);
        let request = requests.get(name).and_then(Quantity::from_value);
        match (limit, request) {
            (Some(limit), Some(request)) if !request.is_zero() => {
                let real = limit.as_f64() / request.as_f64();
                if real > ratio.as_f64() {
                    errors.push(format!(
                        "{name} max limit to request ratio per {kind} is {ratio}, but provided \
                         ratio is {real:.6}"
                    ));
                }
            }
            (None, _) => errors.push(format!(
                "{name} max limit to request ratio per {kind} is {ratio}, but no limit is \
                 specified or limit is 0"
            )),
            _ => errors.push(format!(
                "{name} max limit to request ratio per {kind} is {ratio}, but no request is \
                 specified or request is 0"
            )),
        }
    });
}

fn at_least(
    kind: &str,
    name: &str,
    min: &Quantity,
    request: Option<&Value>,
    limit: Option<&Value>,
    errors: &mut Vec<String>,
) {
    let request = request.and_then(Quantity::from_value);
    let limit = limit.and_then(Quantity::from_value);
    match (request, limit) {
        (None, _) => errors
            .push(format!("minimum {name} usage per {kind} is {min}.  No request is specified")),
        (Some(request), _) if request < *min => errors
            .push(format!("minimum {name} usage per {kind} is {min}, but request is {request}")),
        (_, Some(limit)) if limit < *min => {
            errors.push(format!("minimum {name} usage per {kind} is {min}, but limit is {limit}"))
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(items: Value, resources: Value, want: &[&str]) {
        let items = items.as_array().unwrap().clone();
        let mut pod = json!({"spec": {"containers": [{"name": "c", "resources": resources}]}});
        set_defaults(&mut pod, &items);
        assert_eq!(check_pod(&pod, &items), want, "{pod}");
    }

    #[test]
    fn bounds_read_as_upstream() {
        let container = |fields: Value| {
            let mut item = fields;
            item["type"] = "Container".into();
            json!([item])
        };
        let max = container(json!({"max": {"cpu": "1"}}));
        check(max.clone(), json!({"limits": {"cpu": "500m"}, "requests": {"cpu": "500m"}}), &[]);
        check(
            max.clone(),
            json!({"limits": {"cpu": "2"}}),
            &["maximum cpu usage per Container is 1, but limit is 2"],
        );
        check(max, json!({}), &["maximum cpu usage per Container is 1.  No limit is specified"]);
        let min = container(json!({"min": {"memory": "1Gi"}}));
        check(
            min.clone(),
            json!({"requests": {"memory": "512Mi"}}),
            &["minimum memory usage per Container is 1Gi, but request is 512Mi"],
        );
        check(
            min,
            json!({}),
            &["minimum memory usage per Container is 1Gi.  No request is specified"],
        );
        let defaults = json!({"max": {"cpu": "1"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "100m"}});
        check(container(defaults), json!({}), &[]);
        let pod = json!([{"type": "Pod", "max": {"cpu": "1"}}]);
        check(
            pod,
            json!({"limits": {"cpu": "1500m"}}),
            &["maximum cpu usage per Pod is 1, but limit is 1500m"],
        );
    }
}
