//! A local, indexed copy of one resource that follows the API server.
//!
//! The copy is made by list and watch. A broken watch resumes at the last seen
//! resourceVersion; when the server no longer knows that version the resource is listed again
//! and compared with the copy, so that objects deleted meanwhile are reported as deleted.

mod store;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use kube::api::Api;
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use store::Store;

use crate::watch::{Delta, Watch};

/// A change of the local copy, seen after the copy has it.
#[derive(Debug, Clone)]
pub enum Event<K> {
    /// The object is new.
    Added(Arc<K>),
    /// The object has changed, or may have changed while the watch was broken.
    Updated {
        /// What the copy had before.
        old: Arc<K>,
        /// What it has now: the same object by UID.
        new: Arc<K>,
    },
    /// The object is gone; this is its last known state.
    Deleted(Arc<K>),
}

impl<K> Event<K> {
    /// The newest state of the object.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(object) | Self::Updated { new: object, .. } | Self::Deleted(object) => {
                object
            }
        }
    }
}

type Handler<K> = Box<dyn Fn(&Event<K>) + Send + Sync>;
type Transform<K> = Box<dyn Fn(&mut K) + Send + Sync>;

/// A running informer; clones share the copy.
pub struct Informer<K> {
    shared: Arc<Shared<K>>,
}

struct Shared<K> {
    store: RwLock<Store<K>>,
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// What an informer follows and how it keeps it.
pub struct InformerBuilder<K> {
    watch: Watch,
    transforms: Vec<Transform<K>>,
    store: Store<K>,
}

impl<K> Informer<K>
where
    K: Resource + Clone + DeserializeOwned + Send + Sync + 'static,
{
    /// Starts describing an informer on what `api` covers (all namespaces or one).
    #[must_use]
    pub fn builder(api: Api<K>) -> InformerBuilder<K> {
        InformerBuilder { watch: Watch::new(&api), transforms: Vec::new(), store: Store::default() }
    }
}

impl<K> InformerBuilder<K>
where
    K: Resource + Clone + DeserializeOwned + Send + Sync + 'static,
{
    /// Restricts to objects matching a field selector such as `spec.nodeName=w1`.
    #[must_use]
    pub fn fields(mut self, selector: &str) -> Self {
        self.watch = self.watch.fields(selector);
        self
    }

    /// Restricts to objects matching a label selector.
    #[must_use]
    pub fn labels(mut self, selector: &str) -> Self {
        self.watch = self.watch.labels(selector);
        self
    }

    /// Changes each object before it is kept, to save memory. Managed fields are always dropped.
    #[must_use]
    pub fn transform(mut self, transform: impl Fn(&mut K) + Send + Sync + 'static) -> Self {
        self.transforms.push(Box::new(transform));
        self
    }

    /// Adds an index: `keys` names the entries under which [`Informer::by_index`] finds an object.
    #[must_use]
    pub fn index(
        mut self,
        name: &'static str,
        keys: impl Fn(&K) -> Vec<String> + Send + Sync + 'static,
    ) -> Self {
        self.store.add_index(name, Box::new(keys));
        self
    }

    /// Starts following the resource until `shutdown` is cancelled.
    #[must_use]
    pub fn start(self, shutdown: &CancellationToken) -> Informer<K> {
        let Self { watch, transforms, store } = self;
        let informer = Informer::from_store(store);
        let follower = informer.clone();
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            watch.follow(&shutdown, |delta| follower.take(delta, &transforms)).await;
        });
        informer
    }
}

impl<K> Informer<K> {
    fn from_store(store: Store<K>) -> Self {
        Self {
            shared: Arc::new(Shared {
                store: RwLock::new(store),
                handlers: Mutex::new(Vec::new()),
                synced: watch::Sender::new(false),
            }),
        }
    }

    fn read<T>(&self, look: impl FnOnce(&Store<K>) -> T) -> T {
        look(&self.shared.store.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The object with this name; `None` as namespace for cluster-scoped resources.
    #[must_use]
    pub fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<K>> {
        self.read(|store| store.get(namespace, name))
    }

    /// All objects, ordered by namespace and name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read(Store::list)
    }

    /// All objects of one namespace, ordered by name.
    #[must_use]
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.read(|store| store.list_namespace(namespace))
    }

    /// The objects that the index `index` files under `key`; empty for an unknown index.
    #[must_use]
    pub fn by_index(&self, index: &str, key: &str) -> Vec<Arc<K>> {
        self.read(|store| store.by_index(index, key))
    }

    /// The number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read(Store::len)
    }

    /// Whether there are no objects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list is complete.
    #[must_use]
    pub fn has_synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        let mut synced = self.shared.synced.subscribe();
        // The sender lives in `self.shared`, so waiting cannot fail.
        synced.wait_for(|done| *done).await.ok();
    }

    /// Calls `handler` for every change, first with [`Event::Added`] for what is already here.
    ///
    /// Handlers run one after the other in the informer's task: they must not block, and they
    /// must not register further handlers.
    pub fn on_event(&self, handler: impl Fn(&Event<K>) + Send + Sync + 'static) {
        let mut handlers = self.shared.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        for object in self.list() {
            handler(&Event::Added(object));
        }
        handlers.push(Box::new(handler));
    }

    /// Applies a change to the copy and tells the handlers. Both happen under the handlers'
    /// lock, so that a handler that is just being registered sees the change exactly once.
    fn change(&self, change: impl FnOnce(&mut Store<K>) -> Vec<Event<K>>) {
        let handlers = self.shared.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        let events = change(&mut self.shared.store.write().unwrap_or_else(PoisonError::into_inner));
        for event in &events {
            for handler in handlers.iter() {
                handler(event);
            }
        }
    }
}

impl<K> Informer<K>
where
    K: Resource + Send + Sync + 'static,
{
    fn take(&self, delta: Delta<K>, transforms: &[Transform<K>]) {
        let kept = |mut object: K| {
            object.meta_mut().managed_fields = None;
            for transform in transforms {
                transform(&mut object);
            }
            object
        };
        match delta {
            Delta::List(objects) => {
                let objects = objects.into_iter().map(kept).collect();
                self.change(|store| store.replace(objects));
                self.shared.synced.send_replace(true);
            }
            Delta::Apply(object) => self.change(|store| store.apply(kept(object))),
            Delta::Delete(object) => {
                self.change(|store| store.delete(kept(object)).into_iter().collect());
            }
        }
    }
}

/// The key of an object in a store: `namespace/name`, or `name` without a namespace.
fn key_of<K: Resource>(object: &K) -> String {
    store::key(object.meta().namespace.as_deref(), &object.name_any())
}
