//! The set of resources that is served, part of which changes while the server runs.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use resources::{Registration, SelectableFields};
use tokio::sync::watch;

use super::{Failure, Registry, Resource, write};
use crate::cache::FieldSet;

/// See the module.
#[derive(Debug)]
pub(super) struct Served {
    /// What is served from start to end.
    builtin: Vec<Arc<Resource>>,
    now: RwLock<Set>,
    /// Tells that the set is another one.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct Set {
    all: Arc<[Arc<Resource>]>,
    /// By plural name; a name is in few groups and versions.
    by_name: HashMap<String, Vec<Arc<Resource>>>,
}

impl Set {
    fn new(all: Arc<[Arc<Resource>]>) -> Self {
        let mut by_name: HashMap<String, Vec<Arc<Resource>>> = HashMap::new();
        for resource in all.iter() {
            by_name.entry(resource.name.clone()).or_default().push(resource.clone());
        }
        Self { all, by_name }
    }
}

impl Served {
    pub(super) fn new(builtin: Vec<Arc<Resource>>) -> Self {
        let now = RwLock::new(Set::new(builtin.iter().cloned().collect()));
        Self { builtin, now, changed: watch::Sender::new(()) }
    }

    pub(super) fn all(&self) -> Arc<[Arc<Resource>]> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    /// A resource in a version, or in the one that comes first.
    pub(super) fn find(
        &self,
        group: &str,
        version: Option<&str>,
        plural: &str,
    ) -> Option<Arc<Resource>> {
        let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
        let mut named = now.by_name.get(plural)?.iter();
        named.find(|r| r.group == group && version.is_none_or(|v| r.version == v)).cloned()
    }
}

impl Registry {
    /// Tells of every change of what is served.
    pub(crate) fn served_changes(&self) -> watch::Receiver<()> {
        self.0.served.changed.subscribe()
    }

    /// Makes resources of the versions of one custom resource, which share their stored objects.
    /// They are served once [`Registry::serve`] is told to. Their cache is kept from an earlier
    /// call as long as the same fields are selectable.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn prepare(
        &self,
        fields: &SelectableFields,
        versions: Vec<Registration>,
    ) -> Result<Vec<Arc<Resource>>, Failure> {
        let Some(prefix) = versions.first().map(|version| version.storage.prefix.to_string())
        else {
            return Ok(Vec::new());
        };
        let fields = FieldSet::new(fields);
        let cache = match self.0.dispatcher.cache(&prefix) {
            Some(cache) if *cache.fields().as_ref() == fields => cache,
            _ => {
                let joined = self.0.dispatcher.join(&self.0.store, &prefix, fields).await;
                joined.map_err(|error| write::store_failure(&error))?
            }
        };
        let resource = |version| Arc::new(Resource::new(version, cache.clone(), &self.0.caller));
        Ok(versions.into_iter().map(resource).collect())
    }

    /// Serves `custom` besides the built-in resources and nothing else. Caches of custom resources
    /// under other prefixes than those `kept` go away.
    pub(crate) fn serve(&self, custom: Vec<Arc<Resource>>, kept: &[&str]) {
        let served = &self.0.served;
        let all: Arc<[Arc<Resource>]> = served.builtin.iter().cloned().chain(custom).collect();
        *served.now.write().unwrap_or_else(PoisonError::into_inner) = Set::new(all);
        let builtin = served.builtin.iter().map(|resource| &*resource.storage.prefix);
        let kept: HashSet<&str> = builtin.chain(kept.iter().copied()).collect();
        self.0.dispatcher.leave_all_but(&kept);
        served.changed.send_replace(());
    }
}
