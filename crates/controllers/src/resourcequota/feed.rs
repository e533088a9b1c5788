//! Objects of resources that nobody else here follows: as many as there are quotas for.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use client::{Api, Client, Feed, Found, Resource};
use kube::core::{DynamicObject, PartialObjectMeta};
use machinery::Value;
use resources::quota::Evaluator;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::discovery::{Served, discover};
use crate::error::SyncError;
use crate::object::Meta;

/// Called with the namespace in which something was given back.
type GivenBack = Arc<dyn Fn(&str) + Send + Sync>;

/// The running watches.
pub(super) struct Feeds {
    client: Client,
    given_back: GivenBack,
    shutdown: CancellationToken,
    running: Mutex<HashMap<Evaluator, Arc<Followed>>>,
}

/// A resource that is followed.
struct Followed {
    objects: Arc<Objects>,
    feed: Feed,
}

/// The objects of one resource by UID.
#[derive(Default)]
struct Objects(Mutex<HashMap<String, Object>>);

struct Object {
    namespace: String,
    tree: Value,
}

// === impl Feeds ===

impl Feeds {
    pub(super) fn new(client: Client, given_back: GivenBack, shutdown: CancellationToken) -> Self {
        Self { client, given_back, shutdown, running: Mutex::default() }
    }

    /// All objects in a namespace that an evaluator counts; none if there is no such resource.
    pub(super) async fn objects(
        &self,
        evaluator: &Evaluator,
        namespace: &str,
    ) -> Result<Option<Vec<Value>>, SyncError> {
        let Some(followed) = self.followed(evaluator).await? else { return Ok(None) };
        if !followed.feed.synced().await {
            return Ok(None);
        }
        let objects = followed.objects.lock();
        let here = objects.values().filter(|object| object.namespace == namespace);
        Ok(Some(here.map(|object| object.tree.clone()).collect()))
    }

    async fn followed(&self, evaluator: &Evaluator) -> Result<Option<Arc<Followed>>, SyncError> {
        if let Some(followed) = self.running().get(evaluator) {
            return Ok(Some(followed.clone()));
        }
        let (group, plural) = evaluator.resource();
        let found = discover(&self.client).await?.resources.into_iter().find(|served| {
            let resource = &served.resource;
            resource.group == group && resource.plural == plural && is_countable(served)
        });
        let Some(served) = found else { return Ok(None) };
        let mut running = self.running();
        if let Some(followed) = running.get(evaluator) {
            return Ok(Some(followed.clone()));
        }
        let (client, resource) = (self.client.clone(), &served.resource);
        let followed = Arc::new(if *evaluator == Evaluator::ResourceClaims {
            self.follow(Api::<DynamicObject>::all_with(client, resource))
        } else {
            // Of all others only the number counts.
            self.follow(Api::<PartialObjectMeta<DynamicObject>>::all_with(client, resource))
        });
        running.insert(evaluator.clone(), followed.clone());
        Ok(Some(followed))
    }

    fn follow<K>(&self, api: Api<K>) -> Followed
    where
        K: Resource + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
    {
        let objects = Arc::<Objects>::default();
        let (kept, given_back) = (objects.clone(), self.given_back.clone());
        let feed = Feed::start(api, &self.shutdown, move |found| {
            kept.take(found).iter().for_each(|namespace| given_back(namespace));
        });
        Followed { objects, feed }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Evaluator, Arc<Followed>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_countable(served: &Served) -> bool {
    served.namespaced && served.can("list") && served.can("watch")
}

// === impl Objects ===

impl Objects {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Object>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what was found. Gives the namespaces in which something is gone.
    fn take<K: Resource + Serialize>(&self, found: Found<K>) -> HashSet<String> {
        let mut objects = self.lock();
        match found {
            Found::Object(object) => {
                objects.insert(object.id().to_owned(), entry(&object));
                HashSet::new()
            }
            Found::Gone(object) => {
                objects.remove(object.id());
                HashSet::from([object.ns().to_owned()])
            }
            Found::All(uids) => {
                let gone = objects.extract_if(|uid, _| !uids.contains(uid));
                gone.map(|(_, object)| object.namespace).collect()
            }
        }
    }
}

fn entry<K: Resource + Serialize>(object: &K) -> Object {
    let mut tree = serde_json::to_value(object).unwrap_or_default();
    if let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    Object { namespace: object.ns().to_owned(), tree }
}
