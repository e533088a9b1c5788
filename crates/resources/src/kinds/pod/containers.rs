//! Rules for containers: names, ports, environment, mounts, probes, hooks.

use std::collections::{BTreeMap, BTreeSet};

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use machinery::quantity::Quantity;

use super::{resources, security, volumes};
use crate::cursor::At;

/// The volumes of a Pod by name.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that a name can be looked up for; fewer of them can be shown in each place.
const KNOWN_FIELDS: [&str; 14] = [
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.phase",
    "status.podIP",
    "status.podIPs",
];
const RESTART_POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
const CONTAINER_RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// What the checks of single containers need to know of the Pod around them.
pub(super) struct Around<'a> {
    /// The volumes by name.
    pub(super) volumes: Volumes<'a>,
    /// The Pod's grace period.
    pub(super) grace: Option<i64>,
    /// The Pod's restart policy.
    pub(super) restart_policy: &'a str,
    /// The names of the Pod's resource claims.
    pub(super) claims: BTreeSet<&'a str>,
}

/// Checks the containers that do a Pod's work.
pub(super) fn regular(
    containers: &At<'_>,
    around: &Around<'_>,
    taken: &mut BTreeSet<String>,
    errors: &mut ErrorList,
) {
    if containers.items().is_empty() {
        containers.required(errors, "");
        return;
    }
    for container in containers.list() {
        single(&container, around, errors);
        unique_name(&container, taken, errors);
        handlers(&container, around.grace, errors);
        container.get("restartPolicy").may_be_one_of(errors, &RESTART_POLICIES);
    }
    let mut ports = BTreeSet::new();
    for container in containers.list() {
        host_ports(&container, &mut ports, errors);
    }
}

/// Checks the containers that run before the others.
pub(super) fn init(
    containers: &At<'_>,
    around: &Around<'_>,
    taken: &mut BTreeSet<String>,
    errors: &mut ErrorList,
) {
    for container in containers.list() {
        single(&container, around, errors);
        let policy = container.get("restartPolicy");
        policy.may_be_one_of(errors, &RESTART_POLICIES);
        unique_name(&container, taken, errors);
        // One runs after the other, so only their own ports can conflict.
        host_ports(&container, &mut BTreeSet::new(), errors);
        if policy.str() == "Always" {
            handlers(&container, around.grace, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            let field = container.get(field);
            if field.is_set() {
                let detail = "may not be set for init containers without restartPolicy=Always";
                field.forbidden(errors, detail);
            }
        }
    }
}

/// Checks the containers added for debugging.
pub(super) fn ephemeral(
    containers: &At<'_>,
    around: &Around<'_>,
    taken: &mut BTreeSet<String>,
    errors: &mut ErrorList,
) {
    let targets = taken.clone();
    for container in containers.list() {
        single(&container, around, errors);
        own_image(&container, errors);
        unique_name(&container, taken, errors);
        let target = container.get("targetContainerName");
        if !target.is_empty() && !targets.contains(target.str()) {
            target.not_found(errors);
        }
        for field in [
            "ports",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            let field = container.get(field);
            if !field.is_empty() {
                field.forbidden(errors, "cannot be set for an Ephemeral Container");
            }
        }
        for mount in container.get("volumeMounts").list() {
            for field in ["subPath", "subPathExpr"] {
                let field = mount.get(field);
                if !field.is_empty() {
                    field.forbidden(errors, "cannot be set for an Ephemeral Container");
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

fn unique_name(container: &At<'_>, taken: &mut BTreeSet<String>, errors: &mut ErrorList) {
    let name = container.get("name");
    if !name.is_empty() && !taken.insert(name.str().to_owned()) {
        name.duplicate(errors);
    }
}

/// What holds for containers of all sorts.
fn single(container: &At<'_>, around: &Around<'_>, errors: &mut ErrorList) {
    container.get("name").must_form(errors, names::dns1123_label);
    container.get("image").must(errors);
    container.get("terminationMessagePolicy").one_of(errors, &["File", "FallbackToLogsOnError"]);
    ports(&container.get("ports"), errors);
    environment(&container.get("env"), errors);
    environment_from(&container.get("envFrom"), errors);
    mounts(container, &around.volumes, errors);
    container.get("imagePullPolicy").one_of(errors, &["Always", "IfNotPresent", "Never"]);
    let resources = container.get("resources");
    resources::requirements(&resources, errors);
    for claim in resources.get("claims").list() {
        let name = claim.get("name");
        if name.must(errors) && !around.claims.contains(name.str()) {
            name.not_found(errors);
        }
    }
    resize_policy(&container.get("resizePolicy"), around.restart_policy, errors);
    security::container(&container.get("securityContext"), errors);
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
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
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
        port.get("hostIP").may_form(errors, names::ip_address);
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

fn environment(variables: &At<'_>, errors: &mut ErrorList) {
    for variable in variables.list() {
        variable.get("name").must_form(errors, names::env_var_name);
        let source = variable.get("valueFrom");
        if source.is_set() {
            value_from(&source, !variable.get("value").is_empty(), errors);
        }
    }
}

fn value_from(source: &At<'_>, has_value: bool, errors: &mut ErrorList) {
    let mut count = 0;
    let mut given = |field: &'static str| {
        let field = source.get(field);
        count += usize::from(field.is_set());
        field
    };
    let field_ref = given("fieldRef");
    if field_ref.is_set() {
        field_selector(&field_ref, &ENV_FIELDS, errors);
    }
    let resource = given("resourceFieldRef");
    if resource.is_set() {
        resource_selector(&resource, false, errors);
    }
    for name in ["configMapKeyRef", "secretKeyRef"] {
        let reference = given(name);
        if reference.is_set() {
            reference.get("name").form(errors, names::dns1123_subdomain);
            reference.get("key").must_form(errors, names::config_map_key);
        }
    }
    let file = given("fileKeyRef");
    if file.is_set() {
        for field in ["volumeName", "path", "key"] {
            file.get(field).must(errors);
        }
    }
    let mut wrong = |detail: &str| errors.push(Error::invalid(&source.path, "", detail));
    if count == 0 {
        wrong(
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        );
    } else if has_value {
        wrong("may not be specified when `value` is not empty");
    } else if count > 1 {
        wrong("may not have more than one field specified at a time");
    }
}

/// Checks a reference to one of the Pod's own fields.
pub(super) fn field_selector(reference: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    let (version, path) = (reference.get("apiVersion"), reference.get("fieldPath"));
    if !version.must(errors) || !path.must(errors) {
        return;
    }
    let text = path.str();
    let mut unknown = |why: String| {
        path.invalid(errors, format!("error converting fieldPath: {why}"));
    };
    if version.str() != "v1" {
        unknown(format!("unsupported pod version: {}", version.str()));
        return;
    }
    let subscripted =
        text.split_once("['").and_then(|(field, rest)| Some((field, rest.strip_suffix("']")?)));
    match subscripted {
        Some((field @ ("metadata.annotations" | "metadata.labels"), key)) => {
            let key = if field == "metadata.labels" { key.to_owned() } else { key.to_lowercase() };
            for message in names::qualified_name(&key) {
                errors.push(Error::invalid(&reference.path, key.as_str(), message));
            }
        }
        Some(_) => unknown(format!("field label does not support subscript: {text}")),
        None if !KNOWN_FIELDS.contains(&text) => {
            unknown(format!("field label not supported: {text}"));
        }
        None if !supported.contains(&text) => path.unsupported(errors, supported),
        None => {}
    }
}

/// Checks a reference to a container's resources.
pub(super) fn resource_selector(reference: &At<'_>, in_volume: bool, errors: &mut ErrorList) {
    let (container, resource) = (reference.get("containerName"), reference.get("resource"));
    let huge = ["limits.hugepages-", "requests.hugepages-"]
        .iter()
        .any(|prefix| resource.str().starts_with(prefix));
    if in_volume && container.is_empty() {
        container.required(errors, "");
    } else if resource.must(errors) && !huge {
        resource.may_be_one_of(errors, &CONTAINER_RESOURCES);
    }
    let divisor = reference.get("divisor");
    let Some(quantity) = Quantity::from_value(divisor.value).filter(|q| !q.is_zero()) else {
        return;
    };
    let text = quantity.to_string();
    const SIZES: [&str; 13] =
        ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    // 1Ki and 1024 are one amount with two texts.
    let given = divisor.value.as_str().unwrap_or(&text);
    let what = match resource.str() {
        "limits.cpu" | "requests.cpu" => {
            if !["1m", "1"].contains(&text.as_str()) {
                let detail = "only divisor's values 1m and 1 are supported with the cpu resource";
                errors.push(Error::invalid(&divisor.path, resource.str(), detail));
            }
            return;
        }
        "limits.memory" | "requests.memory" => "memory",
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => "local ephemeral storage",
        _ if huge => "hugepages",
        _ => return,
    };
    if !SIZES.contains(&given) {
        let detail = format!(
            "only divisor's values {} are supported with the {what} resource",
            SIZES.join(", ")
        );
        errors.push(Error::invalid(&divisor.path, resource.str(), detail));
    }
}

fn environment_from(sources: &At<'_>, errors: &mut ErrorList) {
    for source in sources.list() {
        source.get("prefix").may_form(errors, names::env_var_name);
        let mut count = 0;
        for name in ["configMapRef", "secretRef"] {
            let reference = source.get(name);
            if reference.is_set() {
                count += 1;
                let name = reference.get("name");
                if name.must(errors) {
                    let plain = names::mask_trailing_dash(name.str());
                    for message in names::dns1123_subdomain(&plain) {
                        name.invalid(errors, message);
                    }
                }
            }
        }
        let mut wrong = |detail: &str| errors.push(Error::invalid(&sources.path, "", detail));
        match count {
            0 => wrong("must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => wrong("may not have more than one field specified at a time"),
        }
    }
}

fn mounts(container: &At<'_>, volumes: &Volumes<'_>, errors: &mut ErrorList) {
    let privileged = container.get("securityContext").get("privileged").bool();
    let (mounts, devices) = (container.get("volumeMounts"), container.get("volumeDevices"));
    let values = |list: &At<'_>, field: &'static str| -> BTreeSet<String> {
        list.list().map(|item| item.get(field).str().to_owned()).collect()
    };
    let device_names = values(&devices, "name");
    let device_paths = values(&devices, "devicePath");
    let mut paths = BTreeSet::new();
    for mount in mounts.list() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        name.must(errors);
        if !volumes.contains_key(name.str()) {
            errors.push(Error::not_found(&name.path, name.str()));
        }
        path.must(errors);
        if !paths.insert(path.str()) {
            path.invalid(errors, "must be unique");
        }
        if device_names.contains(name.str()) {
            name.invalid(errors, "must not already exist in volumeDevices");
        }
        if device_paths.contains(path.str()) {
            path.invalid(errors, "must not already exist as a path in volumeDevices");
        }
        // Upstream names these without the index of the mount.
        let plain = |field: &'static str| At::new(mount.get(field).value, mounts.path.child(field));
        let (sub, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
        if !sub.is_empty() {
            volumes::descending_path(&plain("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub.is_empty() {
                expression.invalid(errors, "subPathExpr and subPath are mutually exclusive");
            }
            volumes::descending_path(&plain("subPathExpr"), errors);
        }
        let propagation = plain("mountPropagation");
        if propagation.is_set() {
            let supported = ["Bidirectional", "HostToContainer", "None"];
            propagation.may_be_one_of(errors, &supported);
            if propagation.str() == "Bidirectional" && !privileged {
                let detail =
                    "Bidirectional mount propagation is available only to privileged containers";
                propagation.forbidden(errors, detail);
            }
        }
    }
    let mount_names = values(&mounts, "name");
    let mount_paths = values(&mounts, "mountPath");
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for device in devices.list() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        name.must(errors);
        if !name.is_empty() && !names.insert(name.str()) {
            name.invalid(errors, "must be unique");
        }
        match volumes.get(name.str()) {
            None => errors.push(Error::not_found(&name.path, name.str())),
            Some(volume)
                if volume.get("persistentVolumeClaim").is_none()
                    && volume.get("ephemeral").is_none() =>
            {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                name.invalid(errors, detail);
            }
            Some(_) => {}
        }
        path.must(errors);
        if paths.contains(path.str()) {
            path.invalid(errors, "must be unique");
        }
        if path.str().split('/').any(|step| step == "..") {
            path.invalid(errors, "can not contain backsteps ('..')");
        } else {
            paths.insert(path.str());
        }
        if mount_names.contains(name.str()) {
            name.invalid(errors, "must not already exist in volumeMounts");
        }
        if mount_paths.contains(path.str()) {
            path.invalid(errors, "must not already exist as a path in volumeMounts");
        }
    }
}

fn handlers(container: &At<'_>, grace: Option<i64>, errors: &mut ErrorList) {
    let lifecycle = container.get("lifecycle");
    for hook in ["postStart", "preStop"] {
        let hook = lifecycle.get(hook);
        if hook.is_set() {
            handler(&hook, &["exec", "httpGet", "tcpSocket", "sleep"], grace, errors);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.get(name);
        if !probe.is_set() {
            continue;
        }
        handler(&probe, &["exec", "httpGet", "tcpSocket", "grpc"], grace, errors);
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            probe.get(field).non_negative(errors);
        }
        let seconds = probe.get("terminationGracePeriodSeconds");
        if name == "readinessProbe" && seconds.is_set() {
            seconds.invalid(errors, "must not be set for readinessProbes");
        } else if seconds.int().is_some_and(|n| n <= 0) {
            seconds.invalid(errors, "must be greater than 0");
        }
        let threshold = probe.get("successThreshold");
        if name != "readinessProbe" && threshold.int_or_zero() != 1 {
            threshold.invalid(errors, "must be 1");
        }
    }
}

fn handler(handler: &At<'_>, kinds: &[&'static str], grace: Option<i64>, errors: &mut ErrorList) {
    let mut count = 0;
    for kind in kinds {
        let action = handler.get(kind);
        if !action.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            action.forbidden(errors, "may not specify more than 1 handler type");
            continue;
        }
        match *kind {
            "exec" => {
                action.get("command").must(errors);
            }
            "httpGet" => {
                action.get("path").must(errors);
                port(&action.get("port"), errors);
                action.get("scheme").one_of(errors, &["HTTP", "HTTPS"]);
                let headers = action.get("httpHeaders");
                for header in headers.list() {
                    let name = header.get("name").str();
                    for message in names::http_header_name(name) {
                        errors.push(Error::invalid(&headers.path, name, message));
                    }
                }
            }
            "tcpSocket" => port(&action.get("port"), errors),
            "grpc" => port(&action.get("port"), errors),
            _ => {
                let seconds = action.get("seconds").int_or_zero();
                if let Some(limit) = grace.filter(|limit| seconds < 0 || seconds > *limit) {
                    let detail = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({limit})"
                    );
                    errors.push(Error::invalid(&action.path, seconds, detail));
                }
            }
        }
    }
    if count == 0 {
        handler.required(errors, "must specify a handler type");
    }
}

/// Checks a number or name of a port.
pub(crate) fn port(port: &At<'_>, errors: &mut ErrorList) {
    let messages = match port.value {
        Value::String(name) => names::port_name(name),
        _ => names::port_number(port.int_or_zero()),
    };
    for message in messages {
        port.invalid(errors, message);
    }
}
