//! Resource requests and limits: sums, quality of service, rules.

use std::collections::BTreeMap;

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use machinery::quantity::Quantity;
use serde_json::Map;

use crate::cursor::At;

type Amounts = BTreeMap<String, Quantity>;

fn amounts(resources: Option<&Value>, list: &str) -> Amounts {
    resources
        .and_then(|r| r.get(list))
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::from_value(amount)?)))
        .collect()
}

fn list<'a>(spec: &'a Value, field: &str) -> &'a [Value] {
    spec.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn add(total: &mut Amounts, more: &Amounts) {
    for (name, quantity) in more {
        *total.entry(name.clone()).or_default() += *quantity;
    }
}

fn at_least(total: &mut Amounts, other: &Amounts) {
    for (name, quantity) in other {
        let slot = total.entry(name.clone()).or_default();
        *slot = (*slot).max(*quantity);
    }
}

/// What all containers of a Pod together ask for: those that run together are added, init
/// containers run one after the other, sidecars run on.
pub(crate) fn container_requests(spec: &Value) -> BTreeMap<String, Quantity> {
    let mut total = Amounts::new();
    for container in list(spec, "containers") {
        add(&mut total, &amounts(container.get("resources"), "requests"));
    }
    let mut sidecars = Amounts::new();
    let mut init = Amounts::new();
    for container in list(spec, "initContainers") {
        let mut requests = amounts(container.get("resources"), "requests");
        if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            add(&mut total, &requests);
            add(&mut sidecars, &requests);
            requests = sidecars.clone();
        } else {
            add(&mut requests, &sidecars);
        }
        at_least(&mut init, &requests);
    }
    at_least(&mut total, &init);
    total
}

/// The quality of service class of a Pod: `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(pod: &Value) -> &'static str {
    let null = Value::Null;
    let spec = pod.get("spec").unwrap_or(&null);
    let counts = |name: &str| matches!(name, "cpu" | "memory");
    let positive = |resources: Option<&Value>, which: &str| {
        let mut found = amounts(resources, which);
        found.retain(|name, quantity| counts(name) && *quantity > Quantity::ZERO);
        found
    };
    if let Some(resources) = spec.get("resources").filter(|r| r.is_object()) {
        let (requests, limits) =
            (positive(Some(resources), "requests"), positive(Some(resources), "limits"));
        if !requests.is_empty() || !limits.is_empty() {
            return if requests.len() == 2 && requests == limits {
                "Guaranteed"
            } else {
                "Burstable"
            };
        }
    }
    let mut any = false;
    let mut guaranteed = true;
    let containers = list(spec, "containers").iter().chain(list(spec, "initContainers"));
    for container in containers {
        let resources = container.get("resources");
        let (requests, limits) = (positive(resources, "requests"), positive(resources, "limits"));
        any |= !requests.is_empty() || !limits.is_empty();
        guaranteed &= limits.len() == 2 && requests == limits;
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// Resources that the system itself knows.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.split('/').next().is_some_and(|p| p.ends_with("kubernetes.io"))
}

fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

fn is_standard_for_containers(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge(name)
}

/// Names without a prefix that mean something somewhere: in containers, quotas or volumes.
fn is_standard(name: &str) -> bool {
    let plain =
        name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    is_standard_for_containers(plain)
        || matches!(
            plain,
            "pods"
                | "services"
                | "replicationcontrollers"
                | "resourcequotas"
                | "secrets"
                | "configmaps"
                | "persistentvolumeclaims"
                | "storage"
                | "services.loadbalancers"
                | "services.nodeports"
        )
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.")
}

/// Checks the name of a resource that a container may ask for.
fn container_resource_name(name: &str, amount: &At<'_>, errors: &mut ErrorList) {
    let before = errors.len();
    for message in names::qualified_name(name) {
        errors.push(Error::invalid(&amount.path, name, message));
    }
    if errors.len() > before {
        return;
    }
    if !name.contains('/') {
        if !is_standard(name) {
            let detail = "must be a standard resource type or fully qualified";
            errors.push(Error::invalid(&amount.path, name, detail));
        }
        if !is_standard_for_containers(name) {
            errors.push(Error::invalid(
                &amount.path,
                name,
                "must be a standard resource for containers",
            ));
        }
    } else if is_native(name) {
        // Reserved prefixes have no resources that containers may name.
    } else if !is_extended(name) {
        let detail = "doesn't follow extended resource name standard";
        errors.push(Error::invalid(&amount.path, name, detail));
    }
}

/// Checks an amount of a resource: not negative, and whole where it cannot be split.
pub(crate) fn quantity(name: &str, amount: &At<'_>, errors: &mut ErrorList) {
    let Some(quantity) = Quantity::from_value(amount.value) else {
        return;
    };
    if quantity.is_negative() {
        amount.invalid(errors, "must be greater than or equal to 0");
    }
    let whole = is_huge(name) || is_extended(name);
    if whole && !quantity.is_integer() {
        amount.invalid(errors, "must be an integer");
    }
}

/// Checks the resources of a container or Pod.
pub(super) fn requirements(resources: &At<'_>, errors: &mut ErrorList) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    let object = |at: &At<'_>| at.value.as_object().cloned().unwrap_or_default();
    let (limit_map, request_map): (Map<String, Value>, Map<String, Value>) =
        (object(&limits), object(&requests));
    for (name, limit) in limits.entries() {
        container_resource_name(name, &limit, errors);
        quantity(name, &limit, errors);
    }
    for (name, request) in requests.entries() {
        container_resource_name(name, &request, errors);
        quantity(name, &request, errors);
        let overcommits = !is_huge(name) && !is_extended(name);
        let asked = Quantity::from_value(request.value).unwrap_or_default();
        match limit_map.get(name).and_then(Quantity::from_value) {
            Some(limit) if asked != limit && !overcommits => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests.path, asked.to_string(), detail));
            }
            Some(limit) if asked > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(Error::invalid(&requests.path, asked.to_string(), detail));
            }
            None if !overcommits => {
                limits.required(errors, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let has = |name: &str| limit_map.contains_key(name) || request_map.contains_key(name);
    let huge = limit_map.keys().chain(request_map.keys()).any(|name| is_huge(name));
    if huge && !has("cpu") && !has("memory") {
        resources.forbidden(errors, "HugePages require cpu or memory");
    }
}
