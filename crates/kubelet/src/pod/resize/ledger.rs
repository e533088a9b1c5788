//! What each Pod was allocated, and what the runtime was told of it: two checkpoints in the
//! kubelet's folder, from which a restarted kubelet goes on, and what is told of resizes meanwhile.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::{Pod, PodCondition, ResourceRequirements};
use tokio::sync::mpsc;

use super::checkpoint::{self, CheckpointError, Entries};
use super::conditions::ResizeConditions;
use super::metrics::{Metrics, Trigger};
use super::resources::PodResources;
use crate::seam::{PodUid, pod_uid};

/// Names of the checkpoints, as upstream's.
const ALLOCATED: &str = "allocated_pods_state";
const ACTUATED: &str = "actuated_pods_state";

/// A reason to look at the resizes that wait.
#[derive(Clone, Debug)]
pub enum Nudge {
    /// A Pod wishes for other resources than it was allocated.
    Wish(PodUid),
    /// There may be more room.
    Room(Trigger),
}

/// The books, shared by all workers.
pub struct Ledger {
    books: Mutex<Books>,
    nudges: mpsc::UnboundedSender<Nudge>,
    /// Counts what becomes of resizes.
    pub metrics: Metrics,
}

struct Books {
    allocated: Book,
    actuated: Book,
    conditions: HashMap<PodUid, ResizeConditions>,
}

struct Book {
    path: PathBuf,
    entries: Entries,
}

// === impl Ledger ===

impl Ledger {
    /// Opens the books in `folder`; nudges come out of the receiver.
    pub fn open(folder: &Path) -> Result<(Self, mpsc::UnboundedReceiver<Nudge>), CheckpointError> {
        let (nudges, nudged) = mpsc::unbounded_channel();
        let books = Books {
            allocated: Book::open(folder.join(ALLOCATED))?,
            actuated: Book::open(folder.join(ACTUATED))?,
            conditions: HashMap::new(),
        };
        Ok((Self { books: Mutex::new(books), nudges, metrics: Metrics::new() }, nudged))
    }

    /// `pod` with what it was allocated in place of what it wishes for.
    pub fn allocated(&self, pod: &Arc<Pod>) -> Arc<Pod> {
        self.with(|books| match books.allocated.get(&pod_uid(pod)) {
            Some(resources) => resources.applied(pod),
            None => pod.clone(),
        })
    }

    /// Whether `pod` wishes for other resources than it was allocated.
    pub fn is_pending(&self, pod: &Pod) -> bool {
        let differs = |allocated: &PodResources| !allocated.matches(pod);
        self.with(|books| books.allocated.get(&pod_uid(pod)).is_some_and(differs))
    }

    /// Takes over a Pod that was admitted: what it was allocated before a restart of the kubelet,
    /// or else what it wishes for. What runs of it already, from before there were books, has that.
    pub fn admit(&self, pod: &Pod) {
        let uid = pod_uid(pod);
        self.with(|books| {
            if books.allocated.get(&uid).is_none() {
                for book in [&mut books.allocated, &mut books.actuated] {
                    book.change(&uid, |entry| *entry = PodResources::of(pod));
                }
            }
            let told = || ResizeConditions::of(pod.status.as_ref());
            books.conditions.entry(uid).or_insert_with(told);
        });
    }

    /// Grants a Pod what it wishes for.
    pub fn allocate(&self, pod: &Pod) -> Result<(), CheckpointError> {
        let resources = PodResources::of(pod);
        self.with(|books| books.allocated.try_change(&pod_uid(pod), |entry| *entry = resources))
    }

    /// What the runtime was told of a Pod.
    pub fn actuated(&self, uid: &PodUid) -> Option<PodResources> {
        self.with(|books| books.actuated.get(uid).cloned())
    }

    /// Notes what the runtime was told of containers of a Pod.
    pub fn actuate(
        &self,
        uid: &PodUid,
        containers: impl IntoIterator<Item = (String, ResourceRequirements)>,
    ) {
        self.with(|books| {
            books.actuated.change(uid, |entry| entry.containers.extend(containers));
        });
    }

    /// Notes what the group of a Pod was given.
    pub fn actuate_pod(&self, uid: &PodUid, resources: Option<&ResourceRequirements>) {
        self.with(|books| {
            books.actuated.change(uid, |entry| entry.pod = resources.cloned());
        });
    }

    /// Forgets a Pod.
    pub fn forget(&self, uid: &PodUid) {
        self.with(|books| {
            books.conditions.remove(uid);
            for book in [&mut books.allocated, &mut books.actuated] {
                book.remove(|known| known == uid.0);
            }
        });
        self.nudge(Nudge::Room(Trigger::PodsRemoved));
    }

    /// Forgets all other Pods.
    pub fn keep_only(&self, uids: &BTreeSet<PodUid>) {
        self.with(|books| {
            for book in [&mut books.allocated, &mut books.actuated] {
                book.remove(|known| !uids.contains(&PodUid(known.to_owned())));
            }
        });
    }

    /// Has the resizes that wait looked at.
    pub fn nudge(&self, nudge: Nudge) {
        self.nudges.send(nudge).ok(); // Nobody looks any more: the kubelet ends.
    }

    /// What is told of a Pod's resize.
    pub fn conditions(&self, uid: &PodUid) -> Vec<PodCondition> {
        self.with(|books| books.conditions.get(uid).map(ResizeConditions::list).unwrap_or_default())
    }

    /// Reads or changes what is told of a Pod's resize.
    pub fn tell<T>(&self, uid: &PodUid, tell: impl FnOnce(&mut ResizeConditions) -> T) -> T {
        self.with(|books| {
            let told = tell(books.conditions.entry(uid.clone()).or_default());
            self.metrics.count(books.conditions.values());
            told
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Books) -> T) -> T {
        act(&mut self.books.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Book ===

impl Book {
    fn open(path: PathBuf) -> Result<Self, CheckpointError> {
        let entries = checkpoint::load(&path)?;
        Ok(Self { path, entries })
    }

    fn get(&self, uid: &PodUid) -> Option<&PodResources> {
        self.entries.get(&uid.0)
    }

    /// Changes an entry; what cannot be written is known to this kubelet only.
    fn change(&mut self, uid: &PodUid, change: impl FnOnce(&mut PodResources)) {
        let entry = self.entries.entry(uid.0.clone()).or_default();
        let before = entry.clone();
        change(entry);
        if *entry != before || !self.path.exists() {
            self.store().unwrap_or_else(|error| tracing::error!(%error, "not noted"));
        }
    }

    /// Changes an entry, or leaves it when that cannot be written.
    fn try_change(
        &mut self,
        uid: &PodUid,
        change: impl FnOnce(&mut PodResources),
    ) -> Result<(), CheckpointError> {
        let before = self.entries.get(&uid.0).cloned();
        change(self.entries.entry(uid.0.clone()).or_default());
        let stored = self.store();
        if stored.is_err() {
            match before {
                Some(before) => self.entries.insert(uid.0.clone(), before),
                None => self.entries.remove(&uid.0),
            };
        }
        stored
    }

    /// Removes entries; the next change writes that too, and until then it does no harm.
    fn remove(&mut self, gone: impl Fn(&str) -> bool) {
        self.entries.retain(|uid, _| !gone(uid));
    }

    fn store(&self) -> Result<(), CheckpointError> {
        checkpoint::store(&self.path, &self.entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str) -> Arc<Pod> {
        let resources = json!({"requests": {"cpu": cpu}});
        Arc::new(
            serde_json::from_value(json!({"metadata": {"uid": "u", "name": "p"},
                "spec": {"containers": [{"name": "c", "resources": resources}]}}))
            .unwrap(),
        )
    }

    #[test]
    fn what_was_granted_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let uid = PodUid("u".into());
        let (ledger, _nudged) = Ledger::open(dir.path()).unwrap();
        assert_eq!(ledger.allocated(&pod("1")), pod("1"), "nothing is known of it");
        ledger.admit(&pod("1"));
        assert_eq!(ledger.actuated(&uid), Some(PodResources::of(&pod("1"))));
        ledger.actuate(&uid, [("c".to_owned(), ResourceRequirements::default())]);
        ledger.actuate_pod(&uid, Some(&ResourceRequirements::default()));

        let (ledger, mut nudged) = Ledger::open(dir.path()).unwrap();
        ledger.admit(&pod("2"));
        assert_eq!(ledger.allocated(&pod("2")), pod("1"));
        assert!(ledger.is_pending(&pod("2")));
        assert!(!ledger.is_pending(&pod("1000m")));
        assert!(ledger.actuated(&uid).is_some_and(|actuated| actuated.pod.is_some()));
        ledger.allocate(&pod("2")).unwrap();
        assert_eq!(ledger.allocated(&pod("3")), pod("2"));

        ledger.keep_only(&[uid.clone()].into());
        assert!(ledger.is_pending(&pod("3")));
        ledger.forget(&uid);
        assert!(matches!(nudged.try_recv(), Ok(Nudge::Room(Trigger::PodsRemoved))));
        assert_eq!(ledger.allocated(&pod("3")), pod("3"));
    }

    #[test]
    fn what_cannot_be_written_is_not_granted() {
        let dir = tempfile::tempdir().unwrap();
        let (ledger, _nudged) = Ledger::open(dir.path()).unwrap();
        ledger.admit(&pod("1"));
        drop(dir);
        assert!(ledger.allocate(&pod("2")).is_err());
        assert_eq!(ledger.allocated(&pod("2")), pod("1"));
    }
}
