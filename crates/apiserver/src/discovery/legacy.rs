//! The documents of `/api`, `/apis` and each group and version.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::{Value, features};
use ring::digest::{SHA256, digest};
use serde_json::{Map, json};

use super::Group;
use crate::registry::Resource;

pub(super) fn api_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs":
            [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

pub(super) fn groups(groups: &[Group<'_>]) -> Value {
    let groups = groups.iter().filter(|group| !group.name.is_empty());
    let groups: Vec<Value> = groups.map(one).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

pub(super) fn group(groups: &[Group<'_>], wanted: &str) -> Option<Value> {
    let found = groups.iter().find(|group| group.name == wanted && !group.name.is_empty())?;
    let mut group = Map::new();
    group.insert("kind".to_owned(), "APIGroup".into());
    group.insert("apiVersion".to_owned(), "v1".into());
    if let Value::Object(fields) = one(found) {
        group.extend(fields);
    }
    Some(Value::Object(group))
}

fn one(group: &Group<'_>) -> Value {
    let name = group.name;
    let version =
        |version: &str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|v| version(v.name)).collect();
    let preferred = versions.first().cloned().unwrap_or_else(|| version(""));
    json!({"name": name, "versions": versions, "preferredVersion": preferred})
}

pub(super) fn resources(all: &[Arc<Resource>], group: &str, version: &str) -> Option<Value> {
    let mut own: Vec<&Arc<Resource>> =
        all.iter().filter(|r| r.group == group && r.version == version).collect();
    own.sort_by(|a, b| a.name.cmp(&b.name));
    let first = own.first()?;
    let mut entries: Vec<Value> = Vec::new();
    for resource in &own {
        entries.push(entry(resource));
        for sub in &resource.subresources {
            let mut entry = Map::new();
            entry.insert("name".to_owned(), format!("{}/{}", resource.name, sub.name).into());
            entry.insert("singularName".to_owned(), "".into());
            entry.insert("namespaced".to_owned(), resource.namespaced.into());
            if sub.kind.group != group || sub.kind.version != version {
                entry.insert("group".to_owned(), sub.kind.group.as_str().into());
                entry.insert("version".to_owned(), sub.kind.version.as_str().into());
            }
            entry.insert("kind".to_owned(), sub.kind.kind.as_str().into());
            entry.insert("verbs".to_owned(), json!(sub.verbs));
            entries.push(Value::Object(entry));
        }
    }
    let group_version = first.api_version();
    Some(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": entries,
    }))
}

fn entry(resource: &Resource) -> Value {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), (&*resource.name).into());
    entry.insert("singularName".to_owned(), (&*resource.singular).into());
    entry.insert("namespaced".to_owned(), resource.namespaced.into());
    entry.insert("kind".to_owned(), (&*resource.kind).into());
    entry.insert("verbs".to_owned(), json!(resource.verbs));
    if !resource.short_names.is_empty() {
        entry.insert("shortNames".to_owned(), json!(resource.short_names));
    }
    if !resource.categories.is_empty() {
        entry.insert("categories".to_owned(), json!(resource.categories));
    }
    let is_listed = resource.verbs.iter().any(|verb| verb == "list");
    if is_listed && features::enabled("StorageVersionHash") == Some(true) {
        entry.insert("storageVersionHash".to_owned(), storage_version_hash(resource).into());
    }
    Value::Object(entry)
}

fn storage_version_hash(resource: &Resource) -> String {
    let kind = &resource.storage.kind;
    let text = format!("{}/{}/{}", kind.group, kind.version, kind.kind);
    STANDARD.encode(&digest(&SHA256, text.as_bytes()).as_ref()[..8])
}
