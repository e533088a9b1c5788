//! Sums of what containers ask for, and the quality of service that follows from it.

use std::collections::BTreeMap;

use machinery::Value;
use machinery::quantity::Quantity;

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

/// What all containers of a Pod together ask for.
pub(crate) fn container_requests(spec: &Value) -> BTreeMap<String, Quantity> {
    together(spec, &|container| amounts(container.get("resources"), "requests"))
}

/// What all containers of a Pod together may use.
pub(super) fn container_limits(spec: &Value) -> BTreeMap<String, Quantity> {
    together(spec, &|container| amounts(container.get("resources"), "limits"))
}

/// Containers that run together are added, init containers run one after the other, sidecars run
/// on.
fn together(spec: &Value, of: &dyn Fn(&Value) -> Amounts) -> Amounts {
    let mut total = Amounts::new();
    for container in list(spec, "containers") {
        add(&mut total, &of(container));
    }
    let mut sidecars = Amounts::new();
    let mut init = Amounts::new();
    for container in list(spec, "initContainers") {
        let mut own = of(container);
        if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            add(&mut total, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        at_least(&mut init, &own);
    }
    at_least(&mut total, &init);
    total
}

/// The `requests` or `limits` of a Pod's specification as a whole: what it says itself comes before what its
/// containers say, and its overhead comes on top.
#[must_use]
pub fn total(spec: &Value, which: &str) -> BTreeMap<String, Quantity> {
    sum(spec, which, &|object| amounts(object.get("resources"), which))
}

/// Like [`total`], of a Pod whose resources may be about to change: what its node granted it, and
/// what it has, count as long as they are more than what it asks for; what it can never get does
/// not count.
pub(crate) fn in_use(pod: &Value, which: &str) -> BTreeMap<String, Quantity> {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    let infeasible = list(status, "conditions").iter().any(|condition| {
        condition["type"] == "PodResizePending"
            && condition["status"] == "True"
            && condition["reason"] == "Infeasible"
    });
    let seen = |object: &Value| -> Option<&Value> {
        // The specification of the Pod as a whole has no name.
        let Some(name) = object.get("name") else { return Some(status) };
        let mut statuses = ["containerStatuses", "initContainerStatuses"]
            .into_iter()
            .flat_map(|field| list(status, field));
        statuses.find(|status| status.get("name") == Some(name))
    };
    sum(spec, which, &|object| {
        let asked = amounts(object.get("resources"), which);
        let Some(seen) = seen(object).filter(|seen| seen["resources"].is_object()) else {
            return asked;
        };
        let mut counted = amounts(seen.get("resources"), which);
        if which == "requests" {
            at_least(&mut counted, &amounts(Some(seen), "allocatedResources"));
        }
        if !infeasible {
            at_least(&mut counted, &asked);
        }
        counted
    })
}

fn sum(spec: &Value, which: &str, of: &dyn Fn(&Value) -> Amounts) -> Amounts {
    let mut total = together(spec, of);
    let whole = spec.get("resources").filter(|resources| resources.is_object());
    for (name, amount) in whole.map(|_| of(spec)).unwrap_or_default() {
        total.insert(name, amount);
    }
    for (name, amount) in amounts(Some(spec), "overhead") {
        match total.get_mut(&name) {
            Some(sum) => *sum += amount,
            // Without a limit there is none, whatever the overhead.
            None if which == "requests" => {
                total.insert(name, amount);
            }
            None => {}
        }
    }
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
