//! Custom resources: follows CustomResourceDefinitions and serves what they define.
//!
//! Data flow: definitions in the watch cache → `customresources` decides what is served and what
//! is to be said about each definition → the registry's set of resources is swapped, conditions
//! are written, objects of deleted definitions are removed. Discovery and OpenAPI follow the set.
//!
//! Invariants: a definition is served before its `Established` can be seen; watches of all versions
//! end when its spec or its accepted names change, as upstream's do, and at no other time.

mod cleanup;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use customresources::{Definition, definition, plan};
use machinery::time;
use machinery::{Value, meta};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
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
    follower.observe().await; // `run` looks again at what fails
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
    /// Whether what is served of it follows from this revision.
    is_taken: bool,
    /// What its plan depends on.
    outline: Value,
}

struct Served {
    /// What it was made from.
    print: Print,
    /// What the handling of its objects depends on.
    storage: Print,
    versions: Vec<Version>,
}

struct Version {
    is_served: bool,
    is_stored: bool,
    resource: Arc<Resource>,
}

/// Stands for parts of a definition, which may be large.
type Print = [u8; SHA256_OUTPUT_LEN];

fn print(parts: &[&Value]) -> Print {
    let text = json!(parts).to_string();
    let mut print = [0; SHA256_OUTPUT_LEN];
    print.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    print
}

impl Follower {
    async fn run(&mut self, mut changes: watch::Receiver<u64>) {
        loop {
            changes.borrow_and_update();
            let mut failed = self.observe().await;
            failed |= self.act().await;
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

    /// Takes in the definitions there are and serves them. True if something has to be tried
    /// again.
    async fn observe(&mut self) -> bool {
        let (mut changed, mut failed) = (false, false);
        let mut gone: BTreeSet<String> = self.known.keys().cloned().collect();
        for object in self.registry.cached_list(GROUP, RESOURCE, "") {
            let (name, revision) = (object.name().to_owned(), object.resource_version());
            gone.remove(&name);
            let known = self.known.get(&name);
            if known.is_some_and(|known| known.revision == revision && known.is_taken) {
                continue;
            }
            let crd = object.value();
            let taken = self.take(&crd).await;
            changed |= taken.as_ref().is_ok_and(|changed| *changed);
            failed |= taken.is_err();
            let known = Known { revision, is_taken: taken.is_ok(), outline: plan::outline(&crd) };
            self.known.insert(name, Arc::new(known));
        }
        for name in gone {
            self.known.remove(&name);
            if let Some(served) = self.served.remove(&name) {
                served.versions.iter().for_each(|version| version.resource.retire());
                changed = true;
            }
        }
        if changed {
            self.publish();
        }
        failed
    }

    /// Serves a definition as it is now. True if that changes anything.
    ///
    /// # Errors
    /// When its objects cannot be read.
    async fn take(&mut self, crd: &Value) -> Result<bool, Failure> {
        let name = meta::name(crd);
        let (uid, spec) = (&crd["metadata"]["uid"], &crd["spec"]);
        let names = &crd["status"]["acceptedNames"];
        let established = definition::is_true(crd, "Established").into();
        let deleted = meta::deletion_timestamp(crd).is_some().into();
        let own = print(&[uid, spec, names, &established, &deleted]);
        let storage = print(&[uid, spec, names]);
        let before = self.served.get(name);
        if before.is_some_and(|served| served.print == own) {
            return Ok(false);
        }
        let Some(definition) = Definition::of(crd) else {
            let before = self.served.remove(name);
            before.iter().flat_map(|b| &b.versions).for_each(|version| version.resource.retire());
            return Ok(before.is_some());
        };
        let registrations = definition.registrations();
        let prepared = self.registry.prepare(&definition.selectable_fields(), registrations).await;
        let resources = prepared.inspect_err(|failure| {
            tracing::error!(name, error = %failure.message, "cannot serve a definition");
        })?;
        let kept = before.filter(|before| before.storage == storage);
        let versions = definition.versions.iter().zip(resources).map(|(version, mut resource)| {
            let mut old = kept.into_iter().flat_map(|kept| &kept.versions);
            if let Some(old) = old.find(|old| old.resource.version == resource.version) {
                // Only what can be done with it may differ.
                resource = Arc::new(old.resource.with_registration(resource.registration()));
            }
            Version { is_served: version.served, is_stored: version.stored, resource }
        });
        let versions: Vec<Version> = versions.collect();
        if let (Some(before), None) = (before, kept) {
            before.versions.iter().for_each(|version| version.resource.retire());
        }
        self.served.insert(name.to_owned(), Served { print: own, storage, versions });
        Ok(true)
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
        let all: Vec<Arc<Known>> = self.known.values().cloned().collect();
        let outlines: Vec<&Value> = all.iter().map(|known| &known.outline).collect();
        // Definitions of a group may depend on each other: after one has changed, the others are
        // looked at again with what it is then.
        let mut groups: HashSet<&Value> = HashSet::new();
        let mut failed = false;
        for known in &all {
            let group = &known.outline["spec"]["group"];
            if groups.contains(group) {
                continue;
            }
            match plan::next(&known.outline, &outlines, &now) {
                None => {}
                Some(plan::Step::Status(status)) => match self.say(known, status).await {
                    Ok(()) => {
                        groups.insert(group);
                    }
                    Err(_) => failed = true, // it has been logged
                },
                Some(plan::Step::CleanUp) => failed |= !self.clean_up(&known.outline),
            }
        }
        failed
    }

    /// Writes a status. A definition that has changed meanwhile gets another plan.
    async fn say(&mut self, known: &Known, status: Value) -> Result<(), Failure> {
        let found = self.registry.cached(GROUP, RESOURCE, "", meta::name(&known.outline));
        let Some(found) = found.filter(|found| found.resource_version() == known.revision) else {
            return Ok(());
        };
        let mut crd = found.value();
        crd["status"] = status;
        if self.take(&crd).await? {
            self.publish();
        }
        write(&self.registry, crd).await
    }

    /// Begins to remove the objects of a definition. False if it is not known yet where they are.
    fn clean_up(&mut self, outline: &Value) -> bool {
        let stored = self
            .served
            .get(meta::name(outline))
            .and_then(|served| served.versions.iter().find(|version| version.is_stored));
        let resource = stored.map(|version| version.resource.clone());
        if resource.is_none() && definition::is_true(outline, "Established") {
            return false;
        }
        if self.cleaning.insert(meta::uid(outline).to_owned()) {
            cleanup::start(&mut self.cleanups, &self.registry, outline, resource);
        }
        true
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
