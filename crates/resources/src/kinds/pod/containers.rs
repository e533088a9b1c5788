//! Rules for containers: names, ports, environment, mounts, probes, hooks.

use std::collections::{BTreeMap, BTreeSet};

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;

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
const CONTAINER_RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Checks the containers that do a Pod's work.
pub(super) fn regular(
    containers: &At<'_>,
    volumes: &Volumes<'_>,
    names: &mut BTreeSet<String>,
    grace: Option<i64>,
    errors: &mut ErrorList,
) {
    if containers.items().is_empty() {
        containers.required(errors, "");
        return;
    }
    for container in containers.list() {
        common(&container, volumes, names, errors);
        handlers(&container, grace, errors);
        container.get("restartPolicy").may_be_one_of(errors, &["Always", "Never", "OnFailure"]);
    }
    host_ports(containers, errors);
}

/// Checks the containers that run before the others.
pub(super) fn init(
    containers: &At<'_>,
    volumes: &Volumes<'_>,
    names: &mut BTreeSet<String>,
    grace: Option<i64>,
    errors: &mut ErrorList,
) {
    for container in containers.list() {
        common(&container, volumes, names, errors);
        let policy = container.get("restartPolicy");
        policy.may_be_one_of(errors, &["Always", "Never", "OnFailure"]);
        if policy.str() == "Always" {
            handlers(&container, grace, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            let field = container.get(field);
            if field.is_set() {
                let detail = "may not be set for init containers without restartPolicy=Always";
                field.forbidden(errors, detail);
            }
        }
        host_ports_of(&container, &mut BTreeSet::new(), errors);
    }
}

/// Checks the containers added for debugging.
pub(super) fn ephemeral(
    containers: &At<'_>,
    volumes: &Volumes<'_>,
    taken: &mut BTreeSet<String>,
    targets: &BTreeSet<String>,
    errors: &mut ErrorList,
) {
    for container in containers.list() {
        common(&container, volumes, taken, errors);
        for field in
            ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources"]
        {
            let field = container.get(field);
            if !field.is_empty() {
                field.forbidden(errors, "cannot be set for an Ephemeral Container");
            }
        }
        let target = container.get("targetContainerName");
        if !target.is_empty() && !targets.contains(target.str()) {
            target.not_found(errors);
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

fn common(
    container: &At<'_>,
    volumes: &Volumes<'_>,
    taken: &mut BTreeSet<String>,
    errors: &mut ErrorList,
) {
    let name = container.get("name");
    name.must_form(errors, names::dns1123_label);
    if !name.is_empty() && !taken.insert(name.str().to_owned()) {
        name.duplicate(errors);
    }
    let image = container.get("image");
    image.must(errors);
    let policy = container.get("terminationMessagePolicy");
    match policy.str() {
        "File" | "FallbackToLogsOnError" => {}
        "" => policy.required(errors, ""),
        _ => policy.unsupported(errors, &["FallbackToLogsOnError", "File"]),
    }
    ports(&container.get("ports"), errors);
    environment(&container.get("env"), errors);
    environment_from(&container.get("envFrom"), errors);
    mounts(container, volumes, errors);
    container.get("imagePullPolicy").one_of(errors, &["Always", "IfNotPresent", "Never"]);
    resources::requirements(&container.get("resources"), errors);
    security::container(&container.get("securityContext"), errors);
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

fn host_ports(containers: &At<'_>, errors: &mut ErrorList) {
    let mut taken = BTreeSet::new();
    for container in containers.list() {
        host_ports_of(&container, &mut taken, errors);
    }
}

fn host_ports_of(container: &At<'_>, taken: &mut BTreeSet<String>, errors: &mut ErrorList) {
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
            reference.get("name").must(errors);
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
    if let Some((field, subscript)) = path.str().split_once("['") {
        let key = subscript.strip_suffix("']").unwrap_or_default();
        match field {
            "metadata.annotations" => {
                for message in names::qualified_name(&key.to_lowercase()) {
                    errors.push(Error::invalid(&reference.path, path.str(), message));
                }
            }
            "metadata.labels" => {
                for message in names::qualified_name(key) {
                    errors.push(Error::invalid(&reference.path, path.str(), message));
                }
            }
            _ => reference_invalid(reference, &path, "does not support subscript", errors),
        }
    } else if !supported.contains(&path.str()) {
        let supported: Vec<&str> = supported.to_vec();
        errors.push(Error::not_supported(&path.path, path.str(), &supported));
    }
}

fn reference_invalid(reference: &At<'_>, path: &At<'_>, detail: &str, errors: &mut ErrorList) {
    errors.push(Error::invalid(&reference.path, path.str(), detail));
}

/// Checks a reference to a container's resources.
pub(super) fn resource_selector(reference: &At<'_>, in_volume: bool, errors: &mut ErrorList) {
    let (container, resource) = (reference.get("containerName"), reference.get("resource"));
    if in_volume && container.is_empty() {
        container.required(errors, "");
        return;
    }
    if !resource.must(errors) {
        return;
    }
    let huge = ["limits.hugepages-", "requests.hugepages-"];
    if !huge.iter().any(|prefix| resource.str().starts_with(prefix)) {
        resource.may_be_one_of(errors, &CONTAINER_RESOURCES);
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
                reference.get("name").must(errors);
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
    let mut paths = BTreeSet::new();
    for mount in container.get("volumeMounts").list() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        if name.must(errors) && !volumes.contains_key(name.str()) {
            name.not_found(errors);
        }
        path.must(errors);
        if !paths.insert(path.str()) {
            path.invalid(errors, "must be unique");
        }
        let (sub, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
        volumes::descending_path(&sub, errors);
        if !expression.is_empty() {
            if !sub.is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                expression.invalid(errors, detail);
            }
            volumes::descending_path(&expression, errors);
        }
        let propagation = mount.get("mountPropagation");
        if propagation.is_set() {
            propagation.may_be_one_of(errors, &["Bidirectional", "HostToContainer", "None"]);
            if propagation.str() == "Bidirectional" && !privileged {
                let detail =
                    "Bidirectional mount propagation is available only to privileged containers";
                propagation.forbidden(errors, detail);
            }
        }
    }
    for device in container.get("volumeDevices").list() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        if name.must(errors) {
            match volumes.get(name.str()) {
                None => name.not_found(errors),
                Some(volume)
                    if volume.get("persistentVolumeClaim").is_none()
                        && volume.get("ephemeral").is_none() =>
                {
                    let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    name.invalid(errors, detail);
                }
                Some(_) => {}
            }
        }
        if path.is_empty() {
            path.required(errors, "");
        } else if !paths.insert(path.str()) {
            path.invalid(errors, "must be unique");
        } else {
            volumes::descending_path_parts(&path, errors);
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
                for header in action.get("httpHeaders").list() {
                    header.get("name").form(errors, names::http_header_name);
                }
            }
            "tcpSocket" => port(&action.get("port"), errors),
            "grpc" => port(&action.get("port"), errors),
            _ => {
                let seconds = action.get("seconds");
                let limit = grace.unwrap_or(30);
                if seconds.int_or_zero() < 0 || seconds.int_or_zero() > limit {
                    let detail = format!(
                        "must be non-negative and less than terminationGracePeriodSeconds ({limit})"
                    );
                    seconds.invalid(errors, detail);
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
