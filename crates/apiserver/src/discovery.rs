//! Discovery and OpenAPI: what this server serves, in every form that clients ask for.
//!
//! All documents derive from the served resources. They are made when first asked for and kept
//! as bytes until the set of resources changes.

mod aggregated;
mod legacy;
mod openapi;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::HeaderValue;
use ring::digest::{SHA256, digest};

use crate::http::negotiate;
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
    resources: Option<Arc<[Arc<Resource>]>>,
    documents: HashMap<String, Document>,
}

/// Makes and keeps documents.
#[derive(Default)]
pub struct Discovery {
    server_address: String,
    made: Mutex<Made>,
}

/// Which aggregated form a client takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregated {
    V2,
    V2Beta1,
}

// === impl Aggregated ===

impl Aggregated {
    fn version(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2Beta1 => "v2beta1",
        }
    }

    /// The first entry of an Accept header that can be answered, when it is an aggregated form.
    fn wanted(accept: &str) -> Option<Self> {
        for entry in negotiate::parse(accept) {
            match (entry.media_type, entry.parameter("as")) {
                ("application/json", Some("APIGroupDiscoveryList"))
                    if entry.parameter("g") == Some("apidiscovery.k8s.io") =>
                {
                    match entry.parameter("v") {
                        Some("v2") => return Some(Self::V2),
                        Some("v2beta1") => return Some(Self::V2Beta1),
                        _ => {}
                    }
                }
                ("application/json" | "*/*" | "application/*" | "application/yaml", None) => {
                    return None;
                }
                _ => {}
            }
        }
        None
    }
}

// === impl Document ===

impl Document {
    fn new(bytes: Vec<u8>, content_type: &str) -> Self {
        let hash = digest(&SHA256, &bytes);
        let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        Self {
            bytes: bytes.into(),
            content_type: HeaderValue::from_str(content_type).expect("content types are ASCII"),
            etag: HeaderValue::from_str(&format!("\"{hex}\"")).expect("digits are ASCII"),
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
    pub fn new(server_address: String) -> Self {
        Self { server_address, made: Mutex::default() }
    }

    /// The discovery document of a path below `/api` or `/apis`.
    #[must_use]
    pub fn document(&self, registry: &Registry, path: &str, accept: &str) -> Option<Document> {
        if matches!(path, "/api" | "/apis")
            && let Some(form) = Aggregated::wanted(accept)
        {
            let key = format!("{path};{}", form.version());
            return self.kept(registry, &key, |resources| {
                Some(aggregated::document(resources, path == "/api", form))
            });
        }
        self.kept(registry, path, |resources| {
            let value = match path {
                "/api" => Some(legacy::api_versions(&self.server_address)),
                "/apis" => Some(legacy::groups(resources)),
                "/api/v1" => legacy::resources(resources, "", "v1"),
                _ => {
                    let (group, version) = match path.strip_prefix("/apis/")?.split_once('/') {
                        Some((group, version)) => (group, Some(version)),
                        None => (path.strip_prefix("/apis/")?, None),
                    };
                    match version {
                        Some(version) => legacy::resources(resources, group, version),
                        None => legacy::group(resources, group),
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
            ("v2", OPENAPI_PROTOBUF) => self.kept(registry, path, openapi::v2_protobuf),
            ("v3", "") => {
                let groups = openapi::group_versions(&registry.resources());
                let mut hashes = std::collections::BTreeMap::new();
                for (group, version) in groups {
                    let own = machinery::openapi::v3_path(&group, &version);
                    let document = self.openapi(registry, &format!("/openapi/v3/{own}"))?;
                    hashes.insert(own, document.hash().to_owned());
                }
                let bytes = machinery::openapi::v3_index(&hashes);
                Some(Document::new(bytes, "application/json"))
            }
            ("v3", own) => self.kept(registry, path, |all| openapi::v3(all, own)),
            _ => None,
        }
    }

    fn kept(
        &self,
        registry: &Registry,
        key: &str,
        make: impl FnOnce(&[Arc<Resource>]) -> Option<Document>,
    ) -> Option<Document> {
        let resources = registry.resources();
        {
            let mut made = self.made.lock().expect("nothing panics under the lock");
            if !made.resources.as_ref().is_some_and(|known| Arc::ptr_eq(known, &resources)) {
                made.documents.clear();
                made.resources = Some(resources.clone());
            }
            if let Some(document) = made.documents.get(key) {
                return Some(document.clone());
            }
        }
        let document = make(&resources)?;
        let mut made = self.made.lock().expect("nothing panics under the lock");
        if made.resources.as_ref().is_some_and(|known| Arc::ptr_eq(known, &resources)) {
            made.documents.insert(key.to_owned(), document.clone());
        }
        Some(document)
    }
}

/// Groups in their order with their versions, best first.
fn groups(resources: &[Arc<Resource>]) -> Vec<(&str, Vec<&str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in resources {
        let (group, version) = (&*resource.group, &*resource.version);
        match groups.iter_mut().find(|(name, _)| *name == group) {
            Some((_, versions)) => {
                if !versions.contains(&version) {
                    versions.push(version);
                }
            }
            None => groups.push((group, vec![version])),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_answerable_form_is_chosen() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
            application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,\
            application/json";
        assert_eq!(Aggregated::wanted(kubectl), Some(Aggregated::V2));
        assert_eq!(Aggregated::wanted("application/json"), None);
        assert_eq!(Aggregated::wanted("*/*"), None);
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        assert_eq!(Aggregated::wanted(beta), Some(Aggregated::V2Beta1));
    }
}
