//! Rules for a Pod's status, which kubelets and controllers write.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::{Value, names};
use serde_json::json;

use super::security::id;
use crate::cursor::{At, copy_field, items_mut};
use crate::kinds::{addresses, internal};

const SYSTEM_CONDITIONS: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
const NO_RESTART: &str = "may not be transitioned to non-terminated state";
const HEALTH: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
const MAX_HEALTH_MESSAGE: usize = 1024;
/// The lists of statuses of containers, and those of the containers.
const LISTS: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

/// Keeps what a client that does not know it would drop.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let Some(status) = new.get_mut("status").filter(|status| status.is_object()) else { return };
    let before = At::root(old).get("status");
    for field in ["qosClass", "observedGeneration"] {
        if At::root(status).get(field).is_empty() {
            copy_field(status, before.value, field);
        }
    }
    // Of several conditions of one type the first belongs to the first, and so on.
    let mut known: Vec<&Value> = before.get("conditions").items().iter().collect();
    for condition in items_mut(status, "conditions") {
        let kind = condition.get("type");
        let Some(index) = known.iter().position(|old| old.get("type") == kind) else { continue };
        let old = known.remove(index);
        if At::root(condition).get("observedGeneration").is_empty() {
            copy_field(condition, old, "observedGeneration");
        }
    }
}

/// Checks the change of a Pod's status, metadata aside.
pub(super) fn check(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (status, before) = (At::root(new).get("status"), At::root(old).get("status"));
    let spec = At::root(old).get("spec");
    conditions(&status.get("conditions"), errors);
    nominated(&status, &before, !spec.get("nodeName").is_empty(), errors);
    not_negative(&status.get("observedGeneration"), errors);
    let (class, old_class) = (status.get("qosClass"), before.get("qosClass"));
    if class.str() != old_class.str() {
        errors.push(Error::immutable(&class.path, class.str()));
    }
    transitions(&status, &before, &spec, errors);
    claims(&status, &spec, errors);
    extended_claim(&status.get("extendedResourceClaimStatus"), &spec, errors);
    allocatable(&status, &spec, errors);
    for list in ["podIPs", "hostIPs"] {
        let (ips, old_ips) = (status.get(list), before.get(list));
        let first = ips.items().first().map(|first| At::root(first).get("ip").str());
        if let Some(first) =
            first.filter(|ip| list == "hostIPs" && *ip != status.get("hostIP").str())
        {
            let path = ips.path.index(0).child("ip");
            errors.push(Error::invalid(&path, first, "must be equal to `hostIP`"));
        }
        self::ips(&ips, &old_ips, if list == "podIPs" { "PodIP" } else { "HostIP" }, errors);
    }
    let os = spec.get("os");
    let os = if os.is_set() { os.get("name").str() } else { "linux" };
    for (list, _) in LISTS {
        for entry in status.get(list).list() {
            user(&entry.get("user").get("linux"), os, errors);
        }
    }
    for (list, containers) in LISTS {
        for entry in status.get(list).list() {
            let allocated = entry.get("allocatedResourcesStatus");
            if list != "ephemeralContainerStatuses" {
                let named = |c: &At<'_>| c.get("name").str() == entry.get("name").str();
                let container = spec.get(containers).list().find(named);
                self::allocated(&allocated, container.as_ref(), errors);
            } else if !allocated.is_empty() {
                allocated.forbidden(errors, "must not be specified in container status");
            }
        }
    }
}

fn not_negative(generation: &At<'_>, errors: &mut ErrorList) {
    if generation.int_or_zero() < 0 {
        generation.invalid(errors, "must be a non-negative integer");
    }
}

fn conditions(conditions: &At<'_>, errors: &mut ErrorList) {
    for condition in conditions.list() {
        not_negative(&condition.get("observedGeneration"), errors);
        let kind = condition.get("type").str();
        if !SYSTEM_CONDITIONS.contains(&kind) {
            for message in names::qualified_name(kind) {
                errors.push(Error::invalid(&condition.path.child("Type"), kind, message));
            }
        }
    }
}

/// A Pod that has a node needs no other. KEP-5278.
fn nominated(status: &At<'_>, before: &At<'_>, is_bound: bool, errors: &mut ErrorList) {
    let name = status.get("nominatedNodeName");
    if name.is_empty() || name.str() == before.get("nominatedNodeName").str() {
        return;
    }
    name.form(errors, names::dns1123_subdomain);
    if is_bound {
        name.forbidden(errors, "may not be set on pods that are already bound to a node");
    }
}

/// Containers that ended and are not to be restarted do not run again.
fn transitions(status: &At<'_>, before: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let all_restart = ["containers", "initContainers"].into_iter().any(|list| {
        let rules = spec.get(list).list().flat_map(|c| c.get("restartPolicyRules").list());
        rules.into_iter().any(|rule| rule.get("action").str() == "RestartAllContainers")
    });
    for (list, containers) in LISTS {
        let is_ephemeral = containers == "ephemeralContainers";
        if all_restart && !is_ephemeral {
            continue;
        }
        let statuses = status.get(list);
        for (i, old) in before.get(list).list().enumerate() {
            let ended = old.get("state").get("terminated");
            let name = old.get("name").str();
            let now = statuses.list().find(|now| {
                now.get("name").str() == name && !now.get("state").get("terminated").is_set()
            });
            if !ended.is_set() || now.is_none() {
                continue;
            }
            let code = ended.get("exitCode").int_or_zero();
            let named = |c: &At<'_>| c.get("name").str() == name;
            let restarts = !is_ephemeral
                && spec
                    .get(containers)
                    .list()
                    .find(named)
                    .is_some_and(|c| restarts(&c, spec.get("restartPolicy").str(), code));
            if !restarts {
                let path = statuses.path.index(i).child("state");
                errors.push(Error::forbidden(&path, NO_RESTART));
            }
        }
    }
}

/// Whether a container that ended with `code` is started again.
fn restarts(container: &At<'_>, pod_policy: &str, code: i64) -> bool {
    let own = container.get("restartPolicy");
    let applies = |rule: &At<'_>| {
        let codes = rule.get("exitCodes");
        let listed = codes.get("values").items().iter().any(|c| c.as_i64() == Some(code));
        match codes.get("operator").str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    let mut rules = container.get("restartPolicyRules").list();
    if own.is_set() && rules.find(applies).is_some_and(|r| r.get("action").str() == "Restart") {
        return true;
    }
    match if own.is_set() { own.str() } else { pod_policy } {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

fn claims(status: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for claim in status.get("resourceClaimStatuses").list() {
        let name = claim.get("name");
        let known = spec.get("resourceClaims").list().any(|c| c.get("name").str() == name.str());
        if !known {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(Error::invalid(&name.path, name.str(), detail));
        }
        if !taken.insert(name.str()) {
            errors.push(Error::duplicate(&name.path, name.str()));
        }
        let made = claim.get("resourceClaimName");
        if made.is_set() {
            made.form(errors, names::dns1123_subdomain);
        }
    }
}

/// Checks the claim made for resources that containers ask for by name. KEP-5004.
fn extended_claim(claim: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    if !claim.is_set() {
        return;
    }
    let mappings = claim.get("requestMappings");
    if mappings.is_empty() {
        mappings.required(errors, "at least one request mapping is required");
    }
    let mut taken = BTreeSet::new();
    for mapping in mappings.list() {
        let [container, resource, request] =
            ["containerName", "resourceName", "requestName"].map(|field| mapping.get(field));
        let lists = ["containers", "initContainers"].map(|list| spec.get(list));
        let found = lists
            .iter()
            .flat_map(At::list)
            .find(|c| c.get("name").str() == container.str())
            .map(|c| c.get("resources").get("requests").value.get(resource.str()).is_some());
        match found {
            Some(true) => {}
            Some(false) => {
                let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                errors.push(Error::invalid(&resource.path, resource.str(), detail));
            }
            None => {
                let detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.push(Error::invalid(&container.path, container.str(), detail));
            }
        }
        At::new(request.value, claim.path.child("requestName")).form(errors, names::dns1123_label);
        if !taken.insert((container.str(), resource.str(), request.str())) {
            for field in [container, resource, request] {
                errors.push(Error::duplicate(&field.path, field.str()));
            }
        }
    }
    claim.get("resourceClaimName").must_form(errors, names::dns1123_subdomain);
}

/// Checks what of a node's own resources comes with claims. KEP-5517.
fn allocatable(status: &At<'_>, spec: &At<'_>, errors: &mut ErrorList) {
    const EMPTY: &str = "must not be empty";
    for entry in status.get("nodeAllocatableResourceClaimStatuses").list() {
        let name = entry.get("resourceClaimName");
        if name.is_empty() {
            name.required(errors, EMPTY);
        }
        let lists = [spec.get("resourceClaims"), status.get("resourceClaimStatuses")];
        let known = lists.iter().flat_map(At::list).any(|claim| {
            let claim = claim.get("resourceClaimName");
            claim.is_set() && claim.str() == name.str()
        });
        if !known {
            errors.push(Error::invalid(
                &name.path,
                name.str(),
                "no mapping found in pod reference",
            ));
        }
        for field in ["containers", "resources"] {
            if entry.get(field).is_empty() {
                entry.get(field).required(errors, EMPTY);
            }
        }
        for (name, amount) in entry.get("resources").entries() {
            if !super::requirements::is_native(name) {
                let detail = "must be a node allocatable resource name";
                errors.push(Error::invalid(&amount.path, name, detail));
            }
            let quantity = machinery::quantity::Quantity::from_value(amount.value);
            if quantity.is_some_and(|quantity| quantity.is_negative()) {
                amount.invalid(errors, "must be non-negative");
            }
        }
    }
}

/// Checks addresses; those that were there before stay as they are.
fn ips(list: &At<'_>, before: &At<'_>, kind: &str, errors: &mut ErrorList) {
    let texts = |list: &At<'_>| -> Vec<String> {
        list.list().map(|entry| entry.get("ip").str().to_owned()).collect()
    };
    let (now, before) = (texts(list), texts(before));
    let now: Vec<&str> = now.iter().map(String::as_str).collect();
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    for entry in list.list() {
        let ip = entry.get("ip");
        // Upstream shows the entry and not what is in it.
        let value = if ip.is_set() { ip.value.clone() } else { json!("") };
        addresses::address(&At::new(&value, entry.path), &before, errors);
    }
    if now.len() > 1 && (now.len() > 2 || !addresses::is_dual_stack(&now)) {
        let detail = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(&list.path, internal::forms(list.items(), kind), detail));
    }
}

fn user(user: &At<'_>, os: &str, errors: &mut ErrorList) {
    if !user.is_set() {
        return;
    }
    if os == "windows" {
        user.forbidden(errors, "cannot be set for a windows pod");
        return;
    }
    id(&user.get("uid"), errors);
    id(&user.get("gid"), errors);
    for group in user.get("supplementalGroups").list() {
        id(&group, errors);
    }
}

/// Checks the health of what a container was given. KEP-4680.
fn allocated(resources: &At<'_>, container: Option<&At<'_>>, errors: &mut ErrorList) {
    for resource in resources.list() {
        let name = resource.get("name");
        let known = |container: &At<'_>| {
            let own = container.get("resources");
            match name.str().strip_prefix("claim:") {
                None => own.get("requests").value.get(name.str()).is_some(),
                Some(claim) => own.get("claims").list().any(|c| {
                    let (of, request) = (c.get("name").str(), c.get("request").str());
                    if request.is_empty() {
                        of == claim
                    } else {
                        claim.split_once('/') == Some((of, request))
                    }
                }),
            }
        };
        if container.is_some_and(|container| !known(container)) {
            let detail = if name.str().starts_with("claim:") {
                "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"
            } else {
                "must match one of the container's resource requests"
            };
            errors.push(Error::invalid(&name.path, name.str(), detail));
        }
        let mut taken = BTreeSet::new();
        for part in resource.get("resources").list() {
            let (health, message) = (part.get("health"), part.get("message"));
            if !HEALTH.contains(&health.str()) {
                health.unsupported(errors, &HEALTH);
            }
            if message.is_set() && message.is_empty() {
                message.required(errors, "must be non-empty if specified");
            } else if message.str().len() > MAX_HEALTH_MESSAGE {
                errors.push(Error::too_long(&message.path, MAX_HEALTH_MESSAGE));
            }
            let id = part.get("resourceID");
            if !taken.insert(id.str()) {
                errors.push(Error::duplicate(&id.path, id.str()));
            }
        }
    }
}
