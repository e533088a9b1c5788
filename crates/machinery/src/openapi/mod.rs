//! OpenAPI documents made from the table of types and what is served.
//!
//! Two dialects come from one description: `/openapi/v2` is a single Swagger document of
//! everything, `/openapi/v3` an index of one document for each group and version. Shapes and
//! extensions are those that kubectl's explain, apply, diff and validation read. Documents
//! are written straight to text: they are large, asked for rarely, and nothing of them needs
//! to stay in memory.

mod definitions;
mod merge;
mod operations;
mod protobuf;
mod resolve;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use serde_json::Value;
use sha2::Digest as _;

use crate::schema::{Schema, TypeRef};
use definitions::Definitions;
pub use merge::{keep_paths, merge};
use operations::write_paths;
pub use protobuf::{ConversionError, v2_protobuf};
pub use resolve::v3_schema;
use text::Json;

/// A resource as it is served.
#[derive(Clone, Debug)]
pub struct ResourceInfo<'a> {
    /// API group, empty for the core group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural name in paths, `pods`.
    pub name: &'a str,
    /// Kind, `Pod`.
    pub kind: &'a str,
    /// Whether its paths name a namespace.
    pub namespaced: bool,
    /// Verbs as discovery gives them: `create`, `get`, `deletecollection` and so on.
    pub verbs: Vec<&'a str>,
    /// Type of an object.
    pub ty: TypeRef<'a>,
    /// Its schemas, where they do not derive from the type.
    pub published: Option<&'a Published>,
    /// `status`, `scale` and so on.
    pub subresources: Vec<SubresourceInfo<'a>>,
}

/// The schemas of a custom resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Name of the definition of its objects, `com.example.stable.v1.CronTab`.
    pub name: String,
    /// Name of the definition of its lists.
    pub list_name: String,
    /// The definitions of objects and lists in version 2.
    pub v2: [Value; 2],
    /// The definitions of objects and lists in version 3.
    pub v3: [Value; 2],
}

impl Published {
    fn of(&self, dialect: Dialect) -> &[Value; 2] {
        match dialect {
            Dialect::V2 => &self.v2,
            Dialect::V3 => &self.v3,
        }
    }
}

/// A subresource as it is served.
#[derive(Clone, Debug)]
pub struct SubresourceInfo<'a> {
    /// Last part of the path, `status`.
    pub name: &'a str,
    /// Group of its kind.
    pub group: &'a str,
    /// Version of its kind.
    pub version: &'a str,
    /// Its kind: the parent's, or another such as `Scale` or `PodExecOptions`.
    pub kind: &'a str,
    /// Verbs as discovery gives them.
    pub verbs: Vec<&'a str>,
    /// Type of its kind.
    pub ty: TypeRef<'a>,
}

#[derive(Clone, Copy, PartialEq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> String {
        match self {
            Self::V2 => format!("#/definitions/{name}"),
            Self::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

/// The document of `/openapi/v2`, as JSON. `release` is the server's version, `v1.36.0`.
pub fn v2(release: &str, resources: &[ResourceInfo<'_>]) -> Vec<u8> {
    let mut out = Json::new();
    out.object(|out| {
        out.text("swagger", "2.0");
        info(out, release);
        let mut definitions = Definitions::new(Dialect::V2, schema_of(resources), resources);
        out.member("paths", |out| write_paths(out, Dialect::V2, resources, &mut definitions));
        out.member("definitions", |out| definitions.write(out));
        out.member("securityDefinitions", |out| {
            out.object(|out| out.member("BearerToken", bearer_token));
        });
        out.member("security", |out| {
            out.list(|out| out.item(|out| out.object(|out| out.empty_list("BearerToken"))));
        });
    });
    out.into_bytes()
}

/// The document of one group and version below `/openapi/v3`, as JSON.
pub fn v3_group(
    release: &str,
    group: &str,
    version: &str,
    resources: &[ResourceInfo<'_>],
) -> Vec<u8> {
    let own: Vec<ResourceInfo<'_>> =
        resources.iter().filter(|r| r.group == group && r.version == version).cloned().collect();
    let mut out = Json::new();
    out.object(|out| {
        out.text("openapi", "3.0.0");
        info(out, release);
        let mut definitions = Definitions::new(Dialect::V3, schema_of(&own), &own);
        out.member("paths", |out| write_paths(out, Dialect::V3, &own, &mut definitions));
        out.member("components", |out| {
            out.object(|out| {
                out.member("schemas", |out| definitions.write(out));
                out.member("securitySchemes", |out| {
                    out.object(|out| out.member("BearerToken", bearer_token));
                });
            });
        });
    });
    out.into_bytes()
}

/// The index of `/openapi/v3`: for each path such as `apis/apps/v1` the hash of its document.
pub fn v3_index(hashes: &BTreeMap<String, String>) -> Vec<u8> {
    let mut out = Json::new();
    out.object(|out| {
        out.member("paths", |out| {
            out.object(|out| {
                for (path, hash) in hashes {
                    let url = format!("/openapi/v3/{path}?hash={hash}");
                    out.member(path, |out| {
                        out.object(|out| out.text("serverRelativeURL", &url));
                    });
                }
            });
        });
    });
    out.into_bytes()
}

/// Path of a group and version in the index: `api/v1`, `apis/apps/v1`.
pub fn v3_path(group: &str, version: &str) -> String {
    match group {
        "" => format!("api/{version}"),
        _ => format!("apis/{group}/{version}"),
    }
}

/// A short name for the content of a document, for the index and for `ETag`.
pub fn hash(document: &[u8]) -> String {
    format!("{:X}", sha2::Sha256::digest(document))
}

/// The table of the built-in resources; custom ones bring their schemas along.
fn schema_of<'a>(resources: &[ResourceInfo<'a>]) -> &'a Schema {
    let builtin = resources.iter().map(|resource| resource.ty).find(|ty| !ty.is_custom());
    match builtin {
        Some(ty) => ty.schema(),
        None => crate::schema::builtin(),
    }
}

fn info(out: &mut Json, release: &str) {
    out.member("info", |out| {
        out.object(|out| {
            out.text("title", "Kubernetes");
            out.text("version", release);
        });
    });
}

fn bearer_token(out: &mut Json) {
    out.object(|out| {
        out.text("description", "Bearer Token authentication");
        out.text("in", "header");
        out.text("name", "authorization");
        out.text("type", "apiKey");
    });
}
