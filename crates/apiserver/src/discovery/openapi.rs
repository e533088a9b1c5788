//! OpenAPI documents of the served resources.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use machinery::openapi::{self, ResourceInfo, SubresourceInfo};
use machinery::schema;

use super::{Document, Sources};
use crate::aggregation::Backend;
use crate::aggregation::openapi::Swagger;
use crate::metrics::aggregation as metrics;
use crate::registry::Resource;
use component::version;

pub(super) fn group_versions(resources: &[Arc<Resource>]) -> BTreeSet<(String, String)> {
    resources.iter().map(|r| (r.group.to_string(), r.version.to_string())).collect()
}

/// The document of everything, those of other servers included.
pub(super) fn v2(sources: &Sources) -> Document {
    let infos: Vec<_> = sources.resources.iter().map(|r| info(r)).collect();
    let own = openapi::v2(version::release(), &infos);
    let others = others(sources);
    let all = match others.is_empty() {
        true => own,
        false => {
            let start = Instant::now();
            let others = others.iter().map(|swagger| &swagger.document);
            let all = openapi::merge(&own, others).unwrap_or_else(|error| {
                tracing::error!(%error, "OpenAPI documents cannot be merged");
                own
            });
            metrics::regenerated(start.elapsed());
            all
        }
    };
    Document::new(all, "application/json")
}

/// The documents of other servers, in the order in which they are merged: what comes first keeps its
/// names.
fn others(sources: &Sources) -> Vec<&Swagger> {
    let mut groups: BTreeMap<&str, i64> = BTreeMap::new();
    for backend in sources.backends.iter() {
        let priority = groups.entry(&backend.group).or_insert(backend.group_priority);
        *priority = backend.group_priority.max(*priority);
    }
    let mut all: Vec<&Backend> = sources.backends.iter().map(|backend| &**backend).collect();
    all.sort_by_key(|backend| {
        let group = groups.get(backend.group.as_str()).copied();
        (Reverse(group), &backend.group, Reverse(backend.version_priority), &backend.version)
    });
    all.into_iter().filter_map(|backend| backend.swagger.as_deref()).collect()
}

/// The same as protobuf, which is all that Go's discovery client reads.
pub(super) fn v2_protobuf(json: &[u8]) -> Option<Document> {
    match openapi::v2_protobuf(json) {
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
