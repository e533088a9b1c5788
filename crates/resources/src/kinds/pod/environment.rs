//! Rules for environment variables, and for references to the Pod's own fields and resources,
//! which volumes have too.

use machinery::Value;
use machinery::field::{Error, ErrorList};
use machinery::names;
use machinery::quantity::Quantity;

use super::containers::all_containers;
use super::volumes::no_parent_steps;
use crate::cursor::At;

const VARIABLE_FIELDS: [&str; 9] = [
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
const CONTAINER_RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SIZES: [&str; 13] =
    ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

/// Checks variables.
pub(super) fn variables(variables: &At<'_>, errors: &mut ErrorList) {
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
        field_selector(&field_ref, &VARIABLE_FIELDS, errors);
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
        file.get("key").must_form(errors, names::env_var_name);
        file.get("volumeName").must_form(errors, names::dns1123_label);
        let path = file.get("path");
        if path.must(errors) {
            no_parent_steps(&path, errors);
        }
    }
    let mut wrong = |detail: &str| errors.push(Error::invalid(&source.path, "", detail));
    if count == 0 {
        wrong(
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if has_value {
        wrong("may not be specified when `value` is not empty");
    } else if count > 1 {
        wrong("may not have more than one field specified at a time");
    }
}

/// Checks that the files which variables are read from are in volumes that containers write.
pub(super) fn files(spec: &At<'_>, errors: &mut ErrorList) {
    let volumes = spec.get("volumes");
    for (_, container) in all_containers(spec) {
        for variable in container.get("env").list() {
            let file = variable.get("valueFrom").get("fileKeyRef");
            let name = file.get("volumeName");
            if !file.is_set() {
                continue;
            }
            let named = |volume: &&Value| At::root(volume).get("name").str() == name.str();
            match volumes.items().iter().rfind(named) {
                None => errors.push(Error::not_found(&name.path, name.str())),
                Some(volume) if volume.get("emptyDir").is_none_or(Value::is_null) => {
                    let detail = "referenced volume must be of type emptyDir";
                    errors.push(Error::invalid(&name.path, name.str(), detail));
                }
                Some(_) => {}
            }
        }
    }
}

/// Checks a reference to one of the Pod's own fields.
pub(super) fn field_selector(reference: &At<'_>, supported: &[&str], errors: &mut ErrorList) {
    let (version, path) = (reference.get("apiVersion"), reference.get("fieldPath"));
    if !version.must(errors) || !path.must(errors) {
        return;
    }
    // The name that nodes had first.
    let text = if path.str() == "spec.host" { "spec.nodeName" } else { path.str() };
    let mut unknown = |why: String| {
        path.invalid(errors, format!("error converting fieldPath: {why}"));
    };
    if version.str() != "v1" {
        unknown(format!("unsupported pod version: {}", version.str()));
        return;
    }
    let subscripted = text
        .split_once("['")
        .filter(|(field, _)| !field.is_empty())
        .and_then(|(field, rest)| Some((field, rest.strip_suffix("']")?)));
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
        None if !supported.contains(&text) => {
            errors.push(Error::not_supported(&path.path, text, supported));
        }
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
    // 1Ki and 1024 are one amount with two texts.
    let text = quantity.to_string();
    let detail = match resource.str() {
        "limits.cpu" | "requests.cpu" => {
            if ["1m", "1"].contains(&text.as_str()) {
                return;
            }
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned()
        }
        _ if SIZES.contains(&text.as_str()) => return,
        name => {
            let what = match name {
                "limits.memory" | "requests.memory" => "memory",
                "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
                    "local ephemeral storage"
                }
                _ if huge => "hugepages",
                _ => return,
            };
            let sizes = SIZES.join(", ");
            format!("only divisor's values {sizes} are supported with the {what} resource")
        }
    };
    errors.push(Error::invalid(&divisor.path, resource.str(), detail));
}

/// Checks the objects that all variables are taken from.
pub(super) fn sources(sources: &At<'_>, errors: &mut ErrorList) {
    for source in sources.list() {
        source.get("prefix").may_form(errors, names::env_var_name);
        let mut count = 0;
        for name in ["configMapRef", "secretRef"] {
            let reference = source.get(name);
            if !reference.is_set() {
                continue;
            }
            count += 1;
            let name = reference.get("name");
            if name.must(errors) {
                let plain = names::mask_trailing_dash(name.str());
                for message in names::dns1123_subdomain(&plain) {
                    name.invalid(errors, message);
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
