//! OpenAPI documents of the served resources.

use std::collections::BTreeSet;
use std::sync::Arc;

use machinery::openapi::{self, ResourceInfo, SubresourceInfo};
use machinery::schema;

use super::Document;
use crate::registry::Resource;
use component::version;

pub(super) fn group_versions(resources: &[Arc<Resource>]) -> BTreeSet<(String, String)> {
    resources.iter().map(|r| (r.group.to_string(), r.version.to_string())).collect()
}

pub(super) fn v2(resources: &[Arc<Resource>]) -> Document {
    let infos: Vec<_> = resources.iter().map(|r| info(r)).collect();
    Document::new(openapi::v2(version::release(), &infos), "application/json")
}

/// The same as protobuf, which is all that Go's discovery client reads.
pub(super) fn v2_protobuf(resources: &[Arc<Resource>]) -> Option<Document> {
    let json = v2(resources).bytes;
    match openapi::v2_protobuf(&json) {
        Ok(bytes) => {
            Some(Document::new(bytes, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"))
        }
        Err(error) => {
            tracing::error!(%error, "OpenAPI has no protobuf form");
            None
        }
    }
}

/// The document of `api/v1` or `apis/GROUP/VERSION`.
pub(super) fn v3(resources: &[Arc<Resource>], path: &str) -> Option<Document> {
    let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return None,
    };
    let own = resources.iter().filter(|r| r.group == group && r.version == version);
    let infos: Vec<_> = own.map(|r| info(r)).collect();
    if infos.is_empty() {
        return None;
    }
    Some(Document::new(
        openapi::v3_group(version::release(), group, version, &infos),
        "application/json",
    ))
}

fn info(resource: &Resource) -> ResourceInfo<'_> {
    let subresources = resource.subresources.iter().filter_map(|sub| {
        let kind = &sub.kind;
        Some(SubresourceInfo {
            name: &sub.name,
            group: &kind.group,
            version: &kind.version,
            kind: &kind.kind,
            verbs: sub.verbs.iter().map(|verb| &**verb).collect(),
            ty: match *kind == resource.gvk() {
                true => resource.type_ref(),
                false => schema::builtin().kind(&kind.group, &kind.version, &kind.kind)?,
            },
        })
    });
    ResourceInfo {
        group: &resource.group,
        version: &resource.version,
        name: &resource.name,
        kind: &resource.kind,
        namespaced: resource.namespaced,
        verbs: resource.verbs.iter().map(|verb| &**verb).collect(),
        ty: resource.type_ref(),
        published: resource.published.as_deref(),
        subresources: subresources.collect(),
    }
}
