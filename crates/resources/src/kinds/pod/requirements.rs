//! Rules for amounts of resources: which names there are, what amounts they can have, and how
//! requests and limits go together.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::names;
use machinery::quantity::Quantity;

use super::containers::all_containers;
use super::options::Options;
use super::resources::{container_limits, container_requests};
use crate::cursor::At;

/// Resources that are counted and not measured.
const COUNTED: [&str; 9] = [
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// Resources that the system itself knows.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub(crate) fn is_huge(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether the name is one that somebody else than Kubernetes gave to a resource of nodes.
pub(crate) fn is_extended(name: &str) -> bool {
    // The quota for such a resource has its own name, which must be one too.
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

fn is_standard_for_containers(name: &str) -> bool {
    matches!(name, "cpu" | "memory" | "ephemeral-storage") || is_huge(name)
}

/// Whether more of a resource can be promised than there is.
pub(crate) fn overcommits(name: &str) -> bool {
    is_native(name) && !is_huge(name)
}

/// Names without a prefix that mean something somewhere: in containers, quotas or volumes.
pub(crate) fn is_standard(name: &str) -> bool {
    let plain =
        name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    match plain {
        "cpu" | "memory" | "ephemeral-storage" => true,
        "storage" => !name.starts_with("limits."),
        _ if is_huge(plain) => !name.starts_with("limits."),
        _ => COUNTED.contains(&name),
    }
}

/// Checks the name of any resource. Says whether it is fine.
pub(crate) fn name(name: &str, path: &Path, errors: &mut ErrorList) -> bool {
    let before = errors.len();
    for message in names::qualified_name(name) {
        errors.push(Error::invalid(path, name, message));
    }
    if errors.len() == before && !name.contains('/') && !is_standard(name) {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(Error::invalid(path, name, detail));
    }
    errors.len() == before
}

/// Checks the name of a resource that a container may ask for.
pub(crate) fn container_name(name: &str, path: &Path, errors: &mut ErrorList) {
    self::name(name, path, errors);
    if !name.contains('/') {
        if !is_standard_for_containers(name) {
            let detail = "must be a standard resource for containers";
            errors.push(Error::invalid(path, name, detail));
        }
    } else if !is_native(name) && !is_extended(name) {
        let detail = "doesn't follow extended resource name standard";
        errors.push(Error::invalid(path, name, detail));
    }
}

/// Checks the name of a resource that a Pod may ask for as a whole.
fn pod_name(name: &str, path: &Path, errors: &mut ErrorList) {
    if self::name(name, path, errors) && !is_pod_level(name) {
        errors.push(Error::not_supported(path, name, &["cpu", "hugepages-", "memory"]));
    }
}

/// Resources that a Pod can ask for as a whole.
pub(super) fn is_pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || is_huge(name)
}

/// Checks an amount of a resource: not negative, and whole where it cannot be split.
pub(crate) fn quantity(name: &str, amount: &At<'_>, errors: &mut ErrorList) {
    let Some(quantity) = Quantity::from_value(amount.value) else {
        return;
    };
    if quantity.is_negative() {
        let detail = "must be greater than or equal to 0";
        errors.push(Error::invalid(&amount.path, quantity.to_string(), detail));
    }
    let whole = COUNTED.contains(&name) || is_extended(name);
    if whole && quantity.milli_value() % 1000 != 0 {
        errors.push(Error::invalid(&amount.path, quantity.to_string(), "must be an integer"));
    }
}

/// Checks what a container asks for.
pub(super) fn of_container(resources: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    lists(resources, container_name, options, errors);
}

/// Checks what a runtime costs besides the containers that it runs.
pub(crate) fn fixed_overhead(overhead: &At<'_>, errors: &mut ErrorList) {
    self::overhead(overhead, &Options::default(), errors);
}

/// Checks what running a Pod costs besides its containers.
pub(super) fn overhead(overhead: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    // The rules are those of limits, and errors say so.
    let limits = At::new(overhead.value, overhead.path.child("limits"));
    let mut has_huge = false;
    for (name, amount) in limits.entries() {
        container_name(name, &amount.path, errors);
        quantity(name, &amount, errors);
        huge(name, &amount, options, errors);
        has_huge |= is_huge(name);
    }
    let has = |name: &str| overhead.value.get(name).is_some();
    if has_huge && !has("cpu") && !has("memory") {
        overhead.forbidden(errors, "HugePages require cpu or memory");
    }
}

type NameRule = fn(&str, &Path, &mut ErrorList);

fn lists(resources: &At<'_>, check: NameRule, options: &Options<'_>, errors: &mut ErrorList) {
    let (limits, requests) = (resources.get("limits"), resources.get("requests"));
    for (name, limit) in limits.entries() {
        check(name, &limit.path, errors);
        quantity(name, &limit, errors);
        huge(name, &limit, options, errors);
    }
    for (name, request) in requests.entries() {
        check(name, &request.path, errors);
        quantity(name, &request, errors);
        let asked = Quantity::from_value(request.value).unwrap_or_default();
        let limit = limits.value.get(name).and_then(Quantity::from_value);
        let mut wrong = |detail: String| {
            errors.push(Error::invalid(&requests.path, asked.to_string(), detail));
        };
        match limit {
            Some(limit) if asked != limit && !overcommits(name) => {
                wrong(format!("must be equal to {name} limit of {limit}"));
            }
            Some(limit) if asked > limit => {
                wrong(format!("must be less than or equal to {name} limit of {limit}"));
            }
            None if !overcommits(name) => {
                limits.required(errors, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        huge(name, &request, options, errors);
    }
    let mut all = limits.entries().chain(requests.entries());
    let has = |name: &str| limits.value.get(name).or(requests.value.get(name)).is_some();
    if all.any(|(name, _)| is_huge(name)) && !has("cpu") && !has("memory") {
        resources.forbidden(errors, "HugePages require cpu or memory");
    }
}

fn huge(name: &str, amount: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    if is_huge(name) && !options.broken_huge_pages && is_broken(name, amount) {
        let text = Quantity::from_value(amount.value).unwrap_or_default().to_string();
        let detail = format!("{text} is not positive integer multiple of {name}");
        errors.push(Error::invalid(&amount.path, text, detail));
    }
}

/// Whether an amount is not made of whole pages of the size in the resource's name.
fn is_broken(name: &str, amount: &At<'_>) -> bool {
    let size = name.strip_prefix("hugepages-").and_then(|size| Quantity::parse(size).ok());
    let Some(size) = size.filter(|s| *s > Quantity::ZERO && s.is_integer()) else { return true };
    let amount = Quantity::from_value(amount.value).unwrap_or_default();
    amount.value() % size.value() != 0
}

/// Whether a Pod has huge pages by halves.
pub(super) fn has_broken_huge_pages(spec: &At<'_>) -> bool {
    let mut lists = vec![spec.get("overhead")];
    for (_, container) in all_containers(spec) {
        let resources = container.get("resources");
        lists.extend([resources.get("limits"), resources.get("requests")]);
    }
    let mut amounts = lists.iter().flat_map(At::entries);
    amounts.any(|(name, amount)| is_huge(name) && is_broken(name, &amount))
}

/// Checks which of the Pod's resource claims a container uses.
pub(super) fn claims(claims: &At<'_>, known: &BTreeSet<&str>, errors: &mut ErrorList) {
    let mut taken: BTreeSet<(&str, &str)> = BTreeSet::new();
    for claim in claims.list() {
        let (name, request) = (claim.get("name").str(), claim.get("request"));
        if name.is_empty() {
            claim.required(errors, "");
            continue;
        }
        if taken.contains(&(name, "")) {
            // All requests of that claim are used already.
            errors.push(Error::duplicate(&claim.path, name));
        } else {
            request.may_form(errors, names::dns1123_label);
            let key = (name, request.str());
            if taken.contains(&key) {
                let shown = format!("{name}/{}", request.str());
                errors.push(Error::duplicate(&claim.path, shown));
            } else if request.is_empty() {
                for _ in taken.iter().filter(|(other, _)| *other == name) {
                    errors.push(Error::duplicate(&claim.path, name));
                }
            }
            taken.insert(key);
        }
        if !known.contains(name) {
            let mut error = Error::not_found(&claim.path, name);
            error.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            if known.is_empty() {
                error.detail.push_str(" which is empty");
            } else {
                let names: Vec<&str> = known.iter().copied().collect();
                error.detail.push_str(&format!(": {}", names.join(", ")));
            }
            errors.push(error);
        }
    }
}

/// Checks what a Pod asks for as a whole, and that it covers what its containers ask for.
/// KEP-2837.
pub(super) fn of_pod(spec: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    let whole = spec.get("resources");
    if !whole.is_set() {
        return;
    }
    if spec.get("os").get("name").str() == "windows" {
        whole.forbidden(errors, "may not be set for a windows pod");
        return;
    }
    if whole.get("claims").is_set() {
        let detail = "claims may not be set for Resources at pod-level";
        whole.get("claims").forbidden(errors, detail);
    }
    lists(&whole, pod_name, options, errors);
    let given = |list: &At<'_>, name: &str| {
        let amount = list.value.get(name)?;
        Some((Quantity::from_value(amount)?, list.path.key(name)))
    };
    let (requests, limits) = (whole.get("requests"), whole.get("limits"));
    let sums = [
        (container_requests(spec.value), &requests, "requests"),
        (container_limits(spec.value), &limits, "limits"),
    ];
    for (sums, list, what) in sums {
        for (name, asked) in sums.iter().filter(|(name, _)| what == "requests" || is_huge(name)) {
            if let Some((given, path)) = given(list, name).filter(|(given, _)| *asked > *given) {
                let detail = format!(
                    "must be greater than or equal to aggregate container {what} of {asked}"
                );
                errors.push(Error::invalid(&path, given.to_string(), detail));
            }
        }
    }
    for (i, container) in spec.get("containers").list().enumerate() {
        for (name, amount) in container.get("resources").get("limits").entries() {
            let own = Quantity::from_value(amount.value).unwrap_or_default();
            if let Some((limit, _)) = given(&limits, name).filter(|(limit, _)| own > *limit) {
                let path = whole.path.child("containers").index(i).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {limit}");
                errors.push(Error::invalid(&path, own.to_string(), detail));
            }
        }
    }
}
