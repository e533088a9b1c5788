//! Rules for a Pod's spec, in Pods and in templates.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::names;

use super::{containers, resources, scheduling, security, volumes};
use crate::cursor::At;
use crate::object_meta;

const MAX_SECONDS: i64 = i32::MAX as i64;

/// Checks a Pod template.
pub(crate) fn template(template: &At<'_>, errors: &mut ErrorList) {
    object_meta::validate_template(&template.get("metadata"), errors);
    let spec = template.get("spec");
    check(&spec, errors);
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}

/// Checks a Pod's spec.
pub(crate) fn check(spec: &At<'_>, errors: &mut ErrorList) {
    let grace = spec.get("terminationGracePeriodSeconds").int();
    let by_name = volumes::check(&spec.get("volumes"), errors);
    let mut taken = BTreeSet::new();
    containers::regular(&spec.get("containers"), &by_name, &mut taken, grace, errors);
    containers::init(&spec.get("initContainers"), &by_name, &mut taken, grace, errors);
    let targets = taken.clone();
    let ephemeral = spec.get("ephemeralContainers");
    containers::ephemeral(&ephemeral, &by_name, &mut taken, &targets, errors);
    if spec.get("resources").is_set() {
        resources::requirements(&spec.get("resources"), errors);
    }
    spec.get("restartPolicy").one_of(errors, &["Always", "OnFailure", "Never"]);
    spec.get("dnsPolicy")
        .one_of(errors, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    object_meta::labels(&spec.get("nodeSelector"), errors);
    security::pod(spec, errors);
    host_network(spec, errors);
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
    spec.get("serviceAccountName").may_form(errors, names::dns1123_subdomain);
    spec.get("nodeName").may_form(errors, names::dns1123_subdomain);
    spec.get("activeDeadlineSeconds").within(errors, 1, MAX_SECONDS);
    spec.get("hostname").may_form(errors, names::dns1123_label);
    spec.get("subdomain").may_form(errors, names::dns1123_label);
    scheduling::tolerations(&spec.get("tolerations"), errors);
    for alias in spec.get("hostAliases").list() {
        alias.get("ip").form(errors, names::ip_address);
        for host in alias.get("hostnames").items() {
            let host = host.as_str().unwrap_or_default();
            for message in names::dns1123_subdomain(host) {
                errors.push(Error::invalid(&alias.path.child("hostnames"), host, message));
            }
        }
    }
    spec.get("priorityClassName").may_form(errors, names::dns1123_subdomain);
    spec.get("runtimeClassName").may_form(errors, names::dns1123_subdomain);
    spec.get("preemptionPolicy").may_be_one_of(errors, &["Never", "PreemptLowerPriority"]);
    let os = spec.get("os");
    if os.is_set() && os.get("name").must(errors) {
        os.get("name").may_be_one_of(errors, &["linux", "windows"]);
    }
    for (name, amount) in spec.get("overhead").entries() {
        resources::quantity(name, &amount, errors);
    }
}

fn host_network(spec: &At<'_>, errors: &mut ErrorList) {
    if !spec.get("hostNetwork").bool() {
        return;
    }
    for container in spec.get("containers").list() {
        for port in container.get("ports").list() {
            let (number, host) = (port.get("containerPort"), port.get("hostPort"));
            if host.int_or_zero() != number.int_or_zero() {
                number.invalid(errors, "must match `hostPort` when `hostNetwork` is true");
            }
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
