//! The garbage collector: objects go when all their owners are gone.
//!
//! ```text
//! metadata watches of all resources ─▶ graph ─▶ keys ─▶ look at the object and its owners ─▶ delete
//! ```

mod feed;
mod graph;
mod plan;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Action, Api, Client, WorkQueue, run_workers};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use kube::core::{DynamicObject, PartialObjectMeta};
use serde_json::json;
use tokio::sync::Notify;

use crate::context::Context;
use crate::discovery::{Served, discover};
use crate::error::{SyncError, is_not_found};
use crate::object::Meta;

use feed::Feeds;
use graph::{FOREGROUND, Graph, Identity, Kind, Node, ORPHAN, Source, Uid, Work};
use plan::{Decision, Owner};

const WORKERS: usize = 20;
/// How often new resources are looked for, as upstream.
const DISCOVERY_PERIOD: Duration = Duration::from_secs(30);
/// New resources are not looked for more often than this.
const DISCOVERY_PAUSE: Duration = Duration::from_secs(1);
/// How long to wait for the first lists before working without the missing ones.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);

type MetaObject = PartialObjectMeta<DynamicObject>;

struct Collector {
    context: Context,
    graph: Mutex<Graph>,
    /// Resources by API version and kind, for owner references.
    kinds: Mutex<HashMap<(String, String), Served>>,
    delete: WorkQueue<Uid>,
    orphan: WorkQueue<Uid>,
    /// There may be resources that are not known.
    unknown: Notify,
}

/// Runs the controller until shutdown.
pub(crate) async fn run(context: Context) {
    let collector = Arc::new(Collector {
        context: context.clone(),
        graph: Mutex::default(),
        kinds: Mutex::default(),
        delete: WorkQueue::new(),
        orphan: WorkQueue::new(),
        unknown: Notify::new(),
    });
    let mut feeds = Feeds::default();
    let mut period = tokio::time::interval(DISCOVERY_PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Without a first discovery there is nothing to follow; ask again soon.
    while !collector.rediscover(&mut feeds).await {
        tokio::select! {
            () = context.shutdown.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
    period.reset();
    tokio::select! {
        () = context.shutdown.cancelled() => return,
        synced = tokio::time::timeout(SYNC_PATIENCE, feeds.synced()) => {
            if synced.is_err() {
                tracing::warn!("not all resources could be listed; collecting garbage without them");
            }
        }
    }
    tracing::debug!(objects = collector.lock().len(), "the graph of owners is complete");
    let refresh = async {
        loop {
            tokio::select! {
                () = context.shutdown.cancelled() => return,
                _ = period.tick() => {}
                () = collector.unknown.notified() => {}
            };
            collector.rediscover(&mut feeds).await;
            tokio::select! {
                () = context.shutdown.cancelled() => return,
                () = tokio::time::sleep(DISCOVERY_PAUSE) => {}
            }
        }
    };
    let (delete, orphan) = (collector.delete.clone(), collector.orphan.clone());
    let stop = || context.shutdown.clone();
    tokio::join!(
        refresh,
        run_workers(delete, WORKERS, stop(), |uid| Arc::clone(&collector).attempt_delete(uid)),
        run_workers(orphan, WORKERS, stop(), |uid| Arc::clone(&collector).attempt_orphan(uid)),
    );
}

// === Feeding the graph ===

impl Collector {
    fn lock(&self) -> std::sync::MutexGuard<'_, Graph> {
        self.graph.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Client {
        self.context.client.clone()
    }

    fn enqueue(&self, work: Work) {
        work.delete.into_iter().for_each(|uid| self.delete.add(uid));
        work.orphan.into_iter().for_each(|uid| self.orphan.add(uid));
    }

    fn applied(&self, source: &Source, meta: &ObjectMeta) {
        if source.kind.kind == "CustomResourceDefinition" {
            self.unknown.notify_one();
        }
        let work = self.lock().apply(source, meta);
        self.enqueue(work);
    }

    fn deleted(&self, uid: &str) {
        let work = self.lock().remove(uid);
        self.enqueue(work);
    }

    fn listed(&self, resource: &str, present: &HashSet<String>) {
        let work = self.lock().listed(resource, present);
        self.enqueue(work);
    }

    /// Asks for the resources and follows them; `false` when the server did not answer.
    async fn rediscover(self: &Arc<Self>, feeds: &mut Feeds) -> bool {
        let found = match discover(&self.context.client).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%error, "discovery failed");
                return false;
            }
        };
        {
            let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            for served in &found.resources {
                let resource = &served.resource;
                kinds.insert((resource.api_version.clone(), resource.kind.clone()), served.clone());
            }
        }
        feeds.update(self, &found.resources, found.failed.is_empty(), &self.context.shutdown);
        true
    }

    /// The resource of a kind; other versions of the same group and kind do as well.
    fn resource_of(&self, Kind { api_version, kind }: &Kind) -> Option<Served> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let exact = kinds.get(&(api_version.clone(), kind.clone()));
        exact.cloned().or_else(|| {
            let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
            kinds.values().find(|s| s.resource.group == group && s.resource.kind == *kind).cloned()
        })
    }
}

// === Looking at objects ===

impl Collector {
    fn api(&self, identity: &Identity) -> Result<Api<MetaObject>, SyncError> {
        let served = self.resource_of(&identity.kind).ok_or_else(|| {
            self.unknown.notify_one();
            let Kind { api_version, kind } = &*identity.kind;
            SyncError::NotReady(format!("no resource for {api_version}, Kind={kind}"))
        })?;
        let client = self.client();
        Ok(if served.namespaced {
            Api::namespaced_with(client, identity.namespace(), &served.resource)
        } else {
            Api::all_with(client, &served.resource)
        })
    }

    /// The object as the server has it now, if it is still the one with this UID.
    async fn live(&self, uid: &str, identity: &Identity) -> Result<Option<MetaObject>, SyncError> {
        let live = self.api(identity)?.get_opt(identity.name()).await?;
        Ok(live.filter(|object| object.id() == uid))
    }

    async fn attempt_delete(self: Arc<Self>, uid: Uid) -> Result<Action, SyncError> {
        let Some(node) = self.lock().get(&uid).cloned() else { return Ok(Action::Done) };
        if node.is_deleting() && !node.awaits_dependents() {
            return Ok(Action::Done);
        }
        let Some(live) = self.live(&uid, &node.identity).await? else {
            // It went unnoticed, or never was: whoever names it as owner has lost it.
            self.deleted(&uid);
            return Ok(Action::Done);
        };
        if node.is_virtual() {
            // It exists; its own watch will tell.
            return Ok(Action::Done);
        }
        if node.awaits_dependents() {
            return self.finish_foreground(&uid, &node).await;
        }
        let references = live.metadata.owner_references.clone().unwrap_or_default();
        let mut owners = Vec::with_capacity(references.len());
        for reference in references {
            let state = self.owner_state(&reference, node.identity.namespace()).await?;
            owners.push((reference, state));
        }
        let (has_dependents, dependent_waits) = {
            let graph = self.lock();
            let current = graph.get(&uid).unwrap_or(&node);
            let waits =
                graph.dependents(current).any(|(_, dependent)| dependent.awaits_dependents());
            (!current.dependents.is_empty(), waits)
        };
        let decision = plan::decide(&live.metadata, &owners, has_dependents, dependent_waits);
        self.act(&node.identity, &live, decision).await
    }

    async fn owner_state(
        &self,
        reference: &OwnerReference,
        namespace: &str,
    ) -> Result<Owner, SyncError> {
        if self.lock().is_gone(&reference.uid) {
            return Ok(Owner::Absent);
        }
        let identity = Identity::of(reference, namespace);
        let served = self.resource_of(&identity.kind);
        if served.is_some_and(|s| s.namespaced) && namespace.is_empty() {
            // A cluster-scoped object cannot have an owner in a namespace.
            return Ok(Owner::Absent);
        }
        Ok(match self.live(&reference.uid, &identity).await? {
            None => Owner::Absent,
            Some(owner) => {
                let foreground =
                    owner.metadata.finalizers.iter().flatten().any(|f| f == FOREGROUND);
                if owner.is_deleting() && foreground { Owner::Waiting } else { Owner::Solid }
            }
        })
    }

    async fn act(
        &self,
        identity: &Identity,
        live: &MetaObject,
        decision: Decision,
    ) -> Result<Action, SyncError> {
        match decision {
            Decision::Keep => {}
            Decision::Unlink(left) => self.write_owners(identity, live, &left).await?,
            Decision::Delete(policy) => self.delete(identity, live, policy).await?,
            Decision::DeleteUnblocked(owners) => {
                self.write_owners(identity, live, &owners).await?;
                self.delete(identity, live, PropagationPolicy::Foreground).await?;
            }
        }
        Ok(Action::Done)
    }

    /// Replaces the owner references, unless somebody else wrote in between.
    async fn write_owners(
        &self,
        identity: &Identity,
        live: &MetaObject,
        owners: &[OwnerReference],
    ) -> Result<(), SyncError> {
        let owners = if owners.is_empty() { json!(null) } else { json!(owners) };
        let patch = json!({"metadata": {
            "uid": live.metadata.uid,
            "resourceVersion": live.metadata.resource_version,
            "ownerReferences": owners,
        }});
        self.patch(identity, &patch).await
    }

    async fn patch(&self, identity: &Identity, patch: &serde_json::Value) -> Result<(), SyncError> {
        let api = self.api(identity)?;
        match api.patch(identity.name(), &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn delete(
        &self,
        identity: &Identity,
        live: &MetaObject,
        policy: PropagationPolicy,
    ) -> Result<(), SyncError> {
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions {
                uid: live.metadata.uid.clone(),
                // Owners that were added in the meantime must be looked at.
                resource_version: live.metadata.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        match self.api(identity)?.delete(identity.name(), &params).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// An object that is deleted in the foreground goes when nothing blocks it any more.
    async fn finish_foreground(&self, uid: &str, node: &Node) -> Result<Action, SyncError> {
        let blocking: Vec<(Uid, bool)> = {
            let graph = self.lock();
            let current = graph.get(uid).unwrap_or(node);
            graph
                .dependents(current)
                .filter(|(_, dependent)| dependent.blocks(uid))
                .map(|(uid, dependent)| (uid.clone(), dependent.awaits_dependents()))
                .collect()
        };
        if blocking.is_empty() {
            self.drop_finalizer(uid, &node.identity, FOREGROUND).await?;
            return Ok(Action::Done);
        }
        for (dependent, waits) in blocking {
            if !waits {
                self.delete.add(dependent);
            }
        }
        Ok(Action::Done)
    }

    async fn attempt_orphan(self: Arc<Self>, uid: Uid) -> Result<Action, SyncError> {
        let (node, dependents) = {
            let graph = self.lock();
            let Some(node) = graph.get(&uid).cloned() else { return Ok(Action::Done) };
            let dependents: Vec<(Uid, Identity)> = graph
                .dependents(&node)
                .map(|(uid, dependent)| (uid.clone(), dependent.identity.clone()))
                .collect();
            (node, dependents)
        };
        for (dependent, identity) in dependents {
            let Some(live) = self.live(&dependent, &identity).await? else { continue };
            let owners = live.metadata.owner_references.clone().unwrap_or_default();
            let left: Vec<OwnerReference> =
                owners.iter().filter(|r| *r.uid != *uid).cloned().collect();
            if left.len() != owners.len() {
                self.write_owners(&identity, &live, &left).await?;
            }
        }
        self.drop_finalizer(&uid, &node.identity, ORPHAN).await?;
        Ok(Action::Done)
    }

    async fn drop_finalizer(
        &self,
        uid: &str,
        identity: &Identity,
        name: &str,
    ) -> Result<(), SyncError> {
        let Some(live) = self.live(uid, identity).await? else { return Ok(()) };
        let before = live.metadata.finalizers.clone().unwrap_or_default();
        let after: Vec<&String> = before.iter().filter(|f| *f != name).collect();
        if after.len() == before.len() {
            return Ok(());
        }
        let finalizers = if after.is_empty() { json!(null) } else { json!(after) };
        let patch = json!({"metadata": {
            "uid": live.metadata.uid,
            "resourceVersion": live.metadata.resource_version,
            "finalizers": finalizers,
        }});
        self.patch(identity, &patch).await
    }
}
