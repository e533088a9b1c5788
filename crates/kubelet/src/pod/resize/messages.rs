//! Texts of events about resizes: what is to become of the Pod, as JSON.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde::Serialize;

use crate::pod::spec;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a ResourceRequirements>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Share<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Share<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct Share<'a> {
    name: &'a str,
    resources: ResourceRequirements,
}

/// `Pod resize started: {...}`, with the resources of `pod` in place of the dots.
pub fn message(what: &str, pod: &Pod, generation: Option<i64>, error: &str) -> String {
    let sized = |container: &'_ Container| -> ResourceRequirements {
        container.resources.clone().unwrap_or_default()
    };
    let spec = spec::spec(pod);
    let summary = Summary {
        resources: spec.resources.as_ref(),
        init_containers: spec
            .init_containers
            .iter()
            .flatten()
            .map(|c| Share { name: &c.name, resources: sized(c) })
            .collect(),
        containers: spec
            .containers
            .iter()
            .map(|c| Share { name: &c.name, resources: sized(c) })
            .collect(),
        generation: generation.unwrap_or(0),
        error,
    };
    let summary = serde_json::to_string(&summary).expect("strings and numbers have a JSON form");
    format!("Pod resize {what}: {summary}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages_read_as_upstreams() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [
            {"name": "c0", "resources": {"limits": {"cpu": "100m"}, "requests": {"cpu": "100m"}}},
            {"name": "c1"},
        ]}}))
        .unwrap();
        assert_eq!(
            message("started", &pod, Some(2), ""),
            r#"Pod resize started: {"containers":[{"name":"c0","resources":{"limits":{"cpu":"100m"},"requests":{"cpu":"100m"}}},{"name":"c1","resources":{}}],"generation":2}"#
        );
        assert_eq!(
            message("Deferred", &Pod::default(), Some(3), "no room"),
            r#"Pod resize Deferred: {"generation":3,"error":"no room"}"#
        );
    }
}
