//! The generic operations on resources: one way to create, read, change and delete objects,
//! whatever their kind.
//!
//! Data flow of a write: decoded object → [`Registration::default`] → [`Admission::admit`] →
//! preparation and validation by the kind's strategy → [`Admission::validate`] → store → wait
//! until the watch cache shows it → response. Reads are answered by the watch cache.
//!
//! Invariants: a write is in the cache before its response is sent, so that every later read of
//! this server sees it; an update that changes nothing writes nothing; stored objects are compact
//! canonical JSON without resourceVersion.

mod admission;
mod allocate;
mod apply;
mod context;
mod conversion;
mod create;
mod delete;
mod events;
mod managed;
mod options;
mod patch;
mod read;
mod resource;
mod served;
mod subresource;
mod token;
mod update;
mod write;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use machinery::status::Status;
use machinery::time::Timestamp;
use resources::{Enablement, Registration};
use store::Store;
use tokio::sync::watch;

pub use admission::{Admission, Attributes, Operation};
pub(crate) use allocate::DEFAULT_SERVICE_CIDR;
pub(crate) use allocate::repair::Repair;
pub use allocate::{Network, ParseRangeError, Ranges};
pub use context::{Context, Warnings};
pub use options::{DeleteOptions, ListOptions, PatchType, WriteOptions};
pub use resource::{Resource, Target};

pub(crate) use self::write::store_failure;

use self::allocate::Allocators;
use self::events::EventLeases;
use self::served::Served;
use crate::cache::{Dispatcher, FieldSet, List, Object};
use crate::outward::Services;
use crate::webhook::Caller;
use machinery::Value;

/// Why an operation failed, as the client will see it.
pub type Failure = Box<Status>;

/// Tells the time that objects are stamped with.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How a registry works.
#[derive(Clone)]
pub struct Options {
    /// Where cluster IPs and node ports come from.
    pub ranges: Ranges,
    /// How long events are kept.
    pub event_ttl: std::time::Duration,
    /// See [`Clock`].
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ranges: Ranges::default(),
            event_ttl: std::time::Duration::from_secs(60 * 60),
            clock: Arc::new(Timestamp::now),
        }
    }
}

/// What an operation came to.
#[derive(Debug)]
pub struct Outcome {
    /// The HTTP status code.
    pub code: u16,
    /// The response.
    pub body: Body,
}

/// The response of an operation.
#[derive(Debug)]
pub enum Body {
    /// An object of the resource.
    Object(Arc<Object>),
    /// Objects of the resource.
    List(List),
    /// An object of another kind, such as a Scale.
    Value(Value),
    /// A Status.
    Status(Failure),
}

impl Outcome {
    fn object(code: u16, object: Arc<Object>) -> Self {
        Self { code, body: Body::Object(object) }
    }
}

/// All resources and their objects. Clones share everything.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    store: Store,
    dispatcher: Arc<Dispatcher>,
    served: Served,
    admission: OnceLock<Arc<dyn Admission>>,
    caller: Caller,
    allocators: Allocators,
    event_leases: EventLeases,
    clock: Clock,
}

impl Registry {
    /// Opens the registry on a store: fills the caches with all objects of all resources that are
    /// served by default, and follows the store from then on.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(store: Store, options: Options) -> Result<Self, Failure> {
        Self::open_with(store, &Enablement::default().served(), options).await
    }

    /// Like [`Registry::open`] for other registrations.
    ///
    /// # Errors
    /// As there.
    pub async fn open_with(
        store: Store,
        registrations: &[&Registration],
        options: Options,
    ) -> Result<Self, Failure> {
        // Of several versions, the one that is stored says which fields are found where.
        let mut prefixes: HashMap<String, FieldSet> = HashMap::new();
        for registration in registrations {
            let prefix = registration.storage.prefix.to_string();
            if registration.storage.conversion.is_none() || !prefixes.contains_key(&prefix) {
                prefixes.insert(prefix, FieldSet::new(&registration.selectable_fields));
            }
        }
        let dispatcher =
            Dispatcher::start(&store, prefixes).await.map_err(|e| write::store_failure(&e))?;
        let caller = Caller::new(Services::new(dispatcher.cache("services/specs")));
        let resources: Vec<Arc<Resource>> = registrations
            .iter()
            .filter_map(|&registration| {
                let cache = dispatcher.cache(&registration.storage.prefix)?;
                Some(Arc::new(Resource::new(registration.clone(), cache, &caller)))
            })
            .collect();
        Ok(Self(Arc::new(Inner {
            event_leases: EventLeases::new(store.clone(), options.event_ttl),
            store,
            dispatcher,
            caller,
            served: Served::new(resources),
            admission: OnceLock::new(),
            allocators: Allocators::new(options.ranges),
            clock: options.clock,
        })))
    }

    /// Sets the admission that all writes from now on go through. Without it nothing is refused,
    /// which is for the server's own first writes.
    pub fn set_admission(&self, admission: Arc<dyn Admission>) {
        if self.0.admission.set(admission).is_err() {
            tracing::error!("admission is set twice; the first one stays");
        }
    }

    /// Stops following the store and ends all watches.
    pub async fn close(&self) {
        self.0.dispatcher.stop().await;
    }

    /// Asks webhooks.
    pub(crate) fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// Whether the caches follow the store.
    pub fn healthy(&self) -> bool {
        self.0.dispatcher.is_running()
    }

    /// The store underneath.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// A resource by group, version and plural name.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Resource>> {
        self.0.served.find(group, Some(version), plural)
    }

    /// All resources in the order of discovery.
    pub fn resources(&self) -> Arc<[Arc<Resource>]> {
        self.0.served.all()
    }

    /// A resource by group and plural name, in the version that comes first.
    fn preferred(&self, group: &str, plural: &str) -> Option<Arc<Resource>> {
        self.0.served.find(group, None, plural)
    }

    /// An object as the cache has it; the namespace is empty in cluster scope.
    pub fn cached(
        &self,
        group: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Object>> {
        let resource = self.preferred(group, plural)?;
        resource.cache().get(&resource::key(namespace, name))
    }

    /// All objects in a namespace (empty: everywhere) as the cache has them.
    pub fn cached_list(&self, group: &str, plural: &str, namespace: &str) -> Vec<Arc<Object>> {
        let Some(resource) = self.preferred(group, plural) else { return Vec::new() };
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        resource.cache().snapshot().0.items("", &prefix).to_vec()
    }

    /// Whether there is any object in a namespace, as the cache has it.
    pub(crate) fn has_any(&self, group: &str, plural: &str, namespace: &str) -> bool {
        let Some(resource) = self.preferred(group, plural) else { return false };
        let snapshot = resource.cache().snapshot().0;
        !snapshot.items("", &format!("{namespace}/")).is_empty()
    }

    /// Group, plural name and number of objects of every stored resource.
    pub fn object_counts(&self) -> Vec<(String, String, usize)> {
        let all = self.resources();
        let mut prefixes = HashSet::new();
        let stored = all.iter().filter(|r| prefixes.insert(r.storage.prefix.clone()));
        stored.map(|r| (r.group.to_string(), r.name.clone(), r.cache().len())).collect()
    }

    /// Tells the revision of the newest change of a resource's objects.
    pub fn changes(&self, group: &str, plural: &str) -> Option<watch::Receiver<u64>> {
        Some(self.preferred(group, plural)?.cache().changes())
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.0.clock)()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registry({} resources)", self.resources().len())
    }
}

#[cfg(test)]
mod tests;
