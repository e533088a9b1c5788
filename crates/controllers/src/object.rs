//! What controllers ask of any object's metadata.

use std::fmt;

use client::Resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;

/// Namespace and name: the key under which controllers queue their objects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn of(object: &impl Meta) -> Self {
        Self::new(object.ns(), object.nm())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// Accessors without `Option` for what stored objects always have.
pub(crate) trait Meta: Resource {
    fn ns(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }
    fn nm(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }
    fn id(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }
    fn is_deleting(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }
    fn generation(&self) -> i64 {
        self.meta().generation.unwrap_or(0)
    }
    fn created(&self) -> Timestamp {
        self.meta().creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |t| t.0)
    }
    fn label(&self, key: &str) -> Option<&str> {
        self.meta().labels.as_ref()?.get(key).map(String::as_str)
    }
    fn annotation(&self, key: &str) -> Option<&str> {
        self.meta().annotations.as_ref()?.get(key).map(String::as_str)
    }
    /// The one owner reference with `controller: true`.
    fn controller(&self) -> Option<&OwnerReference> {
        self.meta().owner_references.iter().flatten().find(|r| r.controller == Some(true))
    }
    fn is_controlled_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|r| r.uid == uid)
    }
}

impl<K: Resource> Meta for K {}

/// Index function: under the UID of the controlling owner.
pub(crate) fn by_owner<K: Resource>(object: &K) -> Vec<String> {
    object.controller().map(|r| r.uid.clone()).into_iter().collect()
}

/// Index function: objects that nobody controls, under their namespace.
pub(crate) fn by_orphanage<K: Resource>(object: &K) -> Vec<String> {
    if object.controller().is_some() { Vec::new() } else { vec![object.ns().to_owned()] }
}

/// The reference that makes `owner` the controller of another object.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.nm().to_owned(),
        uid: owner.id().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
