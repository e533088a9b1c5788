//! What every controller is given.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use client::{Api, Client, EventRecorder, WorkQueue};
use kube::api::PostParams;
use kube::core::NamespaceResourceScope;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::error::{SyncError, is_not_found};
use crate::informers::Informers;
use crate::object::{Key, Meta};

/// Clients, informers and settings of one controller.
#[derive(Clone)]
pub(crate) struct Context {
    /// Writes as this controller.
    pub(crate) client: Client,
    /// Events as this controller.
    pub(crate) recorder: EventRecorder,
    pub(crate) informers: Arc<Informers>,
    pub(crate) config: Arc<Config>,
    pub(crate) shutdown: CancellationToken,
}

impl Context {
    /// A typed API of one namespace.
    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: client::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Writes the status that `object` carries; `false` when the object is gone.
    pub(crate) async fn write_status<K>(&self, object: &K) -> Result<bool, SyncError>
    where
        K: client::Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let api: Api<K> = self.api(object.ns());
        match api.replace_status(object.nm(), &PostParams::default(), object).await {
            Ok(_) => Ok(true),
            Err(error) if is_not_found(&error) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Works on keys until shutdown.
    pub(crate) async fn work<F, R, E>(&self, queue: WorkQueue<Key>, workers: usize, reconcile: F)
    where
        F: Fn(Key) -> R,
        R: Future<Output = Result<client::Action, E>>,
        E: std::fmt::Display,
    {
        client::run_workers(queue, workers, self.shutdown.clone(), reconcile).await;
    }
}

/// Requeue when there is something to wait for.
pub(crate) fn after(delay: Option<Duration>) -> client::Action {
    delay.map_or(client::Action::Done, client::Action::RequeueAfter)
}
