//! Objects of resources that nobody else here follows: as many as there are quotas for.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use client::{Api, Client, Resource, WatchDelta, watch_forever};
use futures::StreamExt as _;
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::runtime::watcher;
use machinery::Value;
use resources::quota::Evaluator;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
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
    running: Mutex<HashMap<Evaluator, Arc<Feed>>>,
}

/// The objects of one resource by UID.
struct Feed {
    objects: Mutex<HashMap<String, Object>>,
    synced: watch::Sender<bool>,
}

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
        let Some(feed) = self.feed(evaluator).await? else { return Ok(None) };
        let mut synced = feed.synced.subscribe();
        tokio::select! {
            // The sender lives as long as the feed.
            _ = synced.wait_for(|synced| *synced) => {}
            () = self.shutdown.cancelled() => return Ok(None),
        }
        let objects = feed.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let here = objects.values().filter(|object| object.namespace == namespace);
        Ok(Some(here.map(|object| object.tree.clone()).collect()))
    }

    async fn feed(&self, evaluator: &Evaluator) -> Result<Option<Arc<Feed>>, SyncError> {
        if let Some(feed) = self.running().get(evaluator) {
            return Ok(Some(feed.clone()));
        }
        let (group, plural) = evaluator.resource();
        let found = discover(&self.client).await?.resources.into_iter().find(|served| {
            let resource = &served.resource;
            resource.group == group && resource.plural == plural && is_countable(served)
        });
        let Some(served) = found else { return Ok(None) };
        let mut running = self.running();
        if let Some(feed) = running.get(evaluator) {
            return Ok(Some(feed.clone()));
        }
        let feed = Arc::new(Feed { objects: Mutex::default(), synced: watch::Sender::new(false) });
        running.insert(evaluator.clone(), feed.clone());
        let (given_back, stop) = (self.given_back.clone(), self.shutdown.clone());
        let (client, resource) = (self.client.clone(), &served.resource);
        if *evaluator == Evaluator::ResourceClaims {
            let api: Api<DynamicObject> = Api::all_with(client, resource);
            tokio::spawn(follow(api, feed.clone(), given_back, stop));
        } else {
            // Of all others only the number counts.
            let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, resource);
            tokio::spawn(follow(api, feed.clone(), given_back, stop));
        }
        Ok(Some(feed))
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<Evaluator, Arc<Feed>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_countable(served: &Served) -> bool {
    served.namespaced && served.can("list") && served.can("watch")
}

async fn follow<K>(api: Api<K>, feed: Arc<Feed>, given_back: GivenBack, stop: CancellationToken)
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug + Send + 'static,
{
    let config = watcher::Config { page_size: None, ..watcher::Config::default() };
    let mut changes = Box::pin(watch_forever(api, config));
    let mut listed = HashMap::new();
    loop {
        let delta = tokio::select! {
            () = stop.cancelled() => return,
            delta = changes.next() => delta,
        };
        match delta {
            None => return,
            Some(WatchDelta::Init) => listed.clear(),
            Some(WatchDelta::InitApply(object)) => {
                listed.insert(object.id().to_owned(), entry(&object));
            }
            Some(WatchDelta::InitDone) => {
                let before = std::mem::replace(&mut *feed.lock(), std::mem::take(&mut listed));
                for (uid, gone) in before {
                    if !feed.lock().contains_key(&uid) {
                        given_back(&gone.namespace);
                    }
                }
                feed.synced.send_replace(true);
            }
            Some(WatchDelta::Apply(object)) => {
                feed.lock().insert(object.id().to_owned(), entry(&object));
            }
            Some(WatchDelta::Delete(object)) => {
                feed.lock().remove(object.id());
                given_back(object.ns());
            }
        }
    }
}

impl Feed {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Object>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry<K: Resource + Serialize>(object: &K) -> Object {
    let mut tree = serde_json::to_value(object).unwrap_or_default();
    if let Some(metadata) = tree.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    Object { namespace: object.ns().to_owned(), tree }
}
