//! Rules for containers: those that do the work, those that run before them and those for
//! debugging.

use std::collections::BTreeSet;

use machinery::field::{Error, ErrorList};
use machinery::names;

use super::handlers::{self, Ending};
use super::mounts::{self, Volumes};
use super::options::Options;
use super::{environment, requirements, security};
use crate::cursor::At;

const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const MAX_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const EPHEMERAL: &str = "cannot be set for an Ephemeral Container";

/// What the checks of single containers need to know of the Pod around them.
pub(super) struct Around<'a> {
    /// The volumes by name.
    pub(super) volumes: Volumes<'a>,
    /// How the Pod's containers may end.
    pub(super) ending: Ending<'a>,
    /// The Pod's restart policy.
    pub(super) restart_policy: &'a str,
    /// The names of the Pod's resource claims.
    pub(super) claims: BTreeSet<&'a str>,
    /// Whether the users in the containers are the host's.
    pub(super) host_users: bool,
    /// What may stay as it is.
    pub(super) options: &'a Options<'a>,
}

/// All containers of a spec in the order in which they are gone through, with the list they are in.
pub(super) fn all_containers<'a>(
    spec: &At<'a>,
) -> impl Iterator<Item = (&'static str, At<'a>)> + use<'a> {
    let spec = spec.clone();
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(move |list| spec.get(list).list().map(move |container| (list, container)))
}

/// Checks the containers that do a Pod's work.
pub(super) fn regular(containers: &At<'_>, around: &Around<'_>, errors: &mut ErrorList) {
    if containers.items().is_empty() {
        containers.required(errors, "");
        return;
    }
    let mut taken = BTreeSet::new();
    for container in containers.list() {
        single(&container, around, errors);
        let name = container.get("name");
        if !taken.insert(name.str()) {
            errors.push(Error::duplicate(&name.path, name.str()));
        }
        handlers::check(&container, around.ending, errors);
        restart_rules(&container, errors);
    }
    let mut ports = BTreeSet::new();
    for container in containers.list() {
        host_ports(&container, &mut ports, errors);
    }
}

/// Checks the containers that run before the others.
pub(super) fn init(
    containers: &At<'_>,
    regular: &At<'_>,
    around: &Around<'_>,
    errors: &mut ErrorList,
) {
    let mut taken: BTreeSet<&str> = regular.list().map(|c| c.get("name").str()).collect();
    for container in containers.list() {
        single(&container, around, errors);
        restart_rules(&container, errors);
        let name = container.get("name");
        if taken.contains(name.str()) {
            errors.push(Error::duplicate(&name.path, name.str()));
        } else if !name.is_empty() {
            taken.insert(name.str());
        }
        // One runs after the other, so only their own ports can conflict; upstream shows each as
        // if it were the first.
        let alone = At::new(container.value, containers.path.index(0));
        host_ports(&alone, &mut BTreeSet::new(), errors);
        if is_sidecar(&container) {
            handlers::check(&container, around.ending, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            let field = container.get(field);
            if field.is_set() {
                let detail = "may not be set for init containers without restartPolicy=Always";
                field.forbidden(errors, detail);
            }
        }
        for policy in container.get("resizePolicy").list() {
            let restart = policy.get("restartPolicy");
            if restart.str() == "RestartContainer" && !around.options.restarted_init {
                let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                restart.invalid(errors, detail);
            }
        }
    }
}

/// Whether an init container runs on beside the others.
pub(super) fn is_sidecar(container: &At<'_>) -> bool {
    container.get("restartPolicy").str() == "Always"
}

/// Checks the containers added for debugging.
pub(super) fn ephemeral(spec: &At<'_>, around: &Around<'_>, errors: &mut ErrorList) {
    let lists = [spec.get("containers"), spec.get("initContainers")];
    let targets: BTreeSet<&str> =
        lists.iter().flat_map(At::list).map(|c| c.get("name").str()).collect();
    let mut taken = targets.clone();
    for container in spec.get("ephemeralContainers").list() {
        single(&container, around, errors);
        own_image(&container, errors);
        let name = container.get("name");
        if !taken.insert(name.str()) {
            errors.push(Error::duplicate(&name.path, name.str()));
        }
        let target = container.get("targetContainerName");
        if !target.is_empty() && !targets.contains(target.str()) {
            target.not_found(errors);
        }
        for field in ["ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules"] {
            let field = container.get(field);
            if !field.is_empty() {
                field.forbidden(errors, EPHEMERAL);
            }
        }
        for field in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
            let field = container.get(field);
            if field.is_set() {
                field.forbidden(errors, EPHEMERAL);
            }
        }
        for mount in container.get("volumeMounts").list() {
            for field in ["subPath", "subPathExpr"] {
                let field = mount.get(field);
                if !field.is_empty() {
                    field.forbidden(errors, EPHEMERAL);
                }
            }
        }
    }
}

/// The image of a container that is really run, not only described in a template.
pub(super) fn own_image(container: &At<'_>, errors: &mut ErrorList) {
    let image = container.get("image");
    if image.str().trim() != image.str() {
        image.invalid(errors, "must not have leading or trailing whitespace");
    }
}

/// What holds for containers of all sorts.
fn single(container: &At<'_>, around: &Around<'_>, errors: &mut ErrorList) {
    container.get("name").must_form(errors, names::dns1123_label);
    container.get("image").must(errors);
    container.get("terminationMessagePolicy").one_of(errors, &["File", "FallbackToLogsOnError"]);
    ports(&container.get("ports"), errors);
    environment::variables(&container.get("env"), errors);
    environment::sources(&container.get("envFrom"), errors);
    mounts::check(container, &around.volumes, errors);
    pull_policy(&container.get("imagePullPolicy"), errors);
    let resources = container.get("resources");
    requirements::of_container(&resources, around.options, errors);
    requirements::claims(&resources.get("claims"), &around.claims, errors);
    resize_policy(&container.get("resizePolicy"), around.restart_policy, errors);
    security::container(&container.get("securityContext"), around.host_users, errors);
}

/// Checks when an image is fetched.
pub(super) fn pull_policy(policy: &At<'_>, errors: &mut ErrorList) {
    policy.one_of(errors, &["Always", "IfNotPresent", "Never"]);
}

/// Checks when a container is started again. KEP-5307.
fn restart_rules(container: &At<'_>, errors: &mut ErrorList) {
    let (policy, rules) = (container.get("restartPolicy"), container.get("restartPolicyRules"));
    if !policy.is_set() {
        if rules.is_empty() {
            return;
        }
        policy.required(errors, "must specify restartPolicy when restart rules are used");
    } else if !RESTART_POLICIES.contains(&policy.str()) {
        policy.unsupported(errors, &RESTART_POLICIES);
    }
    if rules.len() > MAX_RULES {
        errors.push(Error::too_many(&rules.path, rules.len(), MAX_RULES));
    }
    for rule in rules.list() {
        let (action, codes) = (rule.get("action"), rule.get("exitCodes"));
        if !["Restart", "RestartAllContainers"].contains(&action.str()) {
            action.unsupported(errors, &["Restart", "RestartAllContainers"]);
        }
        if !codes.is_set() {
            codes.required(errors, "must be specified");
            continue;
        }
        let (operator, values) = (codes.get("operator"), codes.get("values"));
        if !["In", "NotIn"].contains(&operator.str()) {
            operator.unsupported(errors, &["In", "NotIn"]);
        }
        if values.len() > MAX_EXIT_CODES {
            errors.push(Error::too_many(&values.path, values.len(), MAX_EXIT_CODES));
        }
    }
}

fn resize_policy(policies: &At<'_>, restart_policy: &str, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for policy in policies.list() {
        let (resource, restart) = (policy.get("resourceName"), policy.get("restartPolicy"));
        if !taken.insert(resource.str()) {
            errors.push(Error::duplicate(&policy.path, resource.str()));
        }
        for (field, supported) in
            [(&resource, ["cpu", "memory"]), (&restart, ["NotRequired", "RestartContainer"])]
        {
            if field.is_empty() {
                policies.required(errors, "");
            } else if !supported.contains(&field.str()) {
                errors.push(Error::not_supported(&policies.path, field.str(), &supported));
            }
        }
        if restart_policy == "Never" && restart.str() != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            errors.push(Error::invalid(&policies.path, restart.str(), detail));
        }
    }
}

fn ports(ports: &At<'_>, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for port in ports.list() {
        let name = port.get("name");
        if !name.is_empty() {
            let messages = names::port_name(name.str());
            if messages.is_empty() && !taken.insert(name.str()) {
                name.duplicate(errors);
            }
            for message in messages {
                name.invalid(errors, message);
            }
        }
        let number = port.get("containerPort");
        if number.must(errors) {
            number.within(errors, 1, 65535);
        }
        let host = port.get("hostPort");
        if !host.is_empty() {
            host.within(errors, 1, 65535);
        }
        port.get("protocol").one_of(errors, &["SCTP", "TCP", "UDP"]);
    }
}

fn host_ports(container: &At<'_>, taken: &mut BTreeSet<String>, errors: &mut ErrorList) {
    for port in container.get("ports").list() {
        let host = port.get("hostPort");
        if host.is_empty() {
            continue;
        }
        let (protocol, ip) = (port.get("protocol").str(), port.get("hostIP").str());
        let text = format!("{protocol}/{ip}/{}", host.int_or_zero());
        if !taken.insert(text.clone()) {
            errors.push(Error::duplicate(&host.path, text));
        }
    }
}
