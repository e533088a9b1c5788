//! The last steps of every write: bytes, transaction, waiting for the cache.

use std::sync::Arc;

use bytes::Bytes;
use machinery::Value;
use machinery::status::Status;
use store::{LeaseId, Txn};

use super::allocate::Allocation;
use super::read::PATIENCE;
use super::{Failure, Registry, Resource};
use crate::cache::Object;

/// How a write ended.
pub(super) enum Stored<T = Arc<Object>> {
    /// It was made.
    Yes(T),
    /// The key is not as the caller took it to be. The cache shows at least that state by now.
    Changed,
    /// What was allocated to the object was taken by somebody else meanwhile.
    Contended,
    /// The store takes no transaction of that size.
    TooLarge,
}

impl<T> Stored<T> {
    /// What was made, or the same end for something else.
    fn made<U>(self) -> Result<T, Stored<U>> {
        match self {
            Self::Yes(made) => Ok(made),
            Self::Changed => Err(Stored::Changed),
            Self::Contended => Err(Stored::Contended),
            Self::TooLarge => Err(Stored::TooLarge),
        }
    }

    /// What was made; `None` when it is worth another attempt on the newest state.
    ///
    /// # Errors
    /// When no attempt will do.
    pub(super) fn or_again(self) -> Result<Option<T>, Failure> {
        match self {
            Self::Yes(made) => Ok(Some(made)),
            Self::Changed | Self::Contended => Ok(None),
            Self::TooLarge => Err(too_large()),
        }
    }
}

/// The failure of a write that the store does not take.
pub(super) fn too_large() -> Failure {
    store_failure(&store::Error::TooLarge)
}

/// A failure of the store as the client sees it.
pub(crate) fn store_failure(error: &store::Error) -> Failure {
    match error {
        store::Error::NoSpace => {
            Status::failure(500, "", "etcdserver: mvcc: database space exceeded")
        }
        store::Error::Closed => Status::service_unavailable("the store is closed"),
        store::Error::TooLarge => Status::failure(500, "", error.to_string()),
        store::Error::Unavailable(text) | store::Error::Refused(text) => {
            Status::failure(500, "", text.as_str())
        }
        error => Status::internal(error),
    }
    .into()
}

impl Registry {
    /// Stores a new object.
    pub(super) async fn store_new(
        &self,
        resource: &Arc<Resource>,
        key: &str,
        object: &mut Value,
        allocation: &Allocation,
    ) -> Result<Stored, Failure> {
        let bytes = resource.encode(object).await?;
        let lease = self.lease_for(resource).await?;
        let store_key = format!("{}{key}", resource.cache().prefix());
        let txn = Txn::create(store_key, bytes.clone(), lease);
        self.put(resource, key, &bytes, txn, allocation).await
    }

    /// Stores another state of an object that was last written at `revision`.
    pub(super) async fn store_update(
        &self,
        resource: &Arc<Resource>,
        key: &str,
        bytes: Bytes,
        revision: u64,
        allocation: &Allocation,
    ) -> Result<Stored, Failure> {
        let lease = self.lease_for(resource).await?;
        let store_key = format!("{}{key}", resource.cache().prefix());
        let txn = Txn::update(store_key, bytes.clone(), lease, revision);
        self.put(resource, key, &bytes, txn, allocation).await
    }

    /// Removes an object that was last written at `revision`. The object that is returned has the
    /// revision of the removal.
    pub(super) async fn store_delete(
        &self,
        resource: &Arc<Resource>,
        old: &Arc<Object>,
        allocation: &Allocation,
    ) -> Result<Stored, Failure> {
        let store_key = format!("{}{}", resource.cache().prefix(), old.key());
        let txn = Txn::delete(store_key, old.resource_version());
        let revision = match self.commit(txn, allocation).await?.made() {
            Ok(revision) => revision,
            Err(end) => return Ok(end),
        };
        let gone = old.at_revision(revision);
        Ok(Stored::Yes(resource.present(Arc::new(gone)).await?))
    }

    async fn put(
        &self,
        resource: &Arc<Resource>,
        key: &str,
        bytes: &[u8],
        txn: Txn,
        allocation: &Allocation,
    ) -> Result<Stored, Failure> {
        let revision = match self.commit(txn, allocation).await?.made() {
            Ok(revision) => revision,
            Err(end) => return Ok(end),
        };
        let cache = resource.cache();
        let object = match cache.get(key) {
            Some(object) if object.resource_version() == revision => object,
            // Somebody has written it again since.
            _ => Object::new(key, bytes, revision, cache.fields())
                .map(Arc::new)
                .ok_or_else(|| Status::internal("the object cannot be read back"))?,
        };
        Ok(Stored::Yes(resource.present(object).await?))
    }

    /// Waits until the cache shows what was written. Should it not follow the store just now, then
    /// the write is made all the same, and reads that must see it wait for themselves.
    pub(super) async fn shown(&self, revision: u64) {
        let dispatcher = &self.0.dispatcher;
        if dispatcher.applied() < revision
            && tokio::time::timeout(PATIENCE, dispatcher.reach(revision)).await.is_err()
        {
            tracing::warn!(revision, applied = dispatcher.applied(), "the watch cache is behind");
        }
    }

    /// Events go away by themselves; all else stays.
    async fn lease_for(&self, resource: &Resource) -> Result<Option<LeaseId>, Failure> {
        if resource.storage.prefix != "events" {
            return Ok(None);
        }
        let lease = self.0.event_leases.lease(self.now()).await;
        lease.map(Some).map_err(|error| store_failure(&error))
    }
}
