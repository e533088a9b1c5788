//! Which resources the API server serves, built-in and custom.

use client::Client;
use http::Request;
use kube::core::discovery::ApiResource;
use serde_json::Value;

use crate::error::SyncError;

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// A resource in its preferred version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Served {
    pub(crate) resource: ApiResource,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
}

impl Served {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| v == verb)
    }

    /// `group/resource`, which names it whatever the version.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.resource.group, self.resource.plural)
    }
}

/// What was found, and which groups could not be asked (an extension server that is down).
#[derive(Debug, Default)]
pub(crate) struct Discovered {
    pub(crate) resources: Vec<Served>,
    pub(crate) failed: Vec<String>,
}

/// Asks for all resources.
pub(crate) async fn discover(client: &Client) -> Result<Discovered, SyncError> {
    let mut found = Discovered::default();
    for path in ["/api", "/apis"] {
        let request = Request::get(path)
            .header(http::header::ACCEPT, AGGREGATED)
            .body(Vec::new())
            .map_err(kube::Error::HttpError)?;
        let answer: Value = client.request(request).await?;
        if answer["kind"] == "APIGroupDiscoveryList" {
            aggregated(&answer, &mut found);
        } else {
            plain(client, &answer, &mut found).await?;
        }
    }
    Ok(found)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn strings(value: &Value) -> Vec<String> {
    items(value).map(text).collect()
}

fn add(found: &mut Discovered, served: Served) {
    // Versions come with the preferred one first.
    if !found.resources.iter().any(|other| other.name() == served.name()) {
        found.resources.push(served);
    }
}

fn aggregated(answer: &Value, found: &mut Discovered) {
    for group in items(&answer["items"]) {
        let name = text(&group["metadata"]["name"]);
        for version in items(&group["versions"]) {
            let version_name = text(&version["version"]);
            if version["freshness"] == "Stale" {
                found.failed.push(format!("{name}/{version_name}"));
                continue;
            }
            for entry in items(&version["resources"]) {
                let kind = &entry["responseKind"];
                let group = kind["group"].as_str().filter(|g| !g.is_empty()).unwrap_or(&name);
                let version = kind["version"].as_str().filter(|v| !v.is_empty());
                let (plural, verbs) = (text(&entry["resource"]), strings(&entry["verbs"]));
                let version = version.unwrap_or(&version_name);
                add(
                    found,
                    Served {
                        resource: resource(group, version, &text(&kind["kind"]), &plural),
                        namespaced: entry["scope"] == "Namespaced",
                        verbs,
                    },
                );
            }
        }
    }
}

/// The form without aggregation: one request for each group and version.
async fn plain(client: &Client, answer: &Value, found: &mut Discovered) -> Result<(), SyncError> {
    let mut versions: Vec<(String, String, String)> = Vec::new();
    if answer["kind"] == "APIVersions" {
        for version in strings(&answer["versions"]) {
            versions.push((format!("/api/{version}"), String::new(), version));
        }
    }
    for group in items(&answer["groups"]) {
        let name = text(&group["name"]);
        let preferred = text(&group["preferredVersion"]["version"]);
        let mut of_group: Vec<String> =
            items(&group["versions"]).map(|v| text(&v["version"])).collect();
        of_group.sort_by_key(|v| *v != preferred);
        for version in of_group {
            versions.push((format!("/apis/{name}/{version}"), name.clone(), version));
        }
    }
    for (path, group, version) in versions {
        let request = Request::get(&path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        match client.request::<Value>(request).await {
            Ok(list) => {
                for entry in items(&list["resources"]) {
                    let plural = text(&entry["name"]);
                    if plural.contains('/') {
                        continue;
                    }
                    add(
                        found,
                        Served {
                            resource: resource(&group, &version, &text(&entry["kind"]), &plural),
                            namespaced: entry["namespaced"] == true,
                            verbs: strings(&entry["verbs"]),
                        },
                    );
                }
            }
            Err(kube::Error::Api(_)) => found.failed.push(format!("{group}/{version}")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn resource(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    let api_version =
        if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_preferred_version_of_a_resource_is_taken() {
        let entry = |resource: &str, kind: &str, version: &str| {
            json!({
                "resource": resource, "scope": "Namespaced", "verbs": ["list", "delete"],
                "responseKind": {"group": "g", "version": version, "kind": kind},
            })
        };
        let answer = json!({"kind": "APIGroupDiscoveryList", "items": [{
            "metadata": {"name": "g"},
            "versions": [
                {"version": "v2", "resources": [entry("things", "Thing", "v2")]},
                {"version": "v1", "resources": [entry("things", "Thing", "v1"), entry("olds", "Old", "v1")]},
                {"version": "v0", "freshness": "Stale"},
            ],
        }]});
        let mut found = Discovered::default();
        aggregated(&answer, &mut found);
        let names: Vec<String> = found
            .resources
            .iter()
            .map(|s| format!("{}.{}", s.resource.api_version, s.resource.plural))
            .collect();
        assert_eq!(names, ["g/v2.things", "g/v1.olds"]);
        assert_eq!(found.failed, ["g/v0"]);
    }
}
