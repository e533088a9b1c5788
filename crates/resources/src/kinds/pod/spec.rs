//! Rules for a Pod's spec, in Pods and in templates.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::names;
use machinery::quantity::Quantity;

use super::containers::{self, Around};
use super::{resources, scheduling, security, volumes};
use crate::cursor::At;
use crate::object_meta;

const MAX_SECONDS: i64 = i32::MAX as i64;

/// Checks a Pod template.
pub(crate) fn template(template: &At<'_>, errors: &mut ErrorList) {
    object_meta::validate_template(template, errors);
    let spec = template.get("spec");
    check(&spec, false, errors);
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}

/// Checks a Pod's spec; `is_pod` tells it from that of a template, which may leave more open.
pub(crate) fn check(spec: &At<'_>, is_pod: bool, errors: &mut ErrorList) {
    let grace = spec.get("terminationGracePeriodSeconds");
    if !grace.is_set() {
        grace.required(errors, "");
    }
    let around = Around {
        volumes: volumes::check(&spec.get("volumes"), errors),
        grace: grace.int(),
        restart_policy: spec.get("restartPolicy").str(),
        claims: resource_claims(&spec.get("resourceClaims"), errors),
    };
    let mut taken = BTreeSet::new();
    containers::regular(&spec.get("containers"), &around, &mut taken, errors);
    containers::init(&spec.get("initContainers"), &around, &mut taken, errors);
    containers::ephemeral(&spec.get("ephemeralContainers"), &around, &mut taken, errors);
    pod_resources(spec, errors);
    host_network(spec, is_pod, errors);
    spec.get("restartPolicy").one_of(errors, &["Always", "OnFailure", "Never"]);
    spec.get("dnsPolicy")
        .one_of(errors, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    object_meta::labels(&spec.get("nodeSelector"), errors);
    security::pod(spec, errors);
    for secret in spec.get("imagePullSecrets").list() {
        let extra = secret.value.as_object().is_some_and(|s| s.keys().any(|k| k != "name"));
        if extra {
            secret.invalid(errors, "only name may be set");
        }
    }
    scheduling::affinity(&spec.get("affinity"), errors);
    dns_config(spec, errors);
    for gate in spec.get("readinessGates").list() {
        gate.get("conditionType").form(errors, names::qualified_name);
    }
    scheduling_gates(&spec.get("schedulingGates"), errors);
    scheduling::topology_spread(&spec.get("topologySpreadConstraints"), errors);
    host_users(spec, errors);
    spec.get("serviceAccountName").may_form(errors, names::dns1123_subdomain);
    spec.get("nodeName").may_form(errors, names::dns1123_subdomain);
    spec.get("activeDeadlineSeconds").within(errors, 1, MAX_SECONDS);
    spec.get("hostname").may_form(errors, names::dns1123_label);
    spec.get("subdomain").may_form(errors, names::dns1123_label);
    scheduling::tolerations(&spec.get("tolerations"), errors);
    for alias in spec.get("hostAliases").list() {
        alias.get("ip").form(errors, names::ip_address);
        for host in alias.get("hostnames").list() {
            host.form(errors, names::dns1123_subdomain);
        }
    }
    spec.get("priorityClassName").may_form(errors, names::dns1123_subdomain);
    spec.get("runtimeClassName").may_form(errors, names::dns1123_subdomain);
    spec.get("preemptionPolicy").may_be_one_of(errors, &["PreemptLowerPriority", "Never"]);
    for (name, amount) in spec.get("overhead").entries() {
        resources::quantity(name, &amount, errors);
    }
    let os = spec.get("os");
    if os.is_set() {
        os.get("name").one_of(errors, &["linux", "windows"]);
    }
}

fn resource_claims<'a>(claims: &At<'a>, errors: &mut ErrorList) -> BTreeSet<&'a str> {
    let mut taken = BTreeSet::new();
    for claim in claims.list() {
        let name = claim.get("name");
        if name.must(errors) {
            if taken.insert(name.str()) {
                name.form(errors, names::dns1123_label);
            } else {
                name.duplicate(errors);
            }
        }
        let (direct, template) =
            (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        match (direct.is_set(), template.is_set()) {
            (true, true) => claim.invalid(
                errors,
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (false, false) => claim.invalid(
                errors,
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            ),
            _ => {}
        }
        for reference in [direct, template] {
            if reference.is_set() {
                reference.form(errors, names::dns1123_subdomain);
            }
        }
    }
    taken
}

/// Resources of the Pod as a whole cover those of its containers.
fn pod_resources(spec: &At<'_>, errors: &mut ErrorList) {
    let whole = spec.get("resources");
    if !whole.is_set() {
        return;
    }
    if whole.get("claims").is_set() {
        let detail = "claims cannot be set for Resources at pod-level";
        whole.get("claims").forbidden(errors, detail);
    }
    resources::requirements(&whole, errors);
    let requests = whole.get("requests");
    for (name, asked) in resources::container_requests(spec.value) {
        let given = requests.value.get(&name).and_then(Quantity::from_value).unwrap_or_default();
        if asked > given {
            let path = requests.path.key(name);
            let detail =
                format!("must be greater than or equal to aggregate container requests of {asked}");
            errors.push(Error::invalid(&path, given.to_string(), detail));
        }
    }
    let limits = whole.get("limits");
    for (i, container) in spec.get("containers").list().enumerate() {
        for (name, amount) in container.get("resources").get("limits").entries() {
            let limit = limits.value.get(name).and_then(Quantity::from_value);
            let own = Quantity::from_value(amount.value).unwrap_or_default();
            if let Some(limit) = limit.filter(|limit| own > *limit) {
                let path = whole.path.child("containers").index(i).key(name).child("limits");
                let detail = format!("must be less than or equal to pod limits of {limit}");
                errors.push(Error::invalid(&path, own.to_string(), detail));
            }
        }
    }
}

/// On the host's network a port is the same inside and out; a template may leave it open.
fn host_network(spec: &At<'_>, is_pod: bool, errors: &mut ErrorList) {
    if !spec.get("hostNetwork").bool() {
        return;
    }
    for container in spec.get("containers").list() {
        for port in container.get("ports").list() {
            let host = port.get("hostPort");
            let (number, given) = (port.get("containerPort").int_or_zero(), host.int_or_zero());
            if (is_pod || given != 0) && given != number {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&host.path, given, detail));
            }
        }
    }
}

/// A user namespace of its own does not go with the host's other namespaces.
fn host_users(spec: &At<'_>, errors: &mut ErrorList) {
    if spec.get("hostUsers").value.as_bool() != Some(false) {
        return;
    }
    for (field, name) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        if spec.get(field).bool() {
            let detail = "when `pod.Spec.HostUsers` is false";
            errors.push(Error::forbidden(&spec.path.child(name), detail));
        }
    }
}

fn scheduling_gates(gates: &At<'_>, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for gate in gates.list() {
        let name = gate.get("name");
        for message in names::qualified_name(name.str()) {
            errors.push(Error::invalid(&gate.path, name.str(), message));
        }
        if !taken.insert(name.str()) {
            errors.push(Error::duplicate(&gate.path, name.str()));
        }
    }
}

fn dns_config(spec: &At<'_>, errors: &mut ErrorList) {
    let config = spec.get("dnsConfig");
    let servers = config.get("nameservers");
    if spec.get("dnsPolicy").str() == "None" {
        if !config.is_set() {
            config.required(errors, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            servers.required(errors, detail);
            return;
        }
    }
    if servers.len() > 3 {
        servers.invalid(errors, "must not have more than 3 nameservers");
    }
    for server in servers.list() {
        server.form(errors, names::ip_address);
    }
    let searches = config.get("searches");
    if searches.len() > 32 {
        searches.invalid(errors, "must not have more than 32 search paths");
    }
    let length: usize =
        searches.items().iter().filter_map(|s| s.as_str()).map(|s| s.len() + 1).sum();
    if length > 2049 {
        let detail =
            "must not have more than 2048 characters (including spaces) in the search list";
        searches.invalid(errors, detail);
    }
    for search in searches.list() {
        // A single dot, a trailing dot and underscores are fine in search paths.
        let plain = search.str().strip_suffix('.').unwrap_or(search.str()).replace('_', "a");
        if search.str() != "." {
            for message in names::dns1123_subdomain(&plain) {
                search.invalid(errors, message);
            }
        }
    }
    for option in config.get("options").list() {
        if option.get("name").is_empty() {
            option.required(errors, "must not be empty");
        }
    }
}
