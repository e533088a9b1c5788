//! Which Pods this node runs: takes them from their sources, keeps one worker for each, and cleans
//! up what belongs to none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

use super::admission;
use super::conditions::OWNED;
use super::context::Context;
use super::resize::ledger::Nudge;
use super::resize::metrics::Trigger;
use super::resize::resources::PodResources;
use super::spec;
use super::status::Doom;
use super::sysctls;
use super::worker::{Desired, Ending, Handle, View, Worker};
use crate::events::EventType;
use crate::eviction;
use crate::runtime::records::PodOutline;
use crate::seam::{PodUid, pod_uid};
use crate::static_pods::mirror::{self, Standing};

/// Keeps the workers.
pub struct Manager {
    context: Arc<Context>,
    state: Mutex<State>,
    /// Held while it is decided who gets room on the node.
    admitting: Mutex<()>,
    /// Who is told of Pods of which nothing is left.
    ended: Mutex<Vec<Ended>>,
}

type Ended = Box<dyn Fn(&Pod) + Send + Sync>;

#[derive(Default)]
struct State {
    handles: HashMap<PodUid, Arc<Handle>>,
    /// Static Pods that wait for an older one of the same name to end, by `namespace/name`.
    successors: HashMap<String, Arc<Pod>>,
}

// === impl Manager ===

impl Manager {
    /// A manager without Pods.
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Self {
            context,
            state: Mutex::default(),
            admitting: Mutex::default(),
            ended: Mutex::default(),
        })
    }

    /// Shared services.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Takes a Pod that is new or changed.
    pub fn upsert(self: &Arc<Self>, pod: Arc<Pod>) {
        let uid = pod_uid(&pod);
        let existing = self.with(|state| state.handles.get(&uid).cloned());
        if let Some(handle) = existing {
            if handle.desired.borrow().gone {
                // It came back unchanged while it was ending: it starts anew after that.
                self.with(|state| state.successors.insert(spec::key(&pod), pod));
            } else {
                self.update(&uid, &handle, pod);
            }
            return;
        }
        if mirror::is_static(&pod) && self.replaces_another(&pod) {
            return;
        }
        self.start(uid, pod, false);
    }

    fn update(&self, uid: &PodUid, handle: &Handle, pod: Arc<Pod>) {
        let before = handle.desired.borrow().pod.clone();
        handle.desired.send_if_modified(|desired| {
            let changed = differs(&desired.pod, &pod);
            desired.pod = pod.clone();
            changed
        });
        self.context.reporter.recheck(uid);
        let wishes = |pod: &Pod| PodResources::of(pod);
        if before.spec != pod.spec && wishes(&before) != wishes(&pod) {
            self.context.ledger.metrics.requested(&before, &pod);
            self.context.ledger.nudge(Nudge::Wish(uid.clone()));
        }
    }

    /// A static Pod with the same name but other content runs: let it end first.
    fn replaces_another(&self, pod: &Arc<Pod>) -> bool {
        let key = spec::key(pod);
        self.with(|state| {
            let older: Vec<_> = state
                .handles
                .values()
                .filter(|handle| spec::key(&handle.desired.borrow().pod) == key)
                .cloned()
                .collect();
            if older.is_empty() {
                return false;
            }
            for handle in older {
                handle.desired.send_modify(|desired| desired.gone = true);
            }
            state.successors.insert(key, pod.clone());
            true
        })
    }

    fn start(self: &Arc<Self>, uid: PodUid, pod: Arc<Pod>, gone: bool) {
        let alone = self.admitting();
        let ledger = &self.context.ledger;
        let rejected = if gone { None } else { self.rejection(&ledger.allocated(&pod)) };
        if !gone && rejected.is_none() {
            ledger.admit(&pod);
        }
        if let Some(doom) = &rejected {
            let message = doom.message.trim_start_matches("Pod was rejected: ");
            self.context.events.pod(&pod, EventType::Warning, &doom.reason, message);
        }
        let pending = ledger.is_pending(&pod) || !ledger.conditions(&uid).is_empty();
        let handle = Arc::new(Handle::new(Desired { pod, gone, rejected, ending: None }));
        let fresh = self.with(|state| {
            if state.handles.contains_key(&uid) {
                return false;
            }
            state.handles.insert(uid.clone(), handle.clone());
            true
        });
        drop(alone);
        if !fresh {
            return;
        }
        ledger.nudge(Nudge::Room(Trigger::PodsAdded));
        if pending {
            ledger.nudge(Nudge::Wish(uid.clone()));
        }
        let manager = self.clone();
        tokio::spawn(async move {
            let key = spec::key(&handle.desired.borrow().pod);
            let worker = Worker::new(manager.context.clone(), handle.clone()).run();
            tokio::select! {
                () = worker => {}
                () = manager.context.shutdown.cancelled() => return,
            }
            let successor = manager.with(|state| {
                state.handles.remove(&uid);
                state.successors.remove(&key)
            });
            if let Some(pod) = successor {
                manager.start(pod_uid(&pod), pod, false);
            }
            let pod = handle.desired.borrow().pod.clone();
            let told = manager.ended.lock().unwrap_or_else(PoisonError::into_inner);
            told.iter().for_each(|tell| tell(&pod));
        });
    }

    /// Whether the node refuses a Pod that it has not taken before.
    fn rejection(&self, pod: &Pod) -> Option<Doom> {
        let taken = pod.status.as_ref().is_some_and(|s| s.start_time.is_some());
        if taken
            || mirror::is_static(pod)
            || spec::is_terminal(pod)
            || pod.metadata.deletion_timestamp.is_some()
        {
            return None;
        }
        if let Err(doom) = eviction::admit(pod, &self.context.pressures.borrow()) {
            return Some(doom);
        }
        if *self.context.going_down.borrow() {
            return Some(admission::going_down());
        }
        if let Err(why) = sysctls::check(pod, &self.context.allowed_unsafe_sysctls) {
            return Some(admission::forbidden(why));
        }
        let node = self.context.sources.node()?;
        let others: Vec<Arc<Pod>> = self
            .allocated_pods()
            .into_iter()
            .filter(|other| pod_uid(other) != pod_uid(pod))
            .collect();
        admission::admit(pod, &node, &others).err()
    }

    /// A Pod left its source for good.
    pub fn remove(&self, uid: &PodUid) {
        let handle = self.with(|state| {
            state.successors.retain(|_, pod| &pod_uid(pod) != uid);
            state.handles.get(uid).cloned()
        });
        if let Some(handle) = handle {
            handle.desired.send_modify(|desired| desired.gone = true);
        }
    }

    /// Has `tell` called with every Pod that left its source and has ended.
    pub fn on_ended(&self, tell: impl Fn(&Pod) + Send + Sync + 'static) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(tell));
    }

    /// Has a Pod end although its source wants it to run.
    pub fn end(&self, uid: &PodUid, ending: Ending) {
        if let Some(handle) = self.with(|state| state.handles.get(uid).cloned()) {
            handle.desired.send_modify(|desired| desired.ending = Some(ending));
        }
    }

    /// Waits until nothing of a Pod runs any more.
    pub async fn ended(&self, uid: &PodUid) {
        if let Some(handle) = self.with(|state| state.handles.get(uid).cloned()) {
            handle.stopped().await;
        }
    }

    /// Waits until the API knows that a Pod has ended; of static Pods it need not.
    pub async fn told(&self, pod: &Pod) {
        if mirror::is_static(pod) {
            return;
        }
        if let Some(handle) = self.with(|state| state.handles.get(&pod_uid(pod)).cloned()) {
            let over = |desired: &Desired| desired.gone || spec::is_terminal(&desired.pod);
            // The handle itself holds the other end.
            handle.desired.subscribe().wait_for(over).await.ok();
        }
    }

    /// Has a Pod looked at now.
    pub fn wake(&self, uid: &PodUid) {
        if let Some(handle) = self.with(|state| state.handles.get(uid).cloned()) {
            handle.wake();
        }
    }

    /// Has all Pods looked at now.
    pub fn wake_all(&self) {
        for handle in self.with(|state| state.handles.values().cloned().collect::<Vec<_>>()) {
            handle.wake();
        }
    }

    /// UIDs of the Pods that have a worker.
    pub fn uids(&self) -> BTreeSet<PodUid> {
        self.with(|state| state.handles.keys().cloned().collect())
    }

    /// All Pods with their current status.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        let handles: Vec<_> = self.with(|state| state.handles.values().cloned().collect());
        handles.iter().map(|handle| with_status(handle)).collect()
    }

    /// Pods that have not ended, with what they were allocated, and with their current status.
    pub fn allocated_pods(&self) -> Vec<Arc<Pod>> {
        let active = self.pods().into_iter().filter(|pod| !spec::is_terminal(pod));
        active.map(|pod| self.context.ledger.allocated(&pod)).collect()
    }

    /// A Pod with what it wishes for, if it is to run on.
    pub fn wished(&self, uid: &PodUid) -> Option<Arc<Pod>> {
        let handle = self.with(|state| state.handles.get(uid).cloned())?;
        let desired = handle.desired.borrow();
        (!desired.gone && desired.rejected.is_none()).then(|| desired.pod.clone())
    }

    /// Lets nobody else decide about room on the node meanwhile.
    pub fn admitting(&self) -> MutexGuard<'_, ()> {
        self.admitting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One Pod with its current status.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let handles: Vec<_> = self.with(|state| state.handles.values().cloned().collect());
        let wanted = |pod: &Pod| {
            pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.metadata.name.as_deref() == Some(name)
        };
        handles.iter().find(|h| wanted(&h.desired.borrow().pod)).map(|h| with_status(h))
    }

    /// How it is with the static Pod of a name; one that waits for another's end counts before that.
    pub fn static_pod(&self, namespace: &str, name: &str) -> Standing {
        let named = |pod: &Pod| {
            mirror::is_static(pod)
                && pod.metadata.namespace.as_deref() == Some(namespace)
                && pod.metadata.name.as_deref() == Some(name)
        };
        self.with(|state| {
            if let Some(waiting) = state.successors.values().find(|pod| named(pod)) {
                return Standing::Wanted(waiting.clone());
            }
            let mut ending = false;
            for handle in state.handles.values() {
                let desired = handle.desired.borrow();
                if named(&desired.pod) {
                    if !desired.gone {
                        return Standing::Wanted(desired.pod.clone());
                    }
                    ending = true;
                }
            }
            if ending { Standing::Ending } else { Standing::Absent }
        })
    }

    /// What the worker of a Pod last saw.
    pub fn view(&self, uid: &PodUid) -> Option<View> {
        let handle = self.with(|state| state.handles.get(uid).cloned())?;
        Some(handle.view())
    }

    /// Starts workers that end Pods which the runtime has but no source knows. Only sensible once
    /// every source has told all its Pods.
    pub fn adopt_orphans(self: &Arc<Self>, outlines: &BTreeMap<PodUid, PodOutline>) {
        let known = self.uids();
        for (uid, outline) in outlines {
            if known.contains(uid) {
                continue;
            }
            tracing::info!(%uid, pod = outline.name, namespace = outline.namespace, "ending pod that no source knows");
            let pod = Pod {
                metadata: ObjectMeta {
                    name: Some(outline.name.clone()),
                    namespace: Some(outline.namespace.clone()),
                    uid: Some(uid.0.clone()),
                    deletion_timestamp: Some(Time(Timestamp::now())),
                    ..Default::default()
                },
                ..Default::default()
            };
            self.start(uid.clone(), Arc::new(pod), true);
        }
    }

    /// Cleans folders, mounts and cgroups of Pods that neither a source nor the runtime knows.
    pub async fn sweep(&self, outlines: &BTreeMap<PodUid, PodOutline>) {
        // What is there is listed before what is known: a Pod gets its worker first, its files after.
        let folders = self.context.volumes.mounted_uids();
        let groups = self.context.cgroups.as_ref().map(|c| c.pod_uids()).unwrap_or_default();
        let logs = log_folders(&self.context.log_dir);
        let known = self.uids();
        let stray = |uid: &PodUid| !known.contains(uid) && !outlines.contains_key(uid);
        for uid in folders.into_iter().filter(stray) {
            if let Err(error) = self.context.volumes.unmount(&uid).await {
                tracing::warn!(%uid, %error, "stray volumes stay");
                continue;
            }
            remove_folder(&self.context.pod_dir(&uid));
        }
        for uid in groups.into_iter().filter(stray) {
            if let Some(cgroups) = &self.context.cgroups
                && let Err(error) = cgroups.destroy_pod(&uid).await
            {
                tracing::warn!(%uid, %error, "stray cgroup stays");
            }
        }
        for (_, folder) in logs.into_iter().filter(|(uid, _)| stray(uid)) {
            remove_folder(&folder);
        }
        super::executor::prune_log_links(&self.context.log_dir);
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Log folders with the UIDs in their names.
fn log_folders(log_dir: &Path) -> Vec<(PodUid, PathBuf)> {
    let entries = std::fs::read_dir(log_dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            let (_, uid) = name.rsplit_once('_')?;
            Some((PodUid(uid.to_owned()), entry.path()))
        })
        .collect()
}

fn remove_folder(path: &Path) {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::debug!(path = %path.display(), %error, "stray folder stays");
        }
        _ => {}
    }
}

fn with_status(handle: &Handle) -> Arc<Pod> {
    let pod = handle.desired.borrow().pod.clone();
    match handle.view().status {
        Some(status) => {
            let mut pod = Pod::clone(&pod);
            pod.status = Some(status);
            Arc::new(pod)
        }
        None => pod,
    }
}

/// Whether a change of the API's object means anything to a worker; its own reports do not.
fn differs(old: &Pod, new: &Pod) -> bool {
    let foreign = |pod: &Pod| -> Vec<PodCondition> {
        let all = pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        all.into_iter().filter(|c| !OWNED.contains(&c.type_.as_str())).collect()
    };
    let (a, b) = (&old.metadata, &new.metadata);
    a.deletion_timestamp != b.deletion_timestamp
        || a.deletion_grace_period_seconds != b.deletion_grace_period_seconds
        || a.labels != b.labels
        || a.annotations != b.annotations
        || old.spec != new.spec
        || spec::is_terminal(old) != spec::is_terminal(new)
        || foreign(old) != foreign(new)
}
