//! The downward API: what a container may learn of its Pod, for environment variables and volumes.
//!
//! <https://kubernetes.io/docs/concepts/workloads/pods/downward-api/>

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container, Node, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::cgroup::resources::{milli_value, value};
use crate::seam::PodIps;

/// Why a field has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DownwardError {
    /// There is no such field, or it is not offered here.
    #[error("unsupported fieldPath: {0}")]
    Field(String),
    /// There is no such resource.
    #[error("unsupported container resource: {0}")]
    Resource(String),
    /// The divisor does not fit the resource.
    #[error("unsupported divisor {0}")]
    Divisor(String),
    /// The container named is not in the Pod.
    #[error("container {0} not found")]
    Container(String),
}

/// Value of `path`, one of those that environment variables may refer to.
pub fn env_field(
    pod: &Pod,
    path: &str,
    node_name: &str,
    ips: &PodIps,
) -> Result<String, DownwardError> {
    let spec = pod.spec.as_ref();
    let first = |list: &[String]| list.first().cloned().unwrap_or_default();
    Ok(match path {
        "spec.nodeName" => {
            spec.and_then(|s| s.node_name.clone()).unwrap_or_else(|| node_name.to_owned())
        }
        "spec.serviceAccountName" => {
            spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default()
        }
        "status.hostIP" => first(&ips.host),
        "status.hostIPs" => ips.host.join(","),
        "status.podIP" => first(&ips.pod),
        "status.podIPs" => ips.pod.join(","),
        "metadata.labels" | "metadata.annotations" => {
            return Err(DownwardError::Field(path.to_owned()));
        }
        _ => return metadata_field(pod, path),
    })
}

/// Value of `path` among the fields of metadata, which volumes may refer to.
pub fn metadata_field(pod: &Pod, path: &str) -> Result<String, DownwardError> {
    let metadata = &pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => &metadata.labels,
            "metadata.annotations" => &metadata.annotations,
            _ => return Err(DownwardError::Field(path.to_owned())),
        };
        return Ok(map.as_ref().and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => metadata.name.clone().unwrap_or_default(),
        "metadata.namespace" => metadata.namespace.clone().unwrap_or_default(),
        "metadata.uid" => metadata.uid.clone().unwrap_or_default(),
        "metadata.labels" => format_map(metadata.labels.as_ref()),
        "metadata.annotations" => format_map(metadata.annotations.as_ref()),
        _ => return Err(DownwardError::Field(path.to_owned())),
    })
}

fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// One `key="value"` per line, values quoted as Go quotes strings.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    lines.join("\n")
}

/// Go's `strconv.Quote`.
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                write!(out, "\\x{:02x}", c as u32).expect("writing to a string");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Value of a container's resource. Limits that are not set count as what the node can give.
pub fn resource_field(
    pod: &Pod,
    selector: &ResourceFieldSelector,
    container: Option<&Container>,
    node: Option<&Node>,
) -> Result<String, DownwardError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => {
            let spec = pod.spec.as_ref();
            spec.into_iter()
                .flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()))
                .find(|c| c.name == name)
                .ok_or_else(|| DownwardError::Container(name.to_owned()))?
        }
        None => container.ok_or_else(|| DownwardError::Container(String::new()))?,
    };
    let unknown = || DownwardError::Resource(selector.resource.clone());
    let (kind, resource) = selector.resource.split_once('.').ok_or_else(unknown)?;
    let known = matches!(resource, "cpu" | "memory" | "ephemeral-storage")
        || resource.starts_with("hugepages-");
    if !known {
        return Err(unknown());
    }
    let resources = container.resources.as_ref();
    let set = match kind {
        "limits" => resources.and_then(|r| r.limits.as_ref()),
        "requests" => resources.and_then(|r| r.requests.as_ref()),
        _ => return Err(unknown()),
    };
    let is_zero = |quantity: &&Quantity| milli_value(quantity) != 0;
    let allocatable = || {
        let status = node?.status.as_ref()?;
        status.allocatable.as_ref()?.get(resource)
    };
    let found = set.and_then(|set| set.get(resource)).filter(is_zero);
    let quantity = if kind == "limits" { found.or_else(allocatable) } else { found };
    let divisor = selector.divisor.as_ref().filter(is_zero);
    let (amount, unit) = if resource == "cpu" {
        (quantity.map_or(0, milli_value), divisor.map_or(1000, milli_value))
    } else {
        (quantity.map_or(0, value), divisor.map_or(1, value))
    };
    if unit <= 0 {
        let text = selector.divisor.as_ref().map(|divisor| divisor.0.clone()).unwrap_or_default();
        return Err(DownwardError::Divisor(text));
    }
    // Rounded up, as upstream does.
    Ok((amount.saturating_add(unit - 1) / unit).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {
                "name": "p", "namespace": "n", "uid": "u",
                "labels": { "b": "2", "a": "one" }, "annotations": { "note": "x\"y\nz" },
            },
            "spec": { "serviceAccountName": "sa", "containers": [{
                "name": "c",
                "resources": { "requests": { "cpu": "250m", "memory": "1Mi" }, "limits": { "memory": "32Mi" } },
            }] },
        }))
        .unwrap()
    }

    #[test]
    fn fields() {
        let ips =
            PodIps { pod: vec!["10.0.0.2".into(), "fd::2".into()], host: vec!["1.2.3.4".into()] };
        let check = |path: &str, expected: Result<&str, &str>| {
            let got = env_field(&pod(), path, "node", &ips).map_err(|error| error.to_string());
            assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned), "{path}");
        };
        check("metadata.name", Ok("p"));
        check("metadata.labels['a']", Ok("one"));
        check("metadata.annotations['none']", Ok(""));
        check("spec.nodeName", Ok("node"));
        check("spec.serviceAccountName", Ok("sa"));
        check("status.podIPs", Ok("10.0.0.2,fd::2"));
        check("status.hostIP", Ok("1.2.3.4"));
        check("status.phase", Err("unsupported fieldPath: status.phase"));
        check("metadata.labels", Err("unsupported fieldPath: metadata.labels"));
        assert_eq!(metadata_field(&pod(), "metadata.labels").unwrap(), "a=\"one\"\nb=\"2\"");
        assert_eq!(metadata_field(&pod(), "metadata.annotations").unwrap(), r#"note="x\"y\nz""#);
    }

    #[test]
    fn resources() {
        let node: Node = serde_json::from_value(serde_json::json!({
            "metadata": {}, "status": { "allocatable": { "cpu": "2", "memory": "4Gi" } },
        }))
        .unwrap();
        let check = |resource: &str, divisor: Option<&str>, expected: &str| {
            let selector = ResourceFieldSelector {
                container_name: Some("c".into()),
                divisor: divisor.map(|text| Quantity(text.into())),
                resource: resource.into(),
            };
            let got = resource_field(&pod(), &selector, None, Some(&node));
            assert_eq!(got.unwrap_or_else(|error| error.to_string()), expected, "{resource}");
        };
        check("requests.cpu", None, "1");
        check("requests.cpu", Some("1m"), "250");
        check("limits.cpu", None, "2");
        check("limits.memory", Some("1Mi"), "32");
        check("requests.memory", None, "1048576");
        check("requests.ephemeral-storage", None, "0");
        check("limits.gpu", None, "unsupported container resource: limits.gpu");
    }
}
