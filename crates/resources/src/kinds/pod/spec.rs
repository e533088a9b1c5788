//! Rules for a Pod's spec, in Pods and in templates.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList, Path};
use machinery::names;

use super::annotations::{self, MIRROR};
use super::containers::{self, Around, all_containers};
use super::handlers::Ending;
use super::options::Options;
use super::{affinity, environment, requirements, scheduling, security, spread, volumes, windows};
use crate::cursor::At;
use crate::kinds::{addresses, internal};
use crate::object_meta;

const MAX_SECONDS: i64 = i32::MAX as i64;
const MAX_HOST_NAME: usize = 64;

/// Checks a Pod template. The one that it replaces, if it does, may have what would not be taken
/// today.
pub(crate) fn template(template: &At<'_>, old: Option<&At<'_>>, errors: &mut ErrorList) {
    let options = Options::of_template(old);
    object_meta::validate_template(template, errors);
    annotations::check(template, &template.path.child("annotations"), &options, errors);
    let spec = template.get("spec");
    check(&spec, &options, errors);
    annotations::check_profiles(template, errors);
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        ephemeral.forbidden(errors, "ephemeral containers not allowed in pod template");
    }
}

/// Checks the spec of a Pod or template.
pub(super) fn check(spec: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    let grace = spec.get("terminationGracePeriodSeconds");
    if !grace.is_set() {
        grace.required(errors, "");
    }
    let os = spec.get("os");
    let around = Around {
        volumes: volumes::check(&spec.get("volumes"), options, errors),
        ending: Ending { grace: grace.int(), os: os.is_set().then(|| os.get("name").str()) },
        restart_policy: spec.get("restartPolicy").str(),
        claims: resource_claims(&spec.get("resourceClaims"), options, errors),
        host_users: spec.get("hostUsers").value.as_bool() != Some(false),
        options,
    };
    let regular = spec.get("containers");
    containers::regular(&regular, &around, errors);
    containers::init(&spec.get("initContainers"), &regular, &around, errors);
    containers::ephemeral(spec, &around, errors);
    requirements::of_pod(spec, options, errors);
    host_network(spec, options, errors);
    spec.get("restartPolicy").one_of(errors, &["Always", "OnFailure", "Never"]);
    spec.get("dnsPolicy")
        .one_of(errors, &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    object_meta::labels(&spec.get("nodeSelector"), errors);
    security::pod(spec, options, errors);
    affinity::check(&spec.get("affinity"), options, errors);
    dns_config(spec, errors);
    for gate in spec.get("readinessGates").list() {
        gate.get("conditionType").form(errors, names::qualified_name);
    }
    scheduling_gates(&spec.get("schedulingGates"), errors);
    spread::check(&spec.get("topologySpreadConstraints"), options, errors);
    windows::host_process(spec, errors);
    host_users(spec, options, errors);
    host_name(spec, errors);
    spec.get("serviceAccountName").may_form(errors, names::dns1123_subdomain);
    spec.get("nodeName").may_form(errors, names::dns1123_subdomain);
    spec.get("activeDeadlineSeconds").within(errors, 1, MAX_SECONDS);
    spec.get("hostname").may_form(errors, names::dns1123_label);
    spec.get("subdomain").may_form(errors, names::dns1123_label);
    let numeric = options.numeric_tolerations;
    scheduling::tolerations_with(&spec.get("tolerations"), numeric, errors);
    for alias in spec.get("hostAliases").list() {
        addresses::address(&alias.get("ip"), &[], errors);
        for host in alias.get("hostnames").list() {
            host.form(errors, names::dns1123_subdomain);
        }
    }
    spec.get("priorityClassName").may_form(errors, names::dns1123_subdomain);
    let class = spec.get("runtimeClassName");
    if class.is_set() {
        class.form(errors, names::dns1123_subdomain);
    }
    let preemption = spec.get("preemptionPolicy");
    if preemption.is_set() {
        preemption.one_of(errors, &["PreemptLowerPriority", "Never"]);
    }
    requirements::overhead(&spec.get("overhead"), options, errors);
    windows::operating_system(spec, errors);
    scheduling_group(&spec.get("schedulingGroup"), errors);
    environment::files(spec, errors);
}

/// Checks which claims of resources a Pod has, and gathers their names. KEP-3063.
fn resource_claims<'a>(
    claims: &At<'a>,
    options: &Options<'_>,
    errors: &mut ErrorList,
) -> BTreeSet<&'a str> {
    let is_mirror = options.pod.is_some_and(|metadata| {
        metadata.pointer("/annotations").is_some_and(|noted| noted.get(MIRROR).is_some())
    });
    let mut taken = BTreeSet::new();
    for claim in claims.list() {
        let name = claim.get("name");
        if is_mirror {
            let detail = "static pods do not support resource claims";
            errors.push(Error::forbidden(&Path::new(""), detail));
            taken.insert(name.str());
            continue;
        }
        if name.must(errors) {
            if taken.insert(name.str()) {
                name.form(errors, names::dns1123_label);
            } else {
                name.duplicate(errors);
            }
        }
        let (direct, template) =
            (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        let mut wrong = |detail: &str| {
            let shown = internal::form(claim.value, "PodResourceClaim");
            errors.push(Error::invalid(&claim.path, shown, detail));
        };
        match (direct.is_set(), template.is_set()) {
            (true, true) => wrong(
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (false, false) => {
                wrong("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`");
            }
            _ => {}
        }
        for reference in [direct, template] {
            if reference.is_set() {
                reference.form(errors, names::dns1123_subdomain);
            }
        }
    }
    taken.retain(|name| !name.is_empty());
    taken
}

/// On the host's network a port is the same inside and out; a template may leave it open.
fn host_network(spec: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    if !spec.get("hostNetwork").bool() {
        return;
    }
    for container in spec.get("containers").list() {
        for port in container.get("ports").list() {
            let host = port.get("hostPort");
            let (number, given) = (port.get("containerPort").int_or_zero(), host.int_or_zero());
            if (options.pod.is_some() || given != 0) && given != number {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(Error::invalid(&host.path, given, detail));
            }
        }
    }
}

/// A user namespace of its own does not go with the host's other namespaces, nor with raw devices.
fn host_users(spec: &At<'_>, options: &Options<'_>, errors: &mut ErrorList) {
    const DETAIL: &str = "when `hostUsers` is false";
    if spec.get("hostUsers").value.as_bool() != Some(false) {
        return;
    }
    for (field, shown) in
        [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")]
    {
        let allowed = field == "hostNetwork" && options.host_network_users;
        if spec.get(field).bool() && !allowed {
            errors.push(Error::forbidden(&spec.path.child(shown), DETAIL));
        }
    }
    for (_, container) in all_containers(spec).filter(|_| !options.user_devices) {
        let devices = container.get("volumeDevices");
        if !devices.is_empty() {
            devices.forbidden(errors, DETAIL);
        }
    }
}

/// Checks the name that a host has inside and out. KEP-4762.
fn host_name(spec: &At<'_>, errors: &mut ErrorList) {
    let name = spec.get("hostnameOverride");
    if !name.is_set() {
        return;
    }
    for field in ["setHostnameAsFQDN", "hostNetwork"] {
        if spec.get(field).bool() {
            name.forbidden(errors, format!("may not be specified when {field} is true"));
        }
    }
    if name.str().len() > MAX_HOST_NAME {
        errors.push(Error::too_long(&name.path, MAX_HOST_NAME));
    }
    name.form(errors, names::dns1123_subdomain);
}

/// Checks the group that a Pod is scheduled with. KEP-4671.
fn scheduling_group(group: &At<'_>, errors: &mut ErrorList) {
    if !group.is_set() {
        return;
    }
    let name = group.get("podGroupName");
    if name.is_set() {
        name.form(errors, names::dns1123_subdomain);
    } else {
        name.invalid(errors, "must specify one of: `podGroupName`");
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
        addresses::address(&server, &[], errors);
    }
    let searches = config.get("searches");
    if searches.len() > 32 {
        searches.invalid(errors, "must not have more than 32 search paths");
    }
    let length: usize = searches.list().map(|search| search.str().len() + 1).sum();
    if length > 2049 {
        let detail =
            "must not have more than 2048 characters (including spaces) in the search list";
        searches.invalid(errors, detail);
    }
    for search in searches.list().filter(|search| search.str() != ".") {
        let plain = search.str().strip_suffix('.').unwrap_or(search.str());
        for message in names::dns1123_subdomain_with_underscores(plain) {
            errors.push(Error::invalid(&search.path, plain, message));
        }
    }
    for option in config.get("options").list() {
        if option.get("name").is_empty() {
            option.required(errors, "must not be empty");
        }
    }
}
