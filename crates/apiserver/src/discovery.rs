//! Discovery and OpenAPI: what this server serves, in every form that clients ask for.
//!
//! All documents derive from the served resources. They are made when first asked for and kept
//! as bytes until the set of resources changes.

mod aggregated;
mod legacy;
mod openapi;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::HeaderValue;
use machinery::hex;
use ring::digest::{SHA256, digest};

use crate::aggregation::{Aggregation, Backend, local};
use crate::http::negotiate;
use crate::metrics::aggregation as metrics;
use crate::registry::{Registry, Resource};

/// Stands for the protobuf form of OpenAPI v2 in [`Discovery::openapi`].
pub const OPENAPI_PROTOBUF: &str = "protobuf";

/// A finished document.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its text.
    pub bytes: Bytes,
    /// Content type of the response.
    pub content_type: HeaderValue,
    /// Hash of the text, quoted.
    pub etag: HeaderValue,
    /// Whether it is aggregated discovery, which has validators of its own.
    pub aggregated: bool,
}

#[derive(Default)]
struct Made {
    /// What the documents were made from.
    from: Option<Sources>,
    documents: HashMap<String, Document>,
}

/// What is served here, and by other servers.
#[derive(Clone)]
struct Sources {
    resources: Arc<[Arc<Resource>]>,
    backends: Arc<[Arc<Backend>]>,
}

/// A group with its versions, best first.
struct Group<'a> {
    name: &'a str,
    versions: Vec<Version<'a>>,
}

/// A version of a group.
struct Version<'a> {
    name: &'a str,
    /// Who serves it, if it is another server.
    backend: Option<&'a Backend>,
}

/// Makes and keeps documents.
pub struct Discovery {
    server_address: String,
    aggregation: Arc<Aggregation>,
    made: Mutex<Made>,
}

/// Whether the first entry of an Accept header that can be answered is the aggregated form. Its
/// beta is not served any more.
fn wants_aggregated(accept: &str) -> bool {
    for entry in negotiate::parse(accept) {
        match (entry.media_type, entry.parameter("as")) {
            ("application/json", Some("APIGroupDiscoveryList"))
                if entry.parameter("g") == Some("apidiscovery.k8s.io")
                    && entry.parameter("v") == Some("v2") =>
            {
                return true;
            }
            ("application/json" | "*/*" | "application/*" | "application/yaml", None) => {
                return false;
            }
            _ => {}
        }
    }
    false
}

// === impl Document ===

impl Document {
    fn new(bytes: Vec<u8>, content_type: &str) -> Self {
        let hash = hex::digits(digest(&SHA256, &bytes)).to_uppercase();
        Self {
            bytes: bytes.into(),
            content_type: HeaderValue::from_str(content_type).expect("content types are ASCII"),
            etag: HeaderValue::from_str(&format!("\"{hash}\"")).expect("digits are ASCII"),
            aggregated: false,
        }
    }

    /// The hash without quotes.
    fn hash(&self) -> &str {
        self.etag.to_str().expect("made of ASCII").trim_matches('"')
    }
}

// === impl Discovery ===

impl Discovery {
    /// Documents that send clients to `server_address` (`host:port`).
    #[must_use]
    pub(crate) fn new(server_address: String, aggregation: Arc<Aggregation>) -> Self {
        Self { server_address, aggregation, made: Mutex::default() }
    }

    /// The discovery document of a path below `/api` or `/apis`.
    #[must_use]
    pub fn document(&self, registry: &Registry, path: &str, accept: &str) -> Option<Document> {
        if matches!(path, "/api" | "/apis") && wants_aggregated(accept) {
            return self.kept(registry, &format!("{path};aggregated"), |sources| {
                metrics::DISCOVERIES.inc();
                Some(aggregated::document(sources, path == "/api"))
            });
        }
        self.kept(registry, path, |sources| {
            let resources = &sources.resources;
            let value = match path {
                "/api" => Some(legacy::api_versions(&self.server_address)),
                "/apis" => Some(legacy::groups(&sources.groups())),
                "/api/v1" => legacy::resources(resources, "", "v1"),
                _ => {
                    let (group, version) = match path.strip_prefix("/apis/")?.split_once('/') {
                        Some((group, version)) => (group, Some(version)),
                        None => (path.strip_prefix("/apis/")?, None),
                    };
                    match version {
                        Some(version) => legacy::resources(resources, group, version),
                        None => legacy::group(&sources.groups(), group),
                    }
                }
            }?;
            let text = crate::http::respond::encode_json(&value, false);
            Some(Document::new(text, "application/json"))
        })
    }

    /// An OpenAPI document.
    #[must_use]
    pub fn openapi(&self, registry: &Registry, path: &str) -> Option<Document> {
        let path = path.strip_prefix("/openapi/")?;
        match path.split_once('/').unwrap_or((path, "")) {
            ("v2", "") => self.kept(registry, path, |all| Some(openapi::v2(all))),
            ("v2", OPENAPI_PROTOBUF) => {
                let json = self.openapi(registry, "/openapi/v2")?;
                self.kept(registry, path, |_| openapi::v2_protobuf(&json.bytes))
            }
            ("v3", "") => {
                let groups = openapi::group_versions(&registry.resources());
                let mut hashes = std::collections::BTreeMap::new();
                for (group, version) in groups {
                    let own = machinery::openapi::v3_path(&group, &version);
                    let document = self.openapi(registry, &format!("/openapi/v3/{own}"))?;
                    hashes.insert(own, document.hash().to_owned());
                }
                for backend in self.sources(registry).backends.iter() {
                    let own = machinery::openapi::v3_path(&backend.group, &backend.version);
                    let hash = backend.known.as_ref().and_then(|known| known.openapi.clone());
                    hashes.extend(hash.map(|hash| (own, hash)));
                }
                let bytes = machinery::openapi::v3_index(&hashes);
                Some(Document::new(bytes, "application/json"))
            }
            ("v3", own) => self.kept(registry, path, |all| openapi::v3(&all.resources, own)),
            _ => None,
        }
    }

    fn sources(&self, registry: &Registry) -> Sources {
        Sources { resources: registry.resources(), backends: self.aggregation.backends() }
    }

    fn kept(
        &self,
        registry: &Registry,
        key: &str,
        make: impl FnOnce(&Sources) -> Option<Document>,
    ) -> Option<Document> {
        let sources = self.sources(registry);
        {
            let mut made = self.made.lock().expect("nothing panics under the lock");
            if !made.from.as_ref().is_some_and(|known| known.same(&sources)) {
                made.documents.clear();
                made.from = Some(sources.clone());
            }
            if let Some(document) = made.documents.get(key) {
                return Some(document.clone());
            }
        }
        let document = make(&sources)?;
        let mut made = self.made.lock().expect("nothing panics under the lock");
        if made.from.as_ref().is_some_and(|known| known.same(&sources)) {
            made.documents.insert(key.to_owned(), document.clone());
        }
        Some(document)
    }
}

// === impl Sources ===

impl Sources {
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.resources, &other.resources)
            && Arc::ptr_eq(&self.backends, &other.backends)
    }

    /// Groups in their order: built-in ones as they are, the others by priority and name.
    fn groups(&self) -> Vec<Group<'_>> {
        let own = self.resources.iter().map(|resource| Listed {
            group: &resource.group,
            version: &resource.version,
            priorities: resource.published.as_ref().map_or(BUILTIN, |_| local::CUSTOM),
            backend: None,
        });
        let foreign = self.backends.iter().map(|backend| Listed {
            group: &backend.group,
            version: &backend.version,
            priorities: (backend.group_priority, backend.version_priority),
            backend: Some(&**backend),
        });
        let mut groups: Vec<(i64, Vec<Listed<'_>>)> = Vec::new();
        for listed in own.chain(foreign) {
            let found = groups.iter_mut().find(|(_, versions)| versions[0].group == listed.group);
            match found {
                None => groups.push((listed.priorities.0, vec![listed])),
                Some((priority, versions)) => {
                    *priority = listed.priorities.0.max(*priority);
                    match versions.iter_mut().find(|known| known.version == listed.version) {
                        // What an APIService leads elsewhere is not served here.
                        Some(known) if listed.backend.is_some() => *known = listed,
                        Some(_) => {}
                        None => versions.push(listed),
                    }
                }
            }
        }
        groups.sort_by_key(|(priority, versions)| {
            let name = if *priority == BUILTIN.0 { "" } else { versions[0].group };
            (Reverse(*priority), name)
        });
        groups.into_iter().map(|(_, versions)| Group::of(versions)).collect()
    }
}

impl<'a> Group<'a> {
    fn of(mut versions: Vec<Listed<'a>>) -> Self {
        versions.sort_by_key(|listed| Reverse(listed.priorities.1));
        let version =
            |listed: &Listed<'a>| Version { name: listed.version, backend: listed.backend };
        Self { name: versions[0].group, versions: versions.iter().map(version).collect() }
    }
}

/// Built-in groups and versions come first, in the order in which they are.
const BUILTIN: (i64, i64) = (i64::MAX, i64::MAX);

struct Listed<'a> {
    group: &'a str,
    version: &'a str,
    /// Of the group and of the version; higher ones come first.
    priorities: (i64, i64),
    backend: Option<&'a Backend>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_answerable_form_is_chosen() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
            application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
            application/json";
        assert!(wants_aggregated(kubectl));
        assert!(!wants_aggregated("application/json"));
        assert!(!wants_aggregated("*/*"));
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        assert!(!wants_aggregated(beta));
        assert!(!wants_aggregated(&format!("{beta},application/json")));
    }
}
