//! From the one watch on the store to the caches, and who waits for how far they are.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use futures::StreamExt;
use store::{Error, Event, RangeRequest, Store};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::join::Joining;
use super::object::FieldSet;
use super::state::Cache;

/// Where all objects are in the store.
pub(crate) const ROOT: &str = "/registry/";
/// After a restart, watchers may continue from so many revisions ago.
const REPLAYED: u64 = 2048;
/// Objects read from the store at once while the caches are filled.
const PAGE: usize = 512;

/// How far the caches follow the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Reached>);

#[derive(Debug, Default)]
struct Reached {
    applied: AtomicU64,
    waiting: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
}

impl Progress {
    /// Everything up to this revision is in the caches.
    pub(super) fn applied(&self) -> u64 {
        self.0.applied.load(Ordering::Acquire)
    }

    fn advance(&self, revision: u64) {
        self.0.applied.fetch_max(revision, Ordering::AcqRel);
        let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(entry) = waiting.first_entry()
            && *entry.key() <= revision
        {
            for waiter in entry.remove() {
                waiter.send(()).ok(); // the waiter may have given up
            }
        }
    }

    /// Waits until everything up to `revision` is in the caches.
    pub(super) async fn reach(&self, revision: u64) {
        if self.applied() >= revision {
            return;
        }
        let news = {
            let mut waiting = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if self.applied() >= revision {
                return;
            }
            let (news, reached) = oneshot::channel();
            waiting.entry(revision).or_default().push(news);
            reached
        };
        news.await.ok(); // an error means that the server stops
    }
}

/// All caches and the task that feeds them.
#[derive(Debug)]
pub struct Dispatcher {
    pub(super) progress: Progress,
    pub(super) caches: RwLock<HashMap<String, Arc<Cache>>>,
    /// Caches that are being filled while the server runs; see [`super::join`].
    pub(super) joining: Joining,
    stop: CancellationToken,
    stopped: CancellationToken,
}

impl Dispatcher {
    /// Caches for keys under `/registry/PREFIX/`, filled from the store and then kept up to date.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(
        store: &Store,
        resources: impl IntoIterator<Item = (String, FieldSet)>,
    ) -> Result<Arc<Self>, Error> {
        let progress = Progress::default();
        let caches = resources
            .into_iter()
            .map(|(prefix, fields)| {
                let cache = Cache::new(format!("{ROOT}{prefix}/"), fields, progress.clone());
                (prefix, Arc::new(cache))
            })
            .collect();
        let dispatcher = Arc::new(Self {
            progress,
            caches: RwLock::new(caches),
            joining: Joining::default(),
            stop: CancellationToken::new(),
            stopped: CancellationToken::new(),
        });
        let base = dispatcher.fill(store).await?;
        let now = store.revision().await?;
        let mut watch = store.watch(ROOT, base + 1);
        dispatcher.progress.advance(base);
        let task = dispatcher.clone();
        tokio::spawn(async move {
            loop {
                let batch = tokio::select! {
                    () = task.stop.cancelled() => break,
                    batch = watch.next() => batch,
                };
                match batch {
                    Some(Ok(batch)) => {
                        batch.events.iter().for_each(|event| task.apply(event));
                        task.progress.advance(batch.revision);
                    }
                    Some(Err(error)) => {
                        tracing::error!(%error, "the watch on the store ended");
                        break;
                    }
                    None => break,
                }
            }
            task.stop.cancel();
            for cache in task.all() {
                cache.close();
            }
            drop(watch);
            task.stopped.cancel();
        });
        dispatcher.reach(now).await;
        Ok(dispatcher)
    }

    /// Reads the state of a while ago, from which the changes are replayed.
    async fn fill(&self, store: &Store) -> Result<u64, Error> {
        let now = store.revision().await?;
        let mut base = now.saturating_sub(REPLAYED).max(1);
        let mut request = RangeRequest::prefix(ROOT).limit(PAGE);
        loop {
            let page = match store.range(request.clone().at(base)).await {
                Ok(page) => page,
                // Compaction goes on meanwhile; the first page decides.
                Err(Error::Compacted { compacted, .. }) if compacted > base => {
                    base = compacted;
                    self.all().iter().for_each(|cache| cache.reset());
                    request = RangeRequest::prefix(ROOT).limit(PAGE);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for kv in &page.kvs {
                if let Some(cache) = self.of_key(&kv.key) {
                    cache.load(kv);
                }
            }
            match page.kvs.last() {
                Some(last) if page.more => request = request.after(&last.key),
                _ => break,
            }
        }
        for cache in self.all() {
            cache.loaded(base);
        }
        Ok(base)
    }

    fn apply(&self, event: &Event) {
        // Held to the end, so that a cache that joins gets each change once.
        let caches = self.caches.read().unwrap_or_else(PoisonError::into_inner);
        self.joining.note(event);
        if let Some(cache) = find(&caches, &event.kv.key) {
            cache.apply(event.kind, &event.kv);
        }
    }

    fn of_key(&self, key: &[u8]) -> Option<Arc<Cache>> {
        find(&self.caches.read().unwrap_or_else(PoisonError::into_inner), key).cloned()
    }

    fn all(&self) -> Vec<Arc<Cache>> {
        let caches = self.caches.read().unwrap_or_else(PoisonError::into_inner);
        caches.values().cloned().collect()
    }

    /// The cache of a resource by its storage prefix.
    pub fn cache(&self, prefix: &str) -> Option<Arc<Cache>> {
        self.caches.read().unwrap_or_else(PoisonError::into_inner).get(prefix).cloned()
    }

    /// The revision up to which every cache is complete.
    pub fn applied(&self) -> u64 {
        self.progress.applied()
    }

    /// Waits until the caches show `revision`, or follow the store no more.
    pub async fn reach(&self, revision: u64) {
        if self.progress.applied() < revision {
            tokio::select! {
                () = self.progress.reach(revision) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Whether the caches still follow the store.
    pub fn is_running(&self) -> bool {
        !self.stop.is_cancelled()
    }

    /// Stops following the store and ends all watches. The store's file can be closed after.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.stopped.cancelled().await;
    }
}

/// The cache of a key: prefixes have one segment or two.
fn find<'a>(caches: &'a HashMap<String, Arc<Cache>>, key: &[u8]) -> Option<&'a Arc<Cache>> {
    let rest = std::str::from_utf8(key).ok()?.strip_prefix(ROOT)?;
    let first = rest.find('/')?;
    if let Some(cache) = caches.get(&rest[..first]) {
        return Some(cache);
    }
    let second = first + 1 + rest[first + 1..].find('/')?;
    caches.get(&rest[..second])
}
