//! Custom resources: follows CustomResourceDefinitions and serves what they define.
//!
//! Data flow: definitions in the watch cache → `customresources` decides what is served and what
//! is to be said about each definition → the registry's set of resources is swapped, conditions
//! are written, objects of deleted definitions are removed. Discovery and OpenAPI follow the set.
//!
//! Invariants: a definition is served before its `Established` can be seen; watches end only when
//! the version they watch changes; what does not change keeps its cache.

mod cleanup;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use customresources::{Definition, definition, plan};
use machinery::time;
use machinery::{Value, meta};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::registry::{Context, Failure, Registry, Resource, Target, WriteOptions};

const GROUP: &str = "apiextensions.k8s.io";
const RESOURCE: &str = "customresourcedefinitions";
/// What failed is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

/// Follows definitions from now on. Those that exist are served when this returns.
pub(crate) async fn follow(
    registry: &Registry,
    (tasks, shutdown): (&TaskTracker, &CancellationToken),
) {
    let Some(changes) = registry.changes(GROUP, RESOURCE) else { return };
    let mut follower = Follower {
        registry: registry.clone(),
        known: BTreeMap::new(),
        served: BTreeMap::new(),
        cleanups: JoinSet::new(),
        cleaning: HashSet::new(),
    };
    follower.observe().await;
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = follower.run(changes) => {}
            () = shutdown.cancelled() => {}
        }
    });
}

struct Follower {
    registry: Registry,
    /// Definitions as last read, by name.
    known: BTreeMap<String, Arc<Known>>,
    /// What is served of them.
    served: BTreeMap<String, Served>,
    cleanups: JoinSet<String>,
    /// UIDs of the definitions whose objects are being removed.
    cleaning: HashSet<String>,
}

struct Known {
    revision: u64,
    crd: Value,
}

struct Served {
    /// What it was made from.
    key: Value,
    versions: Vec<Version>,
}

struct Version {
    /// What its handling depends on.
    key: Value,
    is_served: bool,
    is_stored: bool,
    resource: Arc<Resource>,
}

impl Follower {
    async fn run(&mut self, mut changes: watch::Receiver<u64>) {
        loop {
            changes.borrow_and_update();
            self.observe().await;
            let failed = self.act().await;
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                Some(done) = self.cleanups.join_next() => {
                    if let Ok(uid) = done {
                        self.cleaning.remove(&uid);
                    }
                }
                () = tokio::time::sleep(RETRY), if failed => {}
            }
        }
    }

    /// Takes in the definitions there are and serves them.
    async fn observe(&mut self) {
        let mut known = BTreeMap::new();
        for object in self.registry.cached_list(GROUP, RESOURCE, "") {
            let (name, revision) = (object.name().to_owned(), object.resource_version());
            let before = self.known.get(&name).filter(|known| known.revision == revision);
            let now = match before {
                Some(known) => known.clone(),
                None => Arc::new(Known { revision, crd: object.value() }),
            };
            known.insert(name, now);
        }
        self.known = known;
        let mut changed = false;
        let gone: Vec<String> =
            self.served.keys().filter(|name| !self.known.contains_key(*name)).cloned().collect();
        for name in gone {
            if let Some(served) = self.served.remove(&name) {
                served.versions.iter().for_each(|version| version.resource.retire());
                changed = true;
            }
        }
        for known in self.known.values().cloned().collect::<Vec<_>>() {
            changed |= self.take(&known.crd).await;
        }
        if changed {
            self.publish();
        }
    }

    /// Serves a definition as it is now. True if that changes anything.
    async fn take(&mut self, crd: &Value) -> bool {
        let name = meta::name(crd);
        let terminating = meta::deletion_timestamp(crd).is_some();
        let key = json!([
            meta::uid(crd),
            crd["spec"],
            crd["status"]["acceptedNames"],
            definition::is_true(crd, "Established"),
            terminating,
        ]);
        let before = self.served.get(name);
        if before.is_some_and(|served| served.key == key) {
            return false;
        }
        let Some(definition) = Definition::of(crd) else {
            let before = self.served.remove(name);
            before.iter().flat_map(|b| &b.versions).for_each(|version| version.resource.retire());
            return before.is_some();
        };
        let registrations = definition.registrations();
        let prepared = self.registry.prepare(&definition.selectable_fields(), registrations).await;
        let resources = match prepared {
            Ok(resources) => resources,
            Err(failure) => {
                tracing::error!(name, error = %failure.message, "cannot serve a definition");
                return false;
            }
        };
        let storage = definition.versions.iter().find(|version| version.stored);
        let versions = definition.versions.iter().zip(resources).map(|(version, resource)| {
            let key = json!([
                meta::uid(crd),
                version.source(),
                storage.map(|storage| storage.source()),
                crd["spec"]["conversion"],
                crd["status"]["acceptedNames"],
            ]);
            let mut resource = resource;
            let same = before
                .into_iter()
                .flat_map(|before| &before.versions)
                .find(|old| old.key == key && Arc::ptr_eq(old.resource.cache(), resource.cache()));
            if let Some(old) = same {
                // Only what can be done with it may differ.
                resource = Arc::new(old.resource.with_registration(resource.registration()));
            }
            Version { key, is_served: version.served, is_stored: version.stored, resource }
        });
        let versions: Vec<Version> = versions.collect();
        for old in before.into_iter().flat_map(|before| &before.versions) {
            let kept = versions.iter().any(|new| {
                new.key == old.key && Arc::ptr_eq(new.resource.cache(), old.resource.cache())
            });
            if !kept {
                old.resource.retire();
            }
        }
        self.served.insert(name.to_owned(), Served { key, versions });
        true
    }

    /// Hands the set of resources to the registry, in the order of discovery.
    fn publish(&self) {
        let versions = self.served.values().flat_map(|served| &served.versions);
        let mut resources: Vec<Arc<Resource>> = versions
            .filter(|version| version.is_served)
            .map(|version| version.resource.clone())
            .collect();
        resources.sort_by_cached_key(|r| {
            (r.group.to_string(), Reverse(definition::rank(&r.version)), r.name.clone())
        });
        let kept: Vec<&str> = self
            .served
            .values()
            .filter_map(|served| Some(&*served.versions.first()?.resource.storage.prefix))
            .collect();
        self.registry.serve(resources, &kept);
    }

    /// Says the next thing about each definition. True if something has to be tried again.
    async fn act(&mut self) -> bool {
        let now = time::format(self.registry.now());
        let mut failed = false;
        let all: Vec<Arc<Known>> = self.known.values().cloned().collect();
        let crds: Vec<&Value> = all.iter().map(|known| &known.crd).collect();
        for known in &all {
            match plan::next(&known.crd, &crds, &now) {
                None => {}
                Some(plan::Step::Status(status)) => {
                    let mut crd = known.crd.clone();
                    crd["status"] = status;
                    if self.take(&crd).await {
                        self.publish();
                    }
                    failed |= write(&self.registry, crd).await.is_err();
                    // Others may depend on it; they are looked at after this change.
                    break;
                }
                Some(plan::Step::CleanUp) => self.clean_up(&known.crd),
            }
        }
        failed
    }

    fn clean_up(&mut self, crd: &Value) {
        if !self.cleaning.insert(meta::uid(crd).to_owned()) {
            return;
        }
        let name = meta::name(crd);
        let stored = self
            .served
            .get(name)
            .and_then(|served| served.versions.iter().find(|version| version.is_stored));
        let resource = stored.map(|version| version.resource.clone());
        cleanup::start(&mut self.cleanups, &self.registry, crd, resource);
    }
}

/// Writes the status of a definition, and its finalizers. Who was faster is seen at the next look.
async fn write(registry: &Registry, crd: Value) -> Result<(), Failure> {
    let resource = registry.resource(GROUP, "v1", RESOURCE);
    let Some(resource) = resource else { return Ok(()) };
    let mut target = Target::object(&resource, "", meta::name(&crd));
    target.subresource = "status".to_owned();
    let name = target.name.clone();
    let options = WriteOptions::default();
    match registry.update(&Context::internal(), &target, crd, &options).await {
        Ok(_) => Ok(()),
        Err(failure) if matches!(failure.code, 404 | 409) => Ok(()),
        Err(failure) => {
            tracing::warn!(name, error = %failure.message, "cannot write a definition's status");
            Err(failure)
        }
    }
}
