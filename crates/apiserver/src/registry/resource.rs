//! A resource as served under one version, and what a request addresses in it.

use std::ops::Deref;
use std::sync::Arc;

use machinery::schema::TypeRef;
use machinery::{Value, codec, meta, schema};
use resources::Registration;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, List, ListBody, Object, Presentation, ProtobufListBody};

/// A registration with the cache of its objects.
#[derive(Clone)]
pub struct Resource {
    /// The plural name.
    pub name: String,
    registration: Registration,
    cache: Arc<Cache>,
    presentation: Option<Presentation>,
    retired: CancellationToken,
}

/// What a request addresses.
#[derive(Debug, Clone)]
pub struct Target {
    /// The resource.
    pub resource: Arc<Resource>,
    /// The namespace; empty in cluster scope and for all namespaces.
    pub namespace: String,
    /// The object's name; empty for the collection.
    pub name: String,
    /// The subresource; empty for the object itself.
    pub subresource: String,
}

/// The part of a store key that names an object within its resource.
pub(super) fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

impl Target {
    /// An object of `resource`.
    pub fn object(resource: &Arc<Resource>, namespace: &str, name: &str) -> Self {
        Self {
            resource: resource.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            subresource: String::new(),
        }
    }

    pub(super) fn key(&self) -> String {
        key(&self.namespace, &self.name)
    }
}

impl Resource {
    pub(super) fn new(registration: Registration, cache: Arc<Cache>) -> Self {
        let presentation = registration.storage.conversion.map(|conversion| {
            let ty = registration.ty.clone();
            let present = move |mut value: Value| {
                (conversion.from_storage)(&mut value);
                codec::encode_json(&value, ty.type_ref())
            };
            Arc::new(present) as Presentation
        });
        Self {
            name: registration.resource.to_string(),
            registration,
            cache,
            presentation,
            retired: CancellationToken::new(),
        }
    }

    /// The type of its objects.
    pub fn type_ref(&self) -> TypeRef<'_> {
        self.registration.ty()
    }

    /// The registration.
    pub fn registration(&self) -> &Registration {
        &self.registration
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    pub(super) fn presentation(&self) -> Option<&Presentation> {
        self.presentation.as_ref()
    }

    /// Done when the resource is served no more, or differently.
    pub(crate) fn retired(&self) -> &CancellationToken {
        &self.retired
    }

    pub(super) fn retire(&self) {
        self.retired.cancel();
    }

    /// The kind of its lists.
    pub fn list_kind(&self) -> String {
        format!("{}List", self.kind)
    }

    /// Whether its objects have a protobuf form.
    pub fn has_protobuf(&self) -> bool {
        let known = schema::builtin().kind(&self.group, &self.version, &self.kind);
        known.is_some_and(|ty| !ty.lacks_protobuf())
    }

    /// A stored object as this resource shows it.
    pub(super) fn present(&self, object: Arc<Object>) -> Arc<Object> {
        match &self.presentation {
            Some(presentation) => object.presented(presentation),
            None => object,
        }
    }

    /// The bytes that are stored for an object: its storage version without a resourceVersion.
    pub(super) fn encode(&self, mut object: Value) -> Vec<u8> {
        meta::set_resource_version(&mut object, "");
        if let Some(conversion) = self.storage.conversion {
            (conversion.to_storage)(&mut object);
        }
        codec::encode_json(&object, self.storage.ty())
    }

    /// An object that is not in the store, such as the result of a dry run, from the bytes that
    /// would be stored.
    pub(super) fn unstored(&self, key: &str, bytes: &[u8], revision: u64) -> Option<Arc<Object>> {
        let object = Object::new(key, bytes, revision, self.cache.fields())?;
        Some(self.present(Arc::new(object)))
    }
}

impl Deref for Resource {
    type Target = Registration;

    fn deref(&self) -> &Registration {
        &self.registration
    }
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.registration.fmt(f)
    }
}

impl List {
    /// The list as JSON, for a resource's objects.
    pub fn into_json(self, resource: &Resource) -> ListBody {
        self.json_of(&resource.api_version(), &resource.list_kind(), false)
    }
    /// The list in protobuf, for a resource's objects that have that form.
    pub(crate) fn protobuf(
        &self,
        resource: &Resource,
        metadata: &Value,
    ) -> Option<ProtobufListBody> {
        let version = (&*resource.group, &*resource.version);
        self.protobuf_of(version, &resource.list_kind(), metadata)
    }
}
