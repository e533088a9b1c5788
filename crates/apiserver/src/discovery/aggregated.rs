//! Aggregated discovery: everything in one document,
//! <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery>.

use std::sync::Arc;

use machinery::Value;
use machinery::gvk::GroupVersionKind;
use serde_json::{Map, json};

use super::{Document, Sources};
use crate::aggregation::Backend;
use crate::registry::Resource;

pub(super) fn document(sources: &Sources, core: bool) -> Document {
    let items: Vec<Value> = sources
        .groups()
        .iter()
        .filter(|group| group.name.is_empty() == core)
        .map(|group| {
            let versions = group.versions.iter().map(|version| match version.backend {
                Some(backend) => foreign(backend),
                None => own(&sources.resources, group.name, version.name),
            });
            let versions: Vec<Value> = versions.collect();
            let metadata =
                if group.name.is_empty() { json!({}) } else { json!({"name": group.name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    });
    let kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut document = Document::new(crate::http::respond::encode_json(&list, false), kind);
    document.aggregated = true;
    document
}

fn own(resources: &[Arc<Resource>], group: &str, version: &str) -> Value {
    let mut own: Vec<_> =
        resources.iter().filter(|r| r.group == group && r.version == version).collect();
    own.sort_by(|a, b| a.name.cmp(&b.name));
    let own: Vec<Value> = own.into_iter().map(|r| resource(r)).collect();
    json!({"version": version, "resources": own, "freshness": "Current"})
}

/// What another server serves, as far as it is known.
fn foreign(backend: &Backend) -> Value {
    match &backend.known {
        Some(known) => json!({
            "version": backend.version,
            "resources": known.resources,
            "freshness": if known.is_stale { "Stale" } else { "Current" },
        }),
        None => json!({"version": backend.version, "freshness": "Stale"}),
    }
}

fn response_kind(kind: &GroupVersionKind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn resource(resource: &Resource) -> Value {
    let scope = if resource.namespaced { "Namespaced" } else { "Cluster" };
    let mut entry = Map::new();
    entry.insert("resource".to_owned(), (&*resource.name).into());
    let own = GroupVersionKind::new(&*resource.group, &*resource.version, &*resource.kind);
    entry.insert("responseKind".to_owned(), response_kind(&own));
    entry.insert("scope".to_owned(), scope.into());
    entry.insert("singularResource".to_owned(), (&*resource.singular).into());
    entry.insert("verbs".to_owned(), json!(resource.verbs));
    if !resource.short_names.is_empty() {
        entry.insert("shortNames".to_owned(), json!(resource.short_names));
    }
    if !resource.categories.is_empty() {
        entry.insert("categories".to_owned(), json!(resource.categories));
    }
    if !resource.subresources.is_empty() {
        let subresources: Vec<Value> = resource
            .subresources
            .iter()
            .map(|sub| {
                json!({
                    "subresource": sub.name,
                    "responseKind": response_kind(&sub.kind),
                    "verbs": sub.verbs,
                })
            })
            .collect();
        entry.insert("subresources".to_owned(), subresources.into());
    }
    Value::Object(entry)
}
