//! A resource as served under one version, and what a request addresses in it.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use machinery::schema::TypeRef;
use machinery::status::Status;
use machinery::{Value, codec, meta, schema};
use resources::Registration;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::conversion::Converting;
use crate::cache::{
    Cache, CborListBody, Items, List, ListBody, Object, Presentation, ProtobufListBody, Selection,
};
use crate::webhook::Caller;

/// A registration with the cache of its objects.
#[derive(Clone)]
pub struct Resource {
    /// The plural name.
    pub name: String,
    registration: Registration,
    cache: Arc<Cache>,
    /// None if objects are served as they are stored.
    converting: Option<Converting>,
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
    pub(super) fn new(registration: Registration, cache: Arc<Cache>, caller: &Caller) -> Self {
        let converting = Converting::of(&registration, caller);
        Self {
            name: registration.resource.to_string(),
            registration,
            cache,
            converting,
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

    pub(super) fn presentation(&self) -> Option<&Arc<Presentation>> {
        self.converting.as_ref().map(Converting::presentation)
    }

    /// Done when the resource is served no more, or differently.
    pub(crate) fn retired(&self) -> &CancellationToken {
        &self.retired
    }

    /// Ends the watches of the resource.
    pub(crate) fn retire(&self) {
        self.retired.cancel();
    }

    /// The same resource, watches and all, under a registration that differs in nothing that they
    /// depend on.
    pub(crate) fn with_registration(&self, registration: &Registration) -> Self {
        Self { registration: registration.clone(), ..self.clone() }
    }

    /// The kind of its lists.
    pub fn list_kind(&self) -> String {
        self.registration.list_kind.to_string()
    }

    /// Whether its objects have a protobuf form.
    pub fn has_protobuf(&self) -> bool {
        let known = schema::builtin().kind(&self.group, &self.version, &self.kind);
        known.is_some_and(|ty| !ty.lacks_protobuf())
    }

    /// A stored object as this resource shows it.
    pub(crate) async fn present(&self, object: Arc<Object>) -> Result<Arc<Object>, Failure> {
        let Some(presentation) = self.presentation() else { return Ok(object) };
        let shown = presentation.show(vec![object]).await?.pop();
        shown.ok_or_else(|| Status::internal("a conversion lost an object").into())
    }

    /// Stored objects as this resource shows them.
    pub(super) async fn present_all(
        &self,
        objects: Vec<Arc<Object>>,
    ) -> Result<Vec<Arc<Object>>, Failure> {
        match self.presentation() {
            Some(presentation) => Ok(presentation.show(objects).await?),
            None => Ok(objects),
        }
    }

    /// The objects of a list as this resource shows them.
    pub(super) async fn present_list(&self, items: Items) -> Result<Items, Failure> {
        match self.presentation() {
            Some(presentation) => Ok(presentation.show_all(items).await?),
            None => Ok(items),
        }
    }

    /// A selection that judges objects as they are shown where that may make a difference.
    pub(super) fn judged(&self, selection: Selection) -> Selection {
        // A webhook may show other labels, too.
        let is_foreign = self.converting.as_ref().is_some_and(Converting::is_foreign);
        match is_foreign || self.selectable_fields.of_what_is_shown {
            true => selection.of_what_is_shown(is_foreign),
            false => selection,
        }
    }

    /// The bytes that are stored for an object: its storage version without a resourceVersion,
    /// which the object loses.
    pub(crate) async fn encode(&self, object: &mut Value) -> Result<Bytes, Failure> {
        meta::set_resource_version(object, "");
        let json = match &self.converting {
            Some(converting) => {
                let stored = converting.to_storage(object.clone()).await?;
                codec::encode_json(&stored, self.storage.ty())
            }
            None => codec::encode_json(object, self.storage.ty()),
        };
        // Without spare room: the store keeps recent values.
        Ok(json.into_boxed_slice().into())
    }

    /// An object that is not in the store, such as the result of a dry run, from the bytes that
    /// would be stored.
    pub(crate) async fn unstored(
        &self,
        key: &str,
        bytes: &[u8],
        revision: u64,
    ) -> Result<Arc<Object>, Failure> {
        let object = Object::new(key, bytes, revision, self.cache.fields())
            .ok_or_else(|| Status::internal("the object cannot be read back"))?;
        self.present(Arc::new(object)).await
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
        self.json_of(
            &resource.api_version(),
            &resource.list_kind(),
            resource.type_ref().is_custom(),
        )
    }

    /// The list in CBOR.
    pub(crate) fn cbor(&self, resource: &Resource, metadata: &Value) -> CborListBody {
        let is_custom = resource.type_ref().is_custom();
        self.cbor_of(&resource.api_version(), &resource.list_kind(), metadata, is_custom)
    }

    /// The list in protobuf, for a resource's objects that have that form.
    pub(crate) async fn protobuf(
        &self,
        resource: &Resource,
        metadata: &Value,
    ) -> Option<ProtobufListBody> {
        let version = (&*resource.group, &*resource.version);
        self.protobuf_of(version, &resource.list_kind(), metadata).await
    }
}
