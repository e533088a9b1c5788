//! Writing Pod statuses to the API, and the final deletion of Pods whose containers are gone.
//!
//! Workers hand in statuses and go on; the newest one of each Pod is written, only what differs
//! from the API's, and again until it got through.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use client::{Action, Informer, WorkQueue};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::status_patch::status_patch;
use crate::seam::{PodUid, pod_uid};
use crate::static_pods::mirror;

/// Writes at the same time.
const WRITERS: usize = 8;
/// Wait after a failed write.
const RETRY: Duration = Duration::from_secs(1);

/// Writes statuses. Cheap to clone.
#[derive(Clone)]
pub struct Reporter {
    inner: Option<Arc<Inner>>,
}

struct Inner {
    api: kube::Client,
    pods: Informer<Pod>,
    slots: Mutex<HashMap<PodUid, Slot>>,
    queue: WorkQueue<PodUid>,
}

#[derive(Clone)]
struct Slot {
    namespace: String,
    name: String,
    is_static: bool,
    status: PodStatus,
    /// All containers are stopped and resources given back.
    stopped: bool,
    /// The API's object as of the last write, while the informer has not caught up.
    written: Option<Arc<Pod>>,
}

/// A write that failed.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error("status has no JSON form: {0}")]
    Encode(#[from] serde_json::Error),
}

// === impl Reporter ===

impl Reporter {
    /// A reporter that writes through `api`; in standalone mode it takes statuses and writes none.
    pub fn new(api: Option<(kube::Client, Informer<Pod>)>, shutdown: &CancellationToken) -> Self {
        let Some((api, pods)) = api else { return Self { inner: None } };
        let inner = Arc::new(Inner { api, pods, slots: Mutex::default(), queue: WorkQueue::new() });
        let worker = inner.clone();
        tokio::spawn(client::run_workers(
            inner.queue.clone(),
            WRITERS,
            shutdown.clone(),
            move |uid: PodUid| {
                let inner = worker.clone();
                async move { Ok::<_, std::convert::Infallible>(inner.sync(&uid).await) }
            },
        ));
        Self { inner: Some(inner) }
    }

    /// Takes the newest status of a Pod; with `stopped` nothing of it runs any more.
    pub fn report(&self, uid: &PodUid, pod: &Pod, status: PodStatus, stopped: bool) {
        let Some(inner) = &self.inner else { return };
        inner.with(|slots| {
            let written = slots.get(uid).and_then(|slot| slot.written.clone());
            let meta = &pod.metadata;
            let slot = Slot {
                namespace: meta.namespace.clone().unwrap_or_default(),
                name: meta.name.clone().unwrap_or_default(),
                is_static: mirror::is_static(pod),
                status,
                stopped,
                written,
            };
            slots.insert(uid.clone(), slot);
        });
        inner.queue.add(uid.clone());
    }

    /// A Pod that is stopped already was deleted: its object can go.
    pub fn release(&self, uid: &PodUid, _pod: &Pod) {
        self.recheck(uid);
    }

    /// The API's object changed: compare again.
    pub fn recheck(&self, uid: &PodUid) {
        if let Some(inner) = &self.inner
            && inner.with(|slots| slots.contains_key(uid))
        {
            inner.queue.add(uid.clone());
        }
    }

    /// Nobody reports this Pod any more.
    pub fn forget(&self, uid: &PodUid) {
        if let Some(inner) = &self.inner {
            inner.with(|slots| slots.remove(uid));
        }
    }
}

// === impl Inner ===

impl Inner {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<PodUid, Slot>) -> T) -> T {
        act(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn sync(&self, uid: &PodUid) -> Action {
        match self.write(uid).await {
            Ok(()) => Action::Done,
            Err(error) => {
                tracing::warn!(%uid, %error, "pod status not written");
                Action::RequeueAfter(RETRY)
            }
        }
    }

    async fn write(&self, uid: &PodUid) -> Result<(), WriteError> {
        let Some(slot) = self.with(|slots| slots.get(uid).cloned()) else { return Ok(()) };
        let cached = self.pods.get(Some(&slot.namespace), &slot.name);
        let Some(current) = newer(cached, slot.written.clone()) else {
            // Not in the API (yet): a static Pod whose mirror is not made, or a deleted Pod.
            return Ok(());
        };
        let ours = if slot.is_static {
            mirror::mirrored_uid(&current).as_ref() == Some(uid)
        } else {
            &pod_uid(&current) == uid
        };
        if !ours {
            return Ok(());
        }
        let api: kube::Api<Pod> = kube::Api::namespaced(self.api.clone(), &slot.namespace);
        let target = current.metadata.uid.clone().unwrap_or_default();
        let mut deleting = current.metadata.deletion_timestamp.is_some();
        let mut status = slot.status.clone();
        // A mirror Pod has generations of its own.
        if slot.is_static {
            super::status_patch::set_generation(&mut status, current.metadata.generation);
        }
        let old = serde_json::to_value(current.status.clone().unwrap_or_default())?;
        if let Some(change) = status_patch(&old, &serde_json::to_value(&status)?) {
            let patch: Value = json!({"metadata": {"uid": target}, "status": change});
            let params = PatchParams::default();
            match api.patch_status(&slot.name, &params, &Patch::Strategic(&patch)).await {
                Ok(written) => {
                    deleting = written.metadata.deletion_timestamp.is_some();
                    self.with(|slots| {
                        if let Some(slot) = slots.get_mut(uid) {
                            slot.written = Some(Arc::new(written));
                        }
                    });
                }
                Err(error) if is_gone(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        if slot.stopped && deleting && !slot.is_static {
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions { uid: Some(target), resource_version: None }),
                ..DeleteParams::default()
            };
            match api.delete(&slot.name, &params).await {
                Ok(_) => tracing::info!(pod = slot.name, namespace = slot.namespace, "pod removed"),
                Err(error) if is_gone(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Whether the object is no longer there, or is another one of the same name.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}

/// The later of two versions of an object.
fn newer(cached: Option<Arc<Pod>>, written: Option<Arc<Pod>>) -> Option<Arc<Pod>> {
    let version = |pod: &Pod| -> u64 {
        pod.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0)
    };
    match (cached, written) {
        (Some(cached), Some(written)) => {
            let same = cached.metadata.uid == written.metadata.uid;
            Some(if same && version(&written) > version(&cached) { written } else { cached })
        }
        // Deleted since, or never cached yet: only the cache knows what exists.
        (cached, _) => cached,
    }
}
