//! What every controller is given.

use std::sync::Arc;
use std::time::Duration;

use client::{Api, Client, EventRecorder, WorkQueue};
use kube::core::NamespaceResourceScope;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::informers::Informers;
use crate::object::Key;

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
